"""What a received message is, or why it is none that can be stored. Pure."""

import re

import msgspec

from thermogate.collector import said
from thermogate.collector.said import SignalLines
from thermogate.core import wire
from thermogate.core.decision import GateDecision
from thermogate.core.errors import WireError
from thermogate.core.model import Event, Status
from thermogate.core.mqtt import Message

_SPOOL_RE = re.compile(r"[0-9a-f]{1,32}")
_MAX_SEQ = 10**18
_MAX_NS = 2**63
_MAX_EVENT_BYTES = 4096
_MAX_EVENT_DATA = 32
"""Agents send a third of both at most. A question about jobs holds 100,000 events in memory."""
_MAX_PERIOD_S = 86_400.0


class Receipt(msgspec.Struct, frozen=True):
    """Which record of which spool a message is, to be acknowledged to its node; `prompt`: at once."""

    node: str
    spool: str
    seq: int
    prompt: bool


class Checked(msgspec.Struct, frozen=True):
    """A message fit to be stored, decoded except for telemetry, which is stored as it is."""

    message: Message
    content: bytes | SignalLines | Event | Status | GateDecision
    receipt: Receipt | None = None


class _Spooled(msgspec.Struct):
    """The part of an event that says where it comes from."""

    node: str
    spool: str
    seq: int
    ack: bool = False


def check(message: Message) -> Checked:
    """Raises WireError with the reason when the message is not what its topic says."""
    family, name, leaf = wire.split_topic(message.topic)
    match family, leaf:
        case "node", "telemetry":
            header = wire.check_telemetry(name, message.payload)
            return Checked(message, message.payload, _of_header(header))
        case "node", "event":
            return Checked(message, _event(name, message.payload), _of_event(name, message.payload))
        case "node", "status":
            return Checked(message, _status(name, message.payload))
        case "gate", _:
            return Checked(message, _decision(name, leaf, message.payload))
        case "signal", _ if name == "node":
            return Checked(message, said.signals(leaf, message.payload))
        case "applied", _:
            return Checked(message, said.applied(name, leaf, message.payload))
    raise WireError(f"topic {message.topic} is not one that is stored")


def receipt_of(message: Message) -> Receipt | None:
    """Where a message that `check` refused comes from, when it can still be told.

    Its node would send it again and again until it is acknowledged.
    """
    try:
        family, name, leaf = wire.split_topic(message.topic)
        if (family, leaf) == ("node", "telemetry"):
            header = wire.parse_header(message.payload)
            return _of_header(header) if header.node == name else None
        if (family, leaf) == ("node", "event"):
            return _of_event(name, message.payload)
    except WireError:
        return None
    return None


def _event(node: str, payload: bytes) -> Event:
    event = wire.decode(payload, Event)
    _require(event.node == node, f"event names node {event.node!r} on the topic of node {node}")
    _require_name("device", event.device)
    _require(len(payload) <= _MAX_EVENT_BYTES, f"event of {len(payload)} bytes is over {_MAX_EVENT_BYTES}")
    _require(len(event.data) <= _MAX_EVENT_DATA, f"event has {len(event.data)} data, over {_MAX_EVENT_DATA}")
    _require_time("time_ns", event.time_ns)
    return event


def _status(node: str, payload: bytes) -> Status:
    status = wire.decode(payload, Status)
    _require(status.node == node, f"status names node {status.node!r} on the topic of node {node}")
    for info in status.devices:
        _require_name("device", info.device)
        _require_name(f"model of device {info.device}", info.model)
    _require(0 < status.period_s <= _MAX_PERIOD_S, f"period_s {status.period_s} is out of range")
    _require_time("time_ns", status.time_ns)
    return status


def _decision(kind: str, target: str, payload: bytes) -> GateDecision:
    decision = wire.decode(payload, GateDecision)
    named = (decision.kind, decision.target)
    _require(named == (kind, target), f"decision names {named} on the topic of {(kind, target)}")
    _require(wire.is_name(decision.id), f"id {decision.id!r} is no name")
    _require(0 <= decision.seq < _MAX_NS, f"seq {decision.seq} is out of range")
    _require_time("issued_at_ns", decision.issued_at_ns)
    _require_time("expires_at_ns", decision.expires_at_ns)
    return decision


def _of_header(header: wire.Header) -> Receipt:
    return Receipt(header.node, header.spool, header.seq, header.ack)


def _of_event(node: str, payload: bytes) -> Receipt | None:
    """None for an event that comes from no spool."""
    try:
        spooled = wire.decode(payload, _Spooled)
    except WireError:
        return None
    sound = spooled.node == node and _SPOOL_RE.fullmatch(spooled.spool) and 0 <= spooled.seq < _MAX_SEQ
    return Receipt(node, spooled.spool, spooled.seq, spooled.ack) if sound else None


def _require_name(name: str, text: str) -> None:
    """Empty is what is not known, or the node itself."""
    _require(not text or wire.is_name(text), f"{name} {text!r} is no name")


def _require_time(name: str, value: int) -> None:
    _require(0 <= value < _MAX_NS, f"{name} {value} is no time in nanoseconds")


def _require(sound: object, reason: str) -> None:
    if not sound:
        raise WireError(reason)

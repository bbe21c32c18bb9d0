"""What analytics and schedulers say around decisions, as it is stored: signals as lines of telemetry, what
was applied as an event. Pure."""

import hashlib
import math
import re

import msgspec

from thermogate.core import wire
from thermogate.core.errors import WireError
from thermogate.core.gate_messages import Applied, DeviceSignals, Signals
from thermogate.core.model import Event
from thermogate.core.schema import DEVICE_KINDS, SIGNAL_FIELDS

_MAX_NS = 2**63
_MS = 1_000_000
_LARGEST = 1e308
_DEVICE_RE = re.compile(rf"(?:{'|'.join(DEVICE_KINDS)})[A-Za-z0-9._-]{{1,125}}")
_SPOOL = "0"
"""Signals come from no spool, but the header of their lines names one."""
_MAX_TEXT = 800
_MAX_ACTIONS = 1600
"""Characters that are kept, together below the longest event that a node may send."""


class SignalLines(msgspec.Struct, frozen=True):
    """A node's signals as a payload that stores take for telemetry; empty when nothing was known."""

    node: str
    time_ns: int
    devices: tuple[str, ...]
    payload: bytes


def signals(node: str, payload: bytes) -> SignalLines:
    """Of a message on the topic of `node`. Raises WireError when it is not what its topic says."""
    said = wire.decode(payload, Signals)
    if said.node != node:
        raise WireError(f"signals name node {said.node!r} on the topic of node {node}")
    _check_time(said.time_ns)
    names = tuple(one.device for one in said.devices)
    for name in names:
        if not _DEVICE_RE.fullmatch(name):
            raise WireError(f"device {name!r} is not a kind and a number")
    if len(set(names)) < len(names):
        raise WireError("signals name a device twice")
    lines = "".join(_line(said, one) for one in said.devices)
    header = wire.format_header(node, _SPOOL, 0)
    return SignalLines(node, said.time_ns, names, header + lines.encode() if lines else b"")


def applied(kind: str, target: str, payload: bytes) -> Event:
    """The event of a scheduler's word about a target. Raises WireError as `signals`.

    Its stamp is the millisecond of the message and, below that, a digest of what it says: two schedulers,
    or one about two targets, may speak at the same instant, and an event is known by its node and stamp.
    """
    said = wire.decode(payload, Applied)
    if (said.kind, said.target) != (kind, target):
        raise WireError(f"applied names {(said.kind, said.target)} on the topic of {(kind, target)}")
    for name, text in (("scheduler", said.scheduler), ("host", said.host), ("decision", said.decision)):
        if not wire.is_name(text) and (text or name != "decision"):  # one that undoes may not know of any
            raise WireError(f"{name} {text[:200]!r} is no name")
    _check_time(said.time_ns)
    if not 0 <= said.seq < _MAX_NS:
        raise WireError(f"seq {said.seq} is out of range")
    data: dict[str, float | str] = {
        "kind": said.kind,
        "target": said.target,
        "scheduler": said.scheduler,
        "host": said.host,
        "decision": said.decision,
        "seq": float(said.seq),
        "state": said.state.value,
        "mode": said.mode,
        "outcome": said.outcome,
    }
    if said.actions:
        data["actions"] = _cut("; ".join(said.actions), _MAX_ACTIONS)
    return Event(
        node=said.target if said.kind == "node" else said.host,
        event="gate_applied",
        time_ns=said.time_ns // _MS * _MS + _below_ms(payload),
        text=_cut(said.text, _MAX_TEXT),
        data=data,
    )


def _line(said: Signals, one: DeviceSignals) -> str:
    fields = {name: getattr(one, name) for name in SIGNAL_FIELDS}
    for name, value in fields.items():
        if value is not None and not (math.isfinite(value) and abs(value) < _LARGEST):
            raise WireError(f"{name} of {one.device} is {value}")
    return wire.format_line("signal", said.node, one.device, "", said.origin, fields, said.time_ns)


def _below_ms(payload: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(payload, digest_size=6).digest()) % _MS


def _check_time(time_ns: int) -> None:
    if not 0 <= time_ns < _MAX_NS - _MS:
        raise WireError(f"time_ns {time_ns} is no time in nanoseconds")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

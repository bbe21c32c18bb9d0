"""`thermogate sub`: what passes on the broker, a readable line a message."""

import argparse
import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from thermogate.cli import asking, render
from thermogate.core import config
from thermogate.core.decision import GateDecision
from thermogate.core.errors import WireError
from thermogate.core.model import Ack, Event, Status
from thermogate.core.mqtt import Message, MqttClient, MqttSettings
from thermogate.core.wire import ROOT, check_telemetry, decode, parse_points, split_topic

_SHOWN = (("power_w", "{:.1f} W"), ("temp_c", "{:.0f} C"), ("util_ratio", "{:.0%}"), ("rle", "RLE {:.3f}"))


class _Configured(msgspec.Struct, frozen=True):
    """What counts of a configuration: its other sections need packages that whoever only looks may lack."""

    mqtt: MqttSettings = msgspec.field(default_factory=MqttSettings)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("sub", help="show what passes on the broker")
    parser.add_argument("topic", nargs="*", default=[f"{ROOT}/#"], help=f"topic filter (default {ROOT}/#)")
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST:PORT (default: that of a running `up`)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML; [mqtt] counts")
    parser.add_argument("--count", type=int, metavar="N", help="stop after N messages")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print messages until interrupted or --count is reached."""
    asyncio.run(_print_all(args))
    return 0


async def _print_all(args: argparse.Namespace) -> None:
    connection = await settings(args)
    client_id = f"thermogate-sub-{os.getpid()}"
    shown = 0
    async with MqttClient(connection, client_id=client_id, subscribe=tuple(args.topic)) as client:
        while True:
            for message in await client.receive(100):
                render.show(describe(message))
                shown += 1
                if shown == args.count:
                    return


async def settings(args: argparse.Namespace) -> MqttSettings:
    """Those of [mqtt] in --config; --broker, or without both the broker of a running `up`, is the URL."""
    given = config.load(_Configured, file=args.config).mqtt
    if args.broker or args.config is None:
        return msgspec.structs.replace(given, url=args.broker or await asking.broker_url())
    return given


def describe(message: Message) -> str:
    """One `plain` line: topic and what the message says, or why it is malformed."""
    name = message.topic.removeprefix(f"{ROOT}/") + (" (retained)" if message.retained else "")
    return render.plain(f"{name}: {_said(message) if message.payload else 'cleared'}")


def _said(message: Message) -> str:
    try:
        family, target, leaf = split_topic(message.topic)
        return _DESCRIBE.get(leaf if family == "node" else family, _plain)(target, message.payload)
    except WireError as err:
        return f"MALFORMED: {err}"


def _telemetry(node: str, payload: bytes) -> str:
    header = check_telemetry(node, payload)
    devices = []
    for point in parse_points(payload):
        fields = point.fields
        values = [form.format(fields[name]) for name, form in _SHOWN if name in fields]
        if fields.get("collapse"):
            values.append("COLLAPSE")
        origin = f" ({point.origin})" if point.origin else ""
        devices.append(f"{point.measurement}{point.device}{origin} {', '.join(values) or 'no load'}")
    return f"seq={header.seq} " + " | ".join(devices)


def _event(_node: str, payload: bytes) -> str:
    event = decode(payload, Event)
    return f"{event.event}: {event.text}"


def _status(_node: str, payload: bytes) -> str:
    status = decode(payload, Status)
    state = "online" if status.online else "OFFLINE"
    text = f", {status.text}" if status.text else ""
    return f"{state}, {len(status.devices)} devices, {status.spool_depth} in the spool{text}"


def _ack(_node: str, payload: bytes) -> str:
    ack = decode(payload, Ack)
    return f"spool {ack.spool} stored " + ", ".join(f"{first}-{last}" for first, last in ack.stored)


def _gate(_kind: str, payload: bytes) -> str:
    decision = decode(payload, GateDecision)
    return f"{decision.state} at {decision.pace:.0%}, {decision.mode}: {decision.why}"


def _plain(_name: str, payload: bytes) -> str:
    return payload[:500].decode("utf-8", "replace")


_DESCRIBE: dict[str, Callable[[str, bytes], str]] = {
    "telemetry": _telemetry,
    "event": _event,
    "status": _status,
    "ack": _ack,
    "gate": _gate,
}

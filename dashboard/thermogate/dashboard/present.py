"""The fleet as other systems are told of it: what is measured now, and nothing of what was. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision
from thermogate.core.model import DeviceInfo, Status
from thermogate.core.query import Device
from thermogate.core.schema import DEVICE_KINDS, MEASUREMENTS
from thermogate.core.wire import Point
from thermogate.dashboard import fleet
from thermogate.dashboard.fleet import FleetRow
from thermogate.dashboard.judge import Seen, forgotten, silence_of
from thermogate.dashboard.settings import DashboardSettings

SIGNAL_FRESH_NS = 30 * NS
"""A signal of a device that samples is of now for as long: three of the messages that bring it."""


class Live(msgspec.Struct, frozen=True):
    """A sample of now, with what its node tells about the device (None when it tells nothing)."""

    point: Point
    info: DeviceInfo | None


class Present(msgspec.Struct, frozen=True):
    """What can be told at `now_ns`.

    `live` has, by measurement, the newest sample of everything that is neither stale nor offline; `rows`
    every device, silent ones too, with its state; `nodes` every node that is not forgotten; `gates` the
    decisions that are in force.
    """

    now_ns: int
    live: dict[str, list[Live]]
    rows: list[FleetRow]
    nodes: list[Status]
    gates: list[GateDecision]


def present(
    latest: Sequence[Point],
    statuses: Sequence[Status],
    gates: Iterable[GateDecision],
    now_ns: int,
    settings: DashboardSettings,
) -> Present:
    """Of what a store answers to `latest`, `statuses` and `gates`."""
    gates = [gate for gate in gates if gate.valid_at(now_ns)]
    rows = fleet.rows(latest, statuses, gates, now_ns, settings)
    nodes = {status.node: status for status in statuses}
    infos: dict[tuple[str, str, str], DeviceInfo] = {
        (s.node, d.kind, d.device): d for s in statuses for d in s.devices
    }
    awake = {(row.node, row.kind, row.device) for row in rows if row.live}
    named = {(row.node, f"{row.kind}{row.device}") for row in rows if row.live}
    live: dict[str, dict[tuple[str, str, str], Live]] = {kind: {} for kind in MEASUREMENTS}
    heard: dict[str, int] = {}
    for point in latest:
        heard[point.node] = max(heard.get(point.node, 0), point.time_ns)
        if point.measurement not in live:
            continue
        key = (point.node, point.measurement, point.device)
        if point.measurement == "signal":
            if (point.node, point.device) in named and now_ns - point.time_ns <= SIGNAL_FRESH_NS:
                live["signal"][key] = Live(point, None)
            continue
        of_node = point.measurement not in DEVICE_KINDS
        if key in awake or (of_node and _is_awake(point, nodes.get(point.node), now_ns, settings)):
            live[point.measurement][key] = Live(point, infos.get(key))  # one, whatever a store answers
    kept = [s for s in statuses if not _is_forgotten(s, heard.get(s.node, 0), now_ns, settings)]
    return Present(now_ns, {kind: list(of.values()) for kind, of in live.items()}, rows, kept, gates)


def _is_awake(point: Point, status: Status | None, now_ns: int, settings: DashboardSettings) -> bool:
    seen = Seen(_of_node(point.node), point, None, status, None, point.time_ns)
    return silence_of(seen, now_ns, settings) is None


def _is_forgotten(status: Status, heard_ns: int, now_ns: int, settings: DashboardSettings) -> bool:
    return forgotten(Seen(_of_node(status.node), None, None, status, None, heard_ns), now_ns, settings)


def _of_node(node: str) -> Device:
    return Device(node, "node", "")

"""The fleet now: one row a device, and which of them need a person first. Pure functions."""

import functools
import hashlib
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal, cast

import msgspec

from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision
from thermogate.core.model import DeviceInfo, Origin, Status
from thermogate.core.query import Device
from thermogate.core.schema import DEVICE_KINDS, Kind
from thermogate.core.wire import Point
from thermogate.dashboard.judge import URGENCY, DeviceState, Seen, forgotten, judge, silence_of
from thermogate.dashboard.settings import DashboardSettings


class FleetRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A device now. A value that is absent is None; `text` says in a few words why `state` is so.

    `live` says that the values are of now; without it (stale, offline) every value is None, and
    `time_ns` and `age_s` tell of the last sample, None when there was none in the last day.
    Limits that the samples do not carry are those of the node's inventory; `assumed` names the ones
    that come from a setting, not from the device.
    """

    node: str
    kind: Kind
    device: str
    model: str
    origin: Origin | None
    time_ns: int | None
    age_s: float | None
    state: DeviceState
    text: str
    live: bool
    util_ratio: float | None = None
    temp_c: float | None = None
    temp_limit_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    rle: float | None = None
    t_sustain_s: float | None = None
    fingerprint: str | None = None
    gate: GateDecision | None = None
    assumed: tuple[str, ...] = ()


Order = Literal["urgency", "place"]
Place = tuple[DeviceState, str, Kind, str]
"""State, node, kind and device of a row."""


class Filter(msgspec.Struct, frozen=True):
    """Which rows: of nodes whose name is so (* and ? stand for others), in a state, of a kind; None: all."""

    node: str | None = None
    state: DeviceState | None = None
    kind: Kind | None = None

    def passes(self, row: FleetRow) -> bool:
        """Whether the row is one of them."""
        return (
            self.state in (None, row.state)
            and self.kind in (None, row.kind)
            and (self.node is None or fnmatchcase(row.node, self.node))
        )


def rows(
    latest: Iterable[Point],
    statuses: Iterable[Status],
    gates: Iterable[GateDecision],
    now_ns: int,
    settings: DashboardSettings,
) -> list[FleetRow]:
    """A row for every device that has sampled or is in its node's inventory, most urgent first."""
    points = list(latest)
    nodes = {status.node: status for status in statuses}
    seen = {Device(p.node, p.measurement, p.device): p for p in points if p.measurement in DEVICE_KINDS}
    infos = {Device(s.node, d.kind, d.device): d for s in nodes.values() for d in s.devices}
    valid = {gate.target: gate for gate in gates if gate.kind == "node" and gate.valid_at(now_ns)}
    heard = _newest(points)
    found = (
        Seen(
            device,
            seen.get(device),
            infos.get(device),
            nodes.get(device.node),
            valid.get(device.node),
            heard.get(device.node, 0),
        )
        for device in seen.keys() | infos.keys()
    )
    kept = (one for one in found if not forgotten(one, now_ns, settings))
    made = [_row(one, now_ns, settings) for one in kept]
    return _most_urgent_first(made)


def digest(fleet: Iterable[FleetRow]) -> str:
    """The same for two fleets that differ in the ages of their samples only."""
    said = hashlib.blake2b(digest_size=12)
    for row in fleet:
        gate = row.gate.id if row.gate else ""
        said.update(
            f"{row.node} {row.kind}{row.device} {row.time_ns} {row.state} {row.text} {gate}\n".encode()
        )
    return said.hexdigest()


@functools.lru_cache(maxsize=65_536)
def by_name(text: str) -> tuple[list[str | int], str]:
    """Sort key that reads numbers as numbers, gpu2 before gpu10, and is different for any two names."""
    return natural(text), text


def natural(text: str) -> list[str | int]:
    """Sort key that reads numbers as numbers: gpu2 before gpu10."""
    return [int(part) if n % 2 else part for n, part in enumerate(re.split("([0-9]+)", text))]


def place(row: FleetRow) -> Place:
    """What a row sorts by."""
    return row.state, row.node, row.kind, row.device


def sort_key(place: Place, order: Order) -> tuple[object, ...]:
    """By how urgent a row is, or only by where its device is; different for any two devices."""
    state, node, kind, device = place
    rank = URGENCY[state] if order == "urgency" else 0
    return rank, by_name(node), kind != "gpu", kind, by_name(device)


def _most_urgent_first(found: list[FleetRow]) -> list[FleetRow]:
    """As `sort_key` has it: each name is put in its place once, which takes a third of the time."""
    nodes = _ranks({row.node for row in found})
    devices = _ranks({row.device for row in found})
    ranked = {
        (URGENCY[row.state], nodes[row.node], row.kind != "gpu", row.kind, devices[row.device]): row
        for row in found
    }
    return [ranked[key] for key in sorted(ranked)]


def _ranks(names: Iterable[str]) -> dict[str, int]:
    return {name: rank for rank, name in enumerate(sorted(names, key=by_name))}


def _newest(points: Iterable[Point]) -> dict[str, int]:
    newest: dict[str, int] = {}
    for point in points:
        newest[point.node] = max(newest.get(point.node, 0), point.time_ns)
    return newest


def _row(seen: Seen, now_ns: int, settings: DashboardSettings) -> FleetRow:
    point, info = seen.point, seen.info
    silence = silence_of(seen, now_ns, settings)
    values = {} if silence or point is None else _with_limits(point.fields, info)
    state, text = judge(seen.gate, silence, values, settings)
    time_ns = point.time_ns if point else None
    return FleetRow(
        node=seen.device.node,
        kind=seen.device.kind,
        device=seen.device.device,
        model=(point.model if point else "") or (info.model if info else ""),
        origin=_origin(seen),
        time_ns=time_ns,
        age_s=None if time_ns is None else max(0, now_ns - time_ns) / NS,
        state=state,
        text=text,
        live=silence is None,
        gate=seen.gate,
        assumed=info.assumed if info else (),
        util_ratio=values.get("util_ratio"),
        temp_c=values.get("temp_c"),
        temp_limit_c=values.get("temp_limit_c"),
        power_w=values.get("power_w"),
        power_limit_w=values.get("power_limit_w"),
        rle=values.get("rle"),
        t_sustain_s=values.get("t_sustain_s"),
    )


def _with_limits(fields: dict[str, float], info: DeviceInfo | None) -> dict[str, float]:
    """The fields, and the limits of the inventory that they lack; no copy where they lack none."""
    if info is None or ("power_limit_w" in fields and "temp_limit_c" in fields):
        return fields
    named = {"power_limit_w": info.rated_power_w, "temp_limit_c": info.temp_limit_c}
    return {name: value for name, value in named.items() if value is not None} | fields


def _origin(seen: Seen) -> Origin | None:
    tagged = seen.point.origin if seen.point else ""
    return cast("Origin", tagged) if tagged else seen.status.origin if seen.status else None

"""An in-memory store for tests of what reads from one, and real recordings as its samples."""

import csv
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from thermogate.core.decision import GateDecision
from thermogate.core.errors import StoreError
from thermogate.core.model import Event, EventKind, Status
from thermogate.core.query import Device, DeviceTime, Query, Ranked, Reduction, Series, SeriesPoint, Usage
from thermogate.core.schema import SAMPLED_KINDS, Kind
from thermogate.core.wire import Point

_COLUMNS = {
    "power_w": "power_w",
    "temp_c": "temp_c",
    "rle": "rle_smoothed",
    "rle_raw": "rle_raw",
    "e_th": "E_th",
    "e_pw": "E_pw",
    "a_load_ratio": "a_load",
    "t_sustain_s": "t_sustain_s",
    "rle_peak": "rolling_peak",
    "collapse": "collapse",
}


class FakeQuery(Query):
    """Holds what `add` and the lists are given; raises StoreError while `broken` says why."""

    def __init__(self, points: Iterable[Point] = ()) -> None:
        self.points: dict[tuple[str, str, str], list[Point]] = defaultdict(list)
        self.status: dict[str, Status] = {}
        self.event_list: list[Event] = []
        self.decision_list: list[GateDecision] = []
        self.broken = ""
        self.add(points)

    def add(self, points: Iterable[Point]) -> None:
        """Samples of a device must come in the order of their times."""
        for point in points:
            self.points[point.measurement, point.node, point.device].append(point)

    async def latest(self) -> list[Point]:
        self._check()
        return [points[-1] for points in self.points.values()]

    async def series(
        self, device: Device, fields: tuple[str, ...], *, start_ns: int, end_ns: int, step_ns: int
    ) -> list[Series]:
        self._check()
        points = self._of(device, start_ns, end_ns)
        found = ((field, tuple(_steps(points, field, step_ns))) for field in fields)
        return [Series(device, field, steps) for field, steps in found if steps]

    async def top(
        self,
        kind: Kind,
        field: str,
        *,
        start_ns: int,
        end_ns: int,
        limit: int,
        by: Reduction = "mean",
        largest: bool = True,
    ) -> list[Ranked]:
        self._check()
        ranked = []
        for measurement, node, number in self.points:
            device = Device(node, kind, number)
            values = [p.fields[field] for p in self._of(device, start_ns, end_ns) if field in p.fields]
            if measurement == kind and values:
                ranked.append(Ranked(device, _reduce(values, by)))
        return sorted(ranked, key=lambda one: one.value, reverse=largest)[:limit]

    async def usage(self, times: Sequence[DeviceTime]) -> list[Usage | None]:
        self._check()
        return [_usage(self._of(time.device, time.start_ns, time.end_ns)) for time in times]

    async def events(
        self,
        *,
        start_ns: int,
        end_ns: int,
        node: str | None = None,
        without: Sequence[str] = (),
        kinds: Sequence[EventKind] = (),
        limit: int = 1000,
    ) -> list[Event]:
        self._check()
        found = [e for e in self.event_list if start_ns <= e.time_ns < end_ns and node in (None, e.node)]
        found = [e for e in found if e.node not in without and (not kinds or e.event in kinds)]
        return sorted(found, key=lambda e: e.time_ns, reverse=True)[:limit]

    async def gates(self) -> list[GateDecision]:
        self._check()
        newest = {(d.kind, d.target): d for d in sorted(self.decision_list, key=lambda d: d.issued_at_ns)}
        return [newest[key] for key in sorted(newest)]

    async def decisions(
        self, *, start_ns: int, end_ns: int, target: str | None = None, limit: int = 1000
    ) -> list[GateDecision]:
        self._check()
        found = [
            d
            for d in self.decision_list
            if start_ns <= d.issued_at_ns < end_ns and target in (None, d.target)
        ]
        return sorted(found, key=lambda d: d.issued_at_ns, reverse=True)[:limit]

    async def statuses(self) -> list[Status]:
        self._check()
        return [self.status[node] for node in sorted(self.status)]

    async def samples(
        self, *, start_ns: int, end_ns: int, node: str | None = None, device: str | None = None
    ) -> AsyncIterator[list[Point]]:
        for key in sorted(self.points):
            self._check()
            kind, its_node, number = key
            wanted = kind in SAMPLED_KINDS if device is None else device == kind + number
            if wanted and node in (None, its_node):
                yield [p for p in self.points[key] if start_ns <= p.time_ns < end_ns]

    def _of(self, device: Device, start_ns: int, end_ns: int) -> list[Point]:
        points = self.points.get((device.kind, device.node, device.device), [])
        return [p for p in points if start_ns <= p.time_ns < end_ns]

    def _check(self) -> None:
        if self.broken:
            raise StoreError(self.broken)


def recorded(
    file: Path,
    *,
    node: str,
    device: str = "0",
    model: str = "RTX-3060-Ti",
    end_ns: int,
    limit_c: float = 83.0,
) -> list[Point]:
    """The GPU rows of a recorded session, in their own spacing, so that the last one is at `end_ns`."""
    with file.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["device"] == "gpu"]
    times = [_utc_ns(row["timestamp"]) for row in rows]
    return [
        Point("gpu", node, device, model, "replay", _fields(row, limit_c), time_ns - times[-1] + end_ns)
        for row, time_ns in zip(rows, times, strict=True)
    ]


def _fields(row: dict[str, str], limit_c: float) -> dict[str, float]:
    fields = {name: float(row[column]) for name, column in _COLUMNS.items() if row[column]}
    if row["util_pct"]:
        fields["util_ratio"] = float(row["util_pct"]) / 100
    return {**fields, "temp_limit_c": limit_c}


def _utc_ns(text: str) -> int:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000) * 1000


def _steps(points: Iterable[Point], field: str, step_ns: int) -> Iterator[SeriesPoint]:
    steps: dict[int, list[float]] = defaultdict(list)
    for point in points:
        if field in point.fields:
            steps[point.time_ns // step_ns * step_ns].append(point.fields[field])
    for time_ns, values in sorted(steps.items()):
        yield SeriesPoint(time_ns, sum(values) / len(values), min(values), max(values), len(values))


def _usage(points: Sequence[Point]) -> Usage | None:
    if not points:
        return None
    values = {
        name: [point.fields[name] for point in points if name in point.fields]
        for name in ("power_w", "temp_c", "rle", "collapse", "throttled", "energy_j")
    }
    mean = {name: sum(some) / len(some) if some else None for name, some in values.items()}
    counted_ns = [point.time_ns for point in points if "energy_j" in point.fields]
    has_energy = len(counted_ns) >= 2
    began = sum(now > before for before, now in pairwise([0, *values["collapse"]]))
    return Usage(
        first_ns=points[0].time_ns,
        last_ns=points[-1].time_ns,
        sample_count=len(points),
        power_w=mean["power_w"],
        temp_c=mean["temp_c"],
        temp_max_c=max(values["temp_c"], default=None),
        rle=mean["rle"],
        rle_count=len(values["rle"]),
        collapse_ratio=mean["collapse"],
        collapse_count=began if values["collapse"] else None,
        throttled_ratio=mean["throttled"],
        energy_j=sum(max(0.0, now - before) for before, now in pairwise(values["energy_j"]))
        if has_energy
        else None,
        energy_s=(counted_ns[-1] - counted_ns[0]) / 1e9 if has_energy else 0.0,
    )


def _reduce(values: list[float], by: Reduction) -> float:
    return {"mean": sum(values) / len(values), "min": min(values), "max": max(values)}[by]

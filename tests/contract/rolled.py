"""What windows have to hold, computed from the samples one by one."""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from thermogate.collector.store.resolution import (
    COVERED_NS,
    LOOK_BACK_NS,
    STEP_NS,
    Resolution,
    counted_flags,
    counters,
    floor,
    gauges,
    has_power,
)
from thermogate.core.clock import NS
from thermogate.core.wire import Point

Fields = dict[str, float]
Rows = dict[tuple[str, str, int], Fields]
"""Node, device and begin of a window to what it holds."""


def rolled(points: Iterable[Point], resolution: Resolution, of: Collection[str]) -> Rows:
    """Windows of these fields, of one kind of device. A growth of nothing is left out, as 0 is by `seen`."""
    devices: defaultdict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in points:
        devices[point.node, point.device].append(point)
    found: Rows = {}
    for (node, device), samples in devices.items():
        samples.sort(key=lambda point: point.time_ns)
        minutes = _windows(samples, STEP_NS["1m"])
        rows = {begin_ns: _minute(samples, begin_ns, of) for begin_ns in minutes}
        if resolution == "1h":
            hours: defaultdict[int, list[Fields]] = defaultdict(list)
            for begin_ns, row in rows.items():
                hours[floor(begin_ns, STEP_NS["1h"])].append(row)
            rows = {begin_ns: _together(some) for begin_ns, some in hours.items()}
        found |= {(node, device, begin_ns): row for begin_ns, row in rows.items()}
    return found


def seen(rows: Rows) -> Rows:
    """Growths of 0 left out: a store may have none where nothing grew."""
    return {
        key: {name: value for name, value in row.items() if not (name.endswith("_growth") and value == 0)}
        for key, row in rows.items()
    }


def _windows(samples: Sequence[Point], step_ns: int) -> set[int]:
    return {floor(point.time_ns, step_ns) for point in samples}


def _minute(samples: Sequence[Point], begin_ns: int, of: Collection[str]) -> Fields:
    end_ns, kind = begin_ns + STEP_NS["1m"], samples[0].measurement
    row: Fields = {}
    for name in gauges(kind, of):  # type: ignore[arg-type]
        values = [p.fields[name] for p in samples if begin_ns <= p.time_ns < end_ns and name in p.fields]
        if values:
            row |= {
                f"{name}_mean": sum(values) / len(values),
                f"{name}_min": min(values),
                f"{name}_max": max(values),
                f"{name}_count": len(values),
            }
    for name in counters(kind, of):  # type: ignore[arg-type]
        if count := sum(begin_ns <= p.time_ns < end_ns and name in p.fields for p in samples):
            row[f"{name}_count"] = count
    for name in (*counters(kind, of), *counted_flags(kind, of)):  # type: ignore[arg-type]
        steps = [late - soon for _, soon, late in _steps(samples, name, begin_ns, LOOK_BACK_NS)]
        row[f"{name}_growth"] = sum(step for step in steps if step >= 0)
    counted = any(begin_ns <= p.time_ns < end_ns and "energy_j" in p.fields for p in samples)
    joules = [
        (soon + late) / 2 * ns / NS for ns, soon, late in _steps(samples, "power_w", begin_ns, COVERED_NS)
    ]
    if has_power(kind, of) and joules and not counted:  # type: ignore[arg-type]
        row["energy_power_j"] = sum(joules)
    return row


def _steps(
    samples: Sequence[Point], name: str, begin_ns: int, most_ns: int
) -> list[tuple[int, float, float]]:
    """Time, earlier and later value of the steps that end in the window."""
    having = [point for point in samples if name in point.fields]
    pairs = itertools.pairwise(having)
    return [
        (late.time_ns - soon.time_ns, soon.fields[name], late.fields[name])
        for soon, late in pairs
        if begin_ns <= late.time_ns < begin_ns + STEP_NS["1m"] and late.time_ns - soon.time_ns <= most_ns
    ]


def _together(rows: Sequence[Fields]) -> Fields:
    names = dict.fromkeys(name for row in rows for name in row)
    found: Fields = {}
    for name in names:
        having = [row for row in rows if name in row]
        values = [row[name] for row in having]
        if name.endswith("_mean"):
            counts = [row[name.removesuffix("mean") + "count"] for row in having]
            found[name] = sum(v * n for v, n in zip(values, counts, strict=True)) / sum(counts)
        elif name.endswith("_min"):
            found[name] = min(values)
        elif name.endswith("_max"):
            found[name] = max(values)
        else:
            found[name] = sum(values)
    return found

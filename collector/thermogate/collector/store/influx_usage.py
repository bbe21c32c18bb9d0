"""What devices did over given times, from InfluxDB: a handful of statements for each.

The long middle of a time is answered from windows, its ends from samples. It always begins with
samples, as the first window's growth has a step from before the time in it.
"""
# ruff: noqa: S608 - texts go through literal(), the rest are names of the schema and integers

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from thermogate.collector.store.influx_answers import Series as HttpSeries
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_places import RAW, Statement, source
from thermogate.collector.store.influx_server import Generation
from thermogate.collector.store.influx_text import identifier, literal
from thermogate.collector.store.influx_usage_sums import COUNTED, MEANS, Sums
from thermogate.collector.store.resolution import (
    LOOK_BACK_NS,
    ROLLED_KINDS,
    Piece,
    counters,
    gauges,
    rolled_name,
)
from thermogate.core.clock import NS
from thermogate.core.query import DeviceTime, Usage
from thermogate.core.schema import DEVICE_KINDS, Kind

_BATCH = 25
"""Times asked for in one request."""
_SHORT_NS = 600 * NS
"""Up to this, samples are as fast."""

Cut = Callable[[Kind, int, int], list[Piece]]
"""The pieces that [start_ns, end_ns) of a kind of device is answered from: windows that have its `fields`."""


async def usage(http: InfluxHttp, times: Sequence[DeviceTime], cut: Cut) -> list[Usage | None]:
    """As `Query.usage`."""
    generation = (await http.known()).generation
    found: list[Usage | None] = []
    for first in range(0, len(times), _BATCH):
        batch = [(time, _pieces(time, cut)) for time in times[first : first + _BATCH]]
        asked = [_statements(generation, time, pieces) for time, pieces in batch]
        answers = iter(await http.statements([one for some in asked for one in some]))
        for (time, pieces), some in zip(batch, asked, strict=True):
            found.append(_usage(time, pieces, [next(answers) for _ in some]))
    return found


def _pieces(time: DeviceTime, cut: Cut) -> list[Piece]:
    whole = [Piece(None, time.start_ns, time.end_ns)]
    if time.device.kind not in ROLLED_KINDS or time.end_ns - time.start_ns <= _SHORT_NS:
        return whole
    found = cut(time.device.kind, time.start_ns + 1, time.end_ns)
    if found[0].resolution is None:
        found[0] = Piece(None, time.start_ns, found[0].end_ns)
    return found


def _statements(generation: Generation, time: DeviceTime, pieces: Sequence[Piece]) -> list[Statement]:
    asked = [(RAW, text) for text in _whole(time, _samples(time, time.start_ns, time.end_ns))]
    for piece in pieces:
        if piece.resolution is not None:
            asked.append(_windows(generation, time, piece))
            continue
        before = _samples(time, piece.start_ns - LOOK_BACK_NS, piece.start_ns)
        asked += [(RAW, text) for text in _piece(time, _samples(time, piece.start_ns, piece.end_ns), before)]
    return asked


def _samples(time: DeviceTime, start_ns: int, end_ns: int) -> str:
    return f"FROM {identifier(time.device.kind)} {_where(time, start_ns, end_ns)}"


def _where(time: DeviceTime, start_ns: int, end_ns: int) -> str:
    return (
        f'WHERE "node" = {literal(time.device.node)} AND "device" = {literal(time.device.device)} '
        f"AND time >= {start_ns} AND time < {end_ns}"
    )


def fields(kind: Kind) -> list[str]:
    """Those by which samples are found and counted: every column costs its time."""
    known = (*gauges(kind), *counters(kind))
    return [name for name in COUNTED if name in known] if kind in DEVICE_KINDS else list(known)


def _whole(time: DeviceTime, samples: str) -> list[str]:
    """What is asked of the samples of all the time."""
    columns = ", ".join(map(identifier, fields(time.device.kind)))
    return [
        f"SELECT {columns} {samples} ORDER BY time LIMIT 1",
        f"SELECT {columns} {samples} ORDER BY time DESC LIMIT 1",
        f'SELECT first("energy_j") {samples}',
        f'SELECT last("energy_j") {samples}',
        f'SELECT first("collapse") {samples}',
    ]


def _piece(time: DeviceTime, samples: str, before: str) -> list[str]:
    """What is asked of each piece of samples."""
    means = ", ".join(f'mean("{name}"), count("{name}")' for name in MEANS)
    counts = ", ".join(f'count("{name}") AS "{name}"' for name in fields(time.device.kind))
    grown = 'SELECT sum("grown") FROM (SELECT non_negative_difference("{}") AS "grown" ' + samples + ")"
    asked = [f'SELECT {means}, max("temp_c") {samples}', f"SELECT {counts} {samples}"]
    for name in ("collapse", "energy_j"):
        asked += [grown.format(name), f'SELECT first("{name}") {samples}', f'SELECT last("{name}") {before}']
    return asked


def _windows(generation: Generation, time: DeviceTime, piece: Piece) -> Statement:
    assert piece.resolution is not None
    kind = time.device.kind
    names = [f"{name}_mean" for name in MEANS] + ["temp_c_max", "energy_j_growth", "collapse_growth"]
    names += [f"{name}_count" for name in dict.fromkeys((*MEANS, *fields(time.device.kind)))]
    columns = ", ".join(map(identifier, names))
    table = source(generation, piece.resolution, rolled_name(kind, piece.resolution))
    return piece.resolution, f"SELECT {columns} FROM {table} {_where(time, piece.start_ns, piece.end_ns)}"


def _usage(time: DeviceTime, pieces: Sequence[Piece], answers: Sequence[list[HttpSeries]]) -> Usage | None:
    left = iter(answers)
    first, last, energy_first, energy_last, collapsed = (_row(next(left)) for _ in range(5))
    sums = Sums()
    for number, piece in enumerate(pieces):
        if piece.resolution is not None:
            for series in next(left):
                sums.add_windows(series.columns, series.values, piece.resolution)
            continue
        means, counts = next(left), next(left)
        sums.add_samples(_row(means), _named(counts))
        for name in ("collapse", "energy_j"):
            grown, begin, before = (_value(_row(next(left))) for _ in range(3))
            sums.grow(name, grown, begin, before if number else None)
    began = _value(collapsed)
    if began:
        sums.growth["collapse"] = sums.growth.get("collapse", 0.0) + began
    return sums.usage(_span(first, last), _span(energy_first, energy_last), time)


def _span(first: Sequence[Any], last: Sequence[Any]) -> tuple[int, int] | None:
    return (first[0], last[0]) if first and last else None


def _row(answer: list[HttpSeries]) -> list[Any]:
    """The only row of a statement's only series, its time first; [] when there is none."""
    return answer[0].values[0] if answer and answer[0].values else []


def _named(answer: list[HttpSeries]) -> Iterator[tuple[str, int]]:
    """Counts by field."""
    names = answer[0].columns[1:] if answer else []
    return ((name, count) for name, count in zip(names, _row(answer)[1:], strict=False) if count)


def _value(row: Sequence[Any]) -> float | None:
    return next((float(value) for value in row[1:] if value is not None), None)

"""What devices did over given times, from InfluxDB: a handful of statements for each."""
# ruff: noqa: S608 - texts go through literal(), the rest are names of the schema and integers

from collections.abc import Iterator, Sequence
from typing import Any

from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_http import Series as HttpSeries
from thermogate.collector.store.influx_text import identifier, literal
from thermogate.core.clock import NS
from thermogate.core.query import DeviceTime, Usage

_BATCH = 25
"""Times asked for in one request."""
_MEANS = ("power_w", "temp_c", "rle", "collapse", "throttled")


async def usage(http: InfluxHttp, times: Sequence[DeviceTime]) -> list[Usage | None]:
    """As `Query.usage`."""
    found: list[Usage | None] = []
    for first in range(0, len(times), _BATCH):
        asked = [_statements(time) for time in times[first : first + _BATCH]]
        answers = iter(await http.statements(";".join(text for some in asked for text in some)))
        found += [_usage([next(answers) for _ in some]) for some in asked]
    return found


def _statements(time: DeviceTime) -> list[str]:
    device = time.device
    samples = (
        f'FROM {identifier(device.kind)} WHERE "node" = {literal(device.node)} '
        f'AND "device" = {literal(device.device)} AND time >= {time.start_ns} AND time < {time.end_ns}'
    )
    means = ", ".join(f'mean("{name}")' for name in _MEANS)
    grown = 'SELECT sum("grown") FROM (SELECT non_negative_difference("{}") AS "grown" ' + samples + ")"
    return [
        f'SELECT {means}, max("temp_c"), count("rle") {samples}',
        f"SELECT count(*) {samples}",
        f"SELECT * {samples} ORDER BY time LIMIT 1",
        f"SELECT * {samples} ORDER BY time DESC LIMIT 1",
        f'SELECT first("collapse") {samples}',
        grown.format("collapse"),
        f'SELECT first("energy_j") {samples}',
        f'SELECT last("energy_j") {samples}',
        grown.format("energy_j"),
    ]


def _usage(answers: Sequence[list[HttpSeries]]) -> Usage | None:
    means, counts, first, last, collapsed, collapses, energy_first, energy_last, grown = map(_row, answers)
    if not first or not last:
        return None
    power_w, temp_c, rle, collapse_ratio, throttled_ratio, temp_max_c, rle_count = _padded(means[1:], 7)
    energy_ns = energy_last[0] - energy_first[0] if energy_first and energy_last else 0
    began = sum(value or 0 for value in (*collapsed[1:], *collapses[1:]))
    return Usage(
        first_ns=first[0],
        last_ns=last[0],
        sample_count=max(counts[1:], default=0),
        power_w=power_w,
        temp_c=temp_c,
        temp_max_c=None if temp_max_c is None else float(temp_max_c),
        rle=rle,
        rle_count=rle_count or 0,
        collapse_ratio=collapse_ratio,
        collapse_count=None if collapse_ratio is None else int(began),
        throttled_ratio=throttled_ratio,
        energy_j=float(next(_values(grown), 0.0)) if energy_ns else None,
        energy_s=energy_ns / NS,
    )


def _row(answer: list[HttpSeries]) -> list[Any]:
    """The only row of a statement's only series, its time first; [] when there is none."""
    return answer[0].values[0] if answer and answer[0].values else []


def _values(row: list[Any]) -> Iterator[float]:
    return (value for value in row[1:] if value is not None)


def _padded(values: list[Any], length: int) -> list[Any]:
    return values + [None] * (length - len(values))

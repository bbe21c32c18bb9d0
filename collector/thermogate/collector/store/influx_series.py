"""Fields of one device over time from InfluxDB, out of samples and rollups as `resolution.pieces` says."""
# ruff: noqa: S608 - names go through identifier(), texts through literal(), the rest are integers

from collections.abc import Sequence

from thermogate.collector.store.influx_answers import Series as HttpSeries
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_places import RAW, Statement, source
from thermogate.collector.store.influx_server import Generation
from thermogate.collector.store.influx_text import identifier, literal
from thermogate.collector.store.resolution import ROLLED_KINDS, Piece, floor, gauges, rolled_name
from thermogate.core.query import Device, SeriesPoint
from thermogate.core.schema import Kind

_ENDS = ("mean", "min", "max", "count")

Steps = dict[str, dict[int, SeriesPoint]]
"""Points by field and begin."""


def is_rolled(kind: Kind, field: str) -> bool:
    """Whether windows have mean, min, max and count of a field."""
    return kind in ROLLED_KINDS and field in gauges(kind)


def _statement(
    generation: Generation, device: Device, fields: Sequence[str], piece: Piece, step_ns: int
) -> Statement:
    """Where and what to ask for the fields in a piece of the time."""
    where = (
        f'WHERE "node" = {literal(device.node)} AND "device" = {literal(device.device)} '
        f"AND time >= {piece.start_ns} AND time < {piece.end_ns}"
    )
    if piece.resolution is None:
        reduced = ", ".join(f"{end}({name})" for name in map(identifier, fields) for end in _ENDS)
        return RAW, (
            f"SELECT {reduced} FROM {identifier(device.kind)} {where} GROUP BY time({step_ns}ns) fill(none)"
        )
    columns = ", ".join(identifier(f"{name}_{end}") for name in fields for end in _ENDS)
    table = source(generation, piece.resolution, rolled_name(device.kind, piece.resolution))
    return piece.resolution, f"SELECT {columns} FROM {table} {where}"


async def steps(
    http: InfluxHttp, device: Device, fields: Sequence[str], pieces: Sequence[Piece], step_ns: int
) -> Steps:
    """The points of each field, put together from the pieces."""
    generation = (await http.known()).generation
    asked = [_statement(generation, device, fields, piece, step_ns) for piece in pieces]
    found: Steps = {field: {} for field in fields}
    for answer in await http.statements(asked):
        for index, field in enumerate(fields):
            _add(found[field], answer, 4 * index + 1, step_ns)
    return found


def _add(points: dict[int, SeriesPoint], answer: Sequence[HttpSeries], first: int, step_ns: int) -> None:
    for row in answer[0].values if answer else ():
        mean, low, high, count = row[first : first + 4]
        if count:
            begin_ns = floor(row[0], step_ns)
            point = SeriesPoint(begin_ns, float(mean), float(low), float(high), round(count))
            points[begin_ns] = _joined(points[begin_ns], point) if begin_ns in points else point


def _joined(one: SeriesPoint, other: SeriesPoint) -> SeriesPoint:
    count = one.count + other.count
    mean = (one.mean * one.count + other.mean * other.count) / count
    return SeriesPoint(one.time_ns, mean, min(one.min, other.min), max(one.max, other.max), count)

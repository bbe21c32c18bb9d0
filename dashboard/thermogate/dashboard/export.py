"""Samples as CSV: a row a sample, an empty cell where nothing was measured."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable

from thermogate.core.schema import INTEGER_FIELDS, MEASUREMENTS, SAMPLED_KINDS
from thermogate.core.wire import Point
from thermogate.dashboard.times import format_time

IDENTITY = ("time", "node", "kind", "device", "model", "origin")


def columns(measurements: Iterable[str]) -> tuple[str, ...]:
    """Every field of the measurements, each once, in the order of the schema."""
    return tuple(dict.fromkeys(f.name for m in measurements for f in MEASUREMENTS[m].fields))


async def csv(chunks: AsyncIterator[list[Point]], *, agent: bool) -> AsyncGenerator[str, None]:
    """CSV in pieces of whole lines. The header comes with the first samples, or alone without any."""
    kinds = tuple(kind for kind in SAMPLED_KINDS if agent or kind != "agent")
    fields = columns(kinds)
    head = ",".join((*IDENTITY, *fields)) + "\n"
    async for chunk in chunks:
        yield head + "".join(_line(point, fields) for point in chunk if point.measurement in kinds)
        head = ""
    if head:
        yield head


def _line(point: Point, fields: tuple[str, ...]) -> str:
    # Names hold no comma and no quote (wire.is_name), so nothing needs quoting.
    cells = [
        format_time(point.time_ns),
        point.node,
        point.measurement,
        point.device,
        point.model,
        point.origin,
    ]
    cells += [_cell(name, point.fields.get(name)) for name in fields]
    return ",".join(cells) + "\n"


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if name in INTEGER_FIELDS else repr(value)

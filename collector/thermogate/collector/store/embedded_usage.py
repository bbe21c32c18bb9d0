"""What devices did over given times, from the embedded store: from windows, and from samples at the edges."""
# ruff: noqa: S608 - names come from the schema through quoted(), values are parameters

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from thermogate.collector.store.duck import quoted
from thermogate.collector.store.resolution import (
    LOOK_BACK_NS,
    Piece,
    Resolution,
    rolled_name,
    sampled_fields,
)
from thermogate.collector.store.tables import Tables
from thermogate.core.clock import NS
from thermogate.core.query import Device, DeviceTime, Usage
from thermogate.core.schema import Kind

Rows = Callable[..., list[tuple[Any, ...]]]
"""SQL and its parameters to rows."""
Choose = Callable[[Collection[str], int, int, int | None], list[Piece]]
"""Fields, start, end and step of a question to the pieces it is answered from."""

_MEANS = ("power_w", "temp_c", "rle", "collapse", "throttled")
_FIELDS = (*_MEANS, "energy_j")
_BATCH_S = 1_000_000
"""Seconds of samples, at the usual one a second, that are sorted in one go: about 100 MB."""
_APART_NS = 600 * NS
"""Samples of times further apart are looked up apart."""


class _Asked(NamedTuple):
    """A piece of the time with this number; steps to a sample are counted from `from_ns` on."""

    number: int
    device: Device
    piece: Piece
    from_ns: int


class _Part(NamedTuple):
    """What a piece says. Sums and counts are of `_MEANS`; `began`: a collapse lasted at its first sample."""

    number: int
    first_ns: int
    last_ns: int
    sample_count: float
    sums: tuple[float | None, ...]
    counts: tuple[float | None, ...]
    temp_max_c: float | None
    collapse_count: float | None
    began: bool | None
    energy_count: float | None
    grown_j: float | None
    energy_first_ns: int | None
    energy_last_ns: int | None
    energy_first_j: float | None
    energy_last_j: float | None


def usage(rows: Rows, tables: Tables, choose: Choose, times: Sequence[DeviceTime]) -> list[Usage | None]:
    """As `Query.usage`."""
    parts: list[list[_Part]] = [[] for _ in times]
    for (kind, resolution), asked in _by_table(tables, choose, times).items():
        sql = _samples_sql(kind, tables) if resolution is None else _windows_sql(kind, resolution, tables)
        for batch in _batches(asked) if resolution is None else [asked]:
            for row in rows(sql, *_parameters(batch)):
                part = _part(row)
                parts[part.number].append(part)
    return [_usage(sorted(some, key=lambda part: part.first_ns)) if some else None for some in parts]


def _by_table(
    tables: Tables, choose: Choose, times: Sequence[DeviceTime]
) -> dict[tuple[Kind, Resolution | None], list[_Asked]]:
    found: dict[tuple[Kind, Resolution | None], list[_Asked]] = {}
    chosen: dict[tuple[Kind, int, int], list[Piece]] = {}
    for number, time in enumerate(times):
        kind = time.device.kind
        span = (kind, time.start_ns, time.end_ns)
        if span not in chosen:
            chosen[span] = _from_the_first_sample(choose, *span)
        for piece in chosen[span]:
            if tables.has(rolled_name(kind, piece.resolution) if piece.resolution else kind):
                from_ns = max(time.start_ns, piece.start_ns - LOOK_BACK_NS)
                asked = _Asked(number, time.device, piece, from_ns)
                found.setdefault((kind, piece.resolution), []).append(asked)
    return found


def _from_the_first_sample(choose: Choose, kind: Kind, start_ns: int, end_ns: int) -> list[Piece]:
    """Pieces of which the first is of samples where there are any: a window counts a step from before it."""
    fields = [name for name in _FIELDS if name in sampled_fields(kind)]
    first, *rest = choose(fields, start_ns + 1, end_ns, None) or [Piece(None, start_ns, end_ns)]
    return [Piece(first.resolution, min(start_ns, first.start_ns), first.end_ns), *rest]


def _parameters(batch: Sequence[_Asked]) -> tuple[Any, ...]:
    return (
        [one.number for one in batch],
        [one.device.node for one in batch],
        [one.device.device for one in batch],
        [one.from_ns for one in batch],
        [one.piece.start_ns for one in batch],
        [one.piece.end_ns for one in batch],
        min(one.from_ns for one in batch),
        max(one.piece.end_ns for one in batch),
    )


def _batches(asked: Iterable[_Asked]) -> Iterator[list[_Asked]]:
    """Pieces close to each other, so that little else lies between the first and the last."""
    batch: list[_Asked] = []
    total_s, end_ns = 0.0, 0
    for one in sorted(asked, key=lambda one: one.from_ns):
        length_s = (one.piece.end_ns - one.from_ns) / NS
        if batch and (one.from_ns > end_ns + _APART_NS or total_s + length_s > _BATCH_S):
            yield batch
            batch, total_s, end_ns = [], 0.0, 0
        batch.append(one)
        total_s, end_ns = total_s + length_s, max(end_ns, one.piece.end_ns)
    if batch:
        yield batch


_ASKED = (
    "with asked as (select unnest(?::integer[]) as number, unnest(?::varchar[]) as node, "
    "unnest(?::varchar[]) as device, unnest(?::bigint[]) as from_ns, unnest(?::bigint[]) as start_ns, "
    "unnest(?::bigint[]) as end_ns), "
)


def _samples_sql(kind: Kind, tables: Tables) -> str:
    # A file that an older version wrote may lack a column.
    known = tables.fields(kind)
    columns = ", ".join(quoted(name) if name in known else f"null::double as {name}" for name in _FIELDS)
    sums = ", ".join(f"sum({name})" for name in _MEANS)
    counts = ", ".join(f"count({name})" for name in _MEANS)
    return (
        f"{_ASKED}sample as (select time_ns, node, device, {columns} from {kind} "
        "where time_ns >= ? and time_ns < ?), "
        "told as (select *, energy_j - lag(energy_j ignore nulls) over before as grown_j, "
        "lag(collapse ignore nulls) over before as collapsed "
        "from sample join asked using (node, device) where time_ns >= from_ns and time_ns < end_ns "
        "window before as (partition by number, from_ns order by time_ns)) "
        f"select number, min(time_ns), max(time_ns), count(*), {sums}, {counts}, max(temp_c), "
        "count(*) filter (collapse > 0 and collapsed = 0), arg_min(collapse, time_ns) > 0, count(energy_j), "
        "sum(greatest(grown_j, 0)), min(time_ns) filter (energy_j is not null), "
        "max(time_ns) filter (energy_j is not null), arg_min(energy_j, time_ns), arg_max(energy_j, time_ns) "
        "from told where time_ns >= start_ns group by number, from_ns"
    )


def _windows_sql(kind: Kind, resolution: Resolution, tables: Tables) -> str:
    """A collapse that lasts at the first sample of all is one that no growth tells."""
    table = rolled_name(kind, resolution)

    def column(name: str) -> str:
        return quoted(name) if tables.has(table, name) else "null::double"

    sums = ", ".join(f"sum({column(f'{name}_mean')} * {column(f'{name}_count')})" for name in _MEANS)
    counts = ", ".join(f"sum({column(f'{name}_count')})" for name in _MEANS)
    lasted, began = column("collapse_max"), column("collapse_growth")
    energies = column("energy_j_count")
    return (
        f"{_ASKED}told as (select * from {table} join asked using (node, device) "
        "where time_ns >= ? and time_ns < ? and time_ns >= start_ns and time_ns < end_ns) "
        f"select number, min(first_ns), max(last_ns), sum(sample_count), {sums}, {counts}, "
        f"max({column('temp_c_max')}), coalesce(sum({began}), 0), "
        f"arg_min({lasted}, time_ns) > 0 and arg_min(coalesce({began}, 0), time_ns) = 0, sum({energies}), "
        f"sum({column('energy_j_growth')}), min(first_ns) filter ({energies} > 0), "
        f"max(last_ns) filter ({energies} > 0), null::double, null::double "
        "from told group by number, from_ns"
    )


def _part(row: Sequence[Any]) -> _Part:
    number, first_ns, last_ns, count, *rest = row
    size = len(_MEANS)
    return _Part(
        number, first_ns, last_ns, count, tuple(rest[:size]), tuple(rest[size : 2 * size]), *rest[2 * size :]
    )


def _usage(parts: Sequence[_Part]) -> Usage:
    """Parts of one time, in order, together."""
    counts = [sum(part.counts[i] or 0 for part in parts) for i in range(len(_MEANS))]
    sums = [sum(part.sums[i] or 0 for part in parts) for i in range(len(_MEANS))]
    means = [total / count if count else None for total, count in zip(sums, counts, strict=True)]
    power_w, temp_c, rle, collapse_ratio, throttled_ratio = means
    collapses = [part for part in parts if part.counts[_MEANS.index("collapse")]]
    began = sum(part.collapse_count or 0 for part in collapses) + bool(collapses and collapses[0].began)
    energy_j, energy_s = _energy([part for part in parts if part.energy_count])
    return Usage(
        first_ns=parts[0].first_ns,
        last_ns=parts[-1].last_ns,
        sample_count=round(sum(part.sample_count for part in parts)),
        power_w=power_w,
        temp_c=temp_c,
        temp_max_c=max((p.temp_max_c for p in parts if p.temp_max_c is not None), default=None),
        rle=rle,
        rle_count=round(counts[_MEANS.index("rle")]),
        collapse_ratio=collapse_ratio,
        collapse_count=round(began) if collapses else None,
        throttled_ratio=throttled_ratio,
        energy_j=energy_j,
        energy_s=energy_s,
    )


def _energy(parts: Sequence[_Part]) -> tuple[float | None, float]:
    """What the counter has grown by, over which time. A gap too long for windows to count over is still
    between the first and the last value.
    """
    if sum(part.energy_count or 0 for part in parts) < 2:
        return None, 0.0
    first, last = parts[0], parts[-1]
    grown_j = sum(part.grown_j or 0.0 for part in parts)
    if first.energy_first_j is not None and last.energy_last_j is not None:
        grown_j = max(grown_j, last.energy_last_j - first.energy_first_j)
    return grown_j, ((last.energy_last_ns or 0) - (first.energy_first_ns or 0)) / NS

"""What devices did over given times, from the embedded store: one pass over the samples."""
# ruff: noqa: S608 - names come from the schema through quoted(), values are parameters

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from thermogate.collector.store.duck import quoted
from thermogate.collector.store.tables import Tables
from thermogate.core.clock import NS
from thermogate.core.query import DeviceTime, Usage
from thermogate.core.schema import Kind

Rows = Callable[..., list[tuple[Any, ...]]]
"""SQL and its parameters to rows."""

_FIELDS = ("power_w", "temp_c", "rle", "collapse", "throttled", "energy_j")
_BATCH_S = 1_000_000
"""Seconds of samples, at the usual one a second, that are sorted in one go: about 100 MB."""


def usage(rows: Rows, tables: Tables, times: Sequence[DeviceTime]) -> list[Usage | None]:
    """As `Query.usage`."""
    found: list[Usage | None] = [None] * len(times)
    for kind in dict.fromkeys(time.device.kind for time in times):
        if kind not in tables.measurements():
            continue
        sql = _sql(kind, tables.fields(kind))
        numbers = [number for number, time in enumerate(times) if time.device.kind == kind]
        for batch in _batches(numbers, times):
            for number, *values in rows(sql, *_parameters(batch, times)):
                found[number] = _usage(values)
    return found


def _parameters(batch: Sequence[int], times: Sequence[DeviceTime]) -> tuple[Any, ...]:
    some = [times[number] for number in batch]
    starts, ends = [time.start_ns for time in some], [time.end_ns for time in some]
    nodes, devices = [time.device.node for time in some], [time.device.device for time in some]
    return list(batch), nodes, devices, starts, ends, min(starts), max(ends)


def _batches(numbers: Sequence[int], times: Sequence[DeviceTime]) -> Iterator[list[int]]:
    batch: list[int] = []
    total_s = 0.0
    for number in numbers:
        length_s = (times[number].end_ns - times[number].start_ns) / NS
        if batch and total_s + length_s > _BATCH_S:
            yield batch
            batch, total_s = [], 0.0
        batch.append(number)
        total_s += length_s
    if batch:
        yield batch


def _sql(kind: Kind, known: Sequence[str]) -> str:
    # A file that an older version wrote may lack a column.
    columns = ", ".join(quoted(name) if name in known else f"null::double as {name}" for name in _FIELDS)
    return (
        "with asked as (select unnest(?::integer[]) as number, unnest(?::varchar[]) as node, "
        "unnest(?::varchar[]) as device, unnest(?::bigint[]) as start_ns, unnest(?::bigint[]) as end_ns), "
        f"sample as (select time_ns, node, device, {columns} from {kind} "
        "where time_ns >= ? and time_ns < ?), "
        "told as (select *, energy_j - lag(energy_j ignore nulls) over before as grown_j, "
        "coalesce(lag(collapse ignore nulls) over before, 0) as collapsed "
        "from sample join asked using (node, device) where time_ns >= start_ns and time_ns < end_ns "
        "window before as (partition by number order by time_ns)) "
        "select number, min(time_ns), max(time_ns), count(*), avg(power_w), avg(temp_c), max(temp_c), "
        "avg(rle), count(rle), avg(collapse), sum((collapse > 0 and collapsed = 0)::integer), "
        "avg(throttled), count(energy_j), coalesce(sum(greatest(grown_j, 0)), 0), "
        "max(time_ns) filter (energy_j is not null) - min(time_ns) filter (energy_j is not null) "
        "from told group by number"
    )


def _usage(row: Sequence[Any]) -> Usage:
    first_ns, last_ns, count, power_w, temp_c, temp_max_c, rle, rle_count, *rest = row
    collapse_ratio, collapse_count, throttled_ratio, energies, grown_j, energy_ns = rest
    counted = energies >= 2
    return Usage(
        first_ns=first_ns,
        last_ns=last_ns,
        sample_count=count,
        power_w=power_w,
        temp_c=temp_c,
        temp_max_c=temp_max_c,
        rle=rle,
        rle_count=rle_count,
        collapse_ratio=collapse_ratio,
        collapse_count=None if collapse_ratio is None else int(collapse_count),
        throttled_ratio=throttled_ratio,
        energy_j=grown_j if counted else None,
        energy_s=energy_ns / NS if counted else 0.0,
    )

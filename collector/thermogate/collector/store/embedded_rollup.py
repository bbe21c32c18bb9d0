"""Windows of a minute and of an hour in the embedded store, made by SQL. It blocks.

Besides the fields of `resolution`, a row has `sample_count` and the stamps of its first and last sample.
"""
# ruff: noqa: S608 - names come from the schema through quoted(), values are parameters

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from thermogate.collector.store.covers import (
    Covers,
    Fields,
    decoded,
    encoded,
    gathered,
    remade,
    rows_of,
    told,
)
from thermogate.collector.store.duck import Cursor, Database, insert, quoted
from thermogate.collector.store.resolution import (
    COVERED_NS,
    LOOK_BACK_NS,
    ROLLED_KINDS,
    STEP_NS,
    Resolution,
    Span,
    Window,
    counted_flags,
    counters,
    gauges,
    has_power,
    rolled_name,
    sampled_fields,
)
from thermogate.collector.store.rows import Columns
from thermogate.collector.store.tables import Tables
from thermogate.core.clock import NS
from thermogate.core.schema import Kind

_ROWS = 2_000_000
"""Samples that are sorted in one go: about 300 MB."""

_Made = tuple[Kind, Window, Columns]


class Rollups:
    """Makes windows of some fields, and knows which times have been covered, and with what."""

    def __init__(self, database: Database, tables: Tables, fields: Collection[str]) -> None:
        self._database = database
        self._tables = tables
        self._of = frozenset(fields)

    def make(self, resolution: Resolution, window: Window) -> Iterator[_Made]:
        """The rows of some windows at a time, to be stored with `replace`. Any thread, any time."""
        of = remade(self.covers(), resolution, [window], self._of)
        for kind in ROLLED_KINDS:
            if not sampled_fields(kind, of):
                continue
            if resolution == "1m":
                yield from self._minutes(kind, of, window)
            else:
                yield kind, window, self._columns(*_hours_sql(kind, of, window))

    def replace(self, resolution: Resolution, made: _Made) -> None:
        """Put rows in the place of what was stored of their windows; for the thread that writes."""
        kind, window, rows = made
        table = rolled_name(kind, resolution)
        with self._database.transaction() as cursor:
            where, values = _where(window)
            cursor.execute(f"delete from {table} where {where}", values)
            if len(rows["time_ns"]):
                insert(cursor, table, rows)

    def cover(self, resolution: Resolution, span: Span) -> None:
        """As `RollsUp.cover`; for the thread that writes."""
        with self._database.transaction() as cursor:
            covers = self._covers(cursor)
            new = ((resolution, has, one) for one, has in told(covers, resolution, span, self._of))
            cursor.execute("delete from covered")
            for name, has, (start_ns, end_ns) in rows_of(gathered([*rows_of(covers), *new])):
                cursor.execute(
                    "insert into covered (resolution, start_ns, end_ns, fields) values (?, ?, ?, ?)",
                    [name, start_ns, end_ns, encoded(has)],
                )

    def covers(self) -> Covers:
        """What has been covered."""
        if not self._tables.has("covered"):
            return {}
        with self._database.cursor() as cursor:
            return self._covers(cursor)

    def _covers(self, cursor: Cursor) -> Covers:
        fields = "fields" if self._tables.has("covered", "fields") else "null"
        rows = cursor.execute(f"select resolution, start_ns, end_ns, {fields} from covered").fetchall()
        return gathered((name, decoded(has), (start, end)) for name, start, end, has in rows)

    def _minutes(self, kind: Kind, of: Fields, window: Window) -> Iterator[_Made]:
        """Cut in halves until few enough samples are looked at in one go."""
        fields = sampled_fields(kind, of)
        counts, total = self._counts(kind, window, fields)
        length = (window.end_ns - window.start_ns) // STEP_NS["1m"]
        if total > _ROWS and length > 1:
            middle_ns = window.start_ns + length // 2 * STEP_NS["1m"]
            yield from self._minutes(kind, of, Window(window.start_ns, middle_ns, window.nodes))
            yield from self._minutes(kind, of, Window(middle_ns, window.end_ns, window.nodes))
            return
        yield kind, window, self._columns(*_minutes_sql(kind, of, window, counts, total))

    def _counts(self, kind: Kind, window: Window, fields: Sequence[str]) -> tuple[dict[str, int], int]:
        """How many samples have each field, of those that any has; and how many samples there are."""
        where, values = _where(window)
        counted = ", ".join(f"count({quoted(name)})" for name in fields)
        with self._database.cursor() as cursor:
            total, *counts = cursor.execute(
                f"select count(*), {counted} from {kind} where {where}", values
            ).fetchall()[0]
        return {name: count for name, count in zip(fields, counts, strict=True) if count}, total

    def _columns(self, sql: str, values: Sequence[Any]) -> Columns:
        with self._database.cursor() as cursor:
            return cursor.execute(sql, values).fetchnumpy()


def _where(window: Window, *, before_ns: int = 0) -> tuple[str, list[Any]]:
    """Rows of the windows, and of the time `before_ns` before them."""
    sql, values = "time_ns >= ? and time_ns < ?", [window.start_ns - before_ns, window.end_ns]
    if window.nodes is None:
        return sql, values
    return f"{sql} and node in (select unnest(?::varchar[]))", [*values, list(window.nodes)]


def _minutes_sql(
    kind: Kind, of: Fields, window: Window, counts: dict[str, int], total: int
) -> tuple[str, list[Any]]:
    """Steps go from the device's last sample that has the field, `LOOK_BACK_NS` before the windows at most.

    Only what every sample has can do without "ignore nulls", which takes ten times as long.
    """
    stepped = [name for name in (*counters(kind, of), *counted_flags(kind, of)) if name in counts]
    computed = has_power(kind, of) and "power_w" in counts and counts.get("energy_j", 0) < total
    traced = [*stepped, "power_w"] if computed else stepped
    where, values = _where(window)
    sql = (
        f"with before as ({_before(kind, traced, window.nodes is not None)}), "
        f"sample as (select *, {_stamps(traced, counts, total)} false as prior from {kind} where {where} "
        "union all by name select *, true as prior from before), "
        f"told as (select *, {_lags(traced, counts, total)} 0 as ignored from sample "
        "window earlier as (partition by node, device order by time_ns)) "
        f"select {_reduced(kind, of, counts, stepped, computed=computed)} from told "
        "where not prior group by all order by all"
    )
    nodes = [] if window.nodes is None else [list(window.nodes)]
    return sql, [window.start_ns - LOOK_BACK_NS, window.start_ns, *nodes, *values]


def _before(kind: Kind, traced: Sequence[str], some_nodes: bool) -> str:
    """A row a device: of each field its last value before the windows, and when that was."""
    last = "".join(
        f", max(time_ns) filter ({q} is not null) as {_ns(name)}, arg_max({q}, time_ns) as {q}"
        for name, q in ((name, quoted(name)) for name in traced)
    )
    nodes = " and node in (select unnest(?::varchar[]))" if some_nodes else ""
    return (
        f"select node, device, max(time_ns) as time_ns{last} from {kind} "
        f"where time_ns >= ? and time_ns < ?{nodes} group by node, device"
    )


def _stamps(traced: Sequence[str], counts: dict[str, int], total: int) -> str:
    return "".join(
        f"time_ns as {_ns(name)}, "
        if counts[name] == total
        else f"case when {quoted(name)} is not null then time_ns end as {_ns(name)}, "
        for name in traced
    )


def _lags(traced: Sequence[str], counts: dict[str, int], total: int) -> str:
    lags = []
    for name in traced:
        nulls = "" if counts[name] == total else " ignore nulls"
        lags.append(f"{quoted(name)} - lag({quoted(name)}{nulls}) over earlier as {_step(name)}, ")
        lags.append(f"{_ns(name)} - lag({_ns(name)}{nulls}) over earlier as {_since(name)}, ")
    return "".join(lags)


def _reduced(
    kind: Kind, of: Fields, counts: dict[str, int], stepped: Sequence[str], *, computed: bool
) -> str:
    step_ns = STEP_NS["1m"]
    parts = [
        f"time_ns // {step_ns} * {step_ns} as time_ns",
        "node",
        "device",
        "count(*)::double as sample_count",
        "min(time_ns) as first_ns",
        "max(time_ns) as last_ns",
    ]
    for name in gauges(kind, of):
        if name in counts:
            q = quoted(name)
            parts += [f"{how}({q}) as {quoted(f'{name}_{end}')}" for how, end in _GAUGE]
            parts.append(f"nullif(count({q}), 0)::double as {quoted(f'{name}_count')}")
    for name in counters(kind, of):
        if name in counts:
            parts.append(f"nullif(count({quoted(name)}), 0)::double as {quoted(f'{name}_count')}")
    for name in stepped:
        grown = f"sum({_step(name)}) filter ({_step(name)} >= 0 and {_since(name)} <= {LOOK_BACK_NS})"
        parts.append(f"{grown} as {quoted(f'{name}_growth')}")
    if computed:
        measured = "count(energy_j) = 0" if "energy_j" in counts else "true"
        joules = f"(power_w - {_step('power_w')} / 2) * {_since('power_w')} / {NS}"
        parts.append(
            f"case when {measured} then sum({joules}) filter ({_since('power_w')} <= {COVERED_NS}) end "
            "as energy_power_j"
        )
    return ", ".join(parts)


_GAUGE = (("avg", "mean"), ("min", "min"), ("max", "max"))


def _hours_sql(kind: Kind, of: Fields, window: Window) -> tuple[str, list[Any]]:
    step_ns = STEP_NS["1h"]
    parts = [
        f"time_ns // {step_ns} * {step_ns} as time_ns",
        "node",
        "device",
        "sum(sample_count) as sample_count",
        "min(first_ns) as first_ns",
        "max(last_ns) as last_ns",
    ]
    for name in gauges(kind, of):
        mean, low, high, count = (quoted(f"{name}_{end}") for end in ("mean", "min", "max", "count"))
        parts += [
            f"sum({mean} * {count}) / sum({count}) as {mean}",
            f"min({low}) as {low}",
            f"max({high}) as {high}",
            f"sum({count}) as {count}",
        ]
    summed = [f"{name}_{end}" for name in counters(kind, of) for end in ("count", "growth")]
    summed += [f"{name}_growth" for name in counted_flags(kind, of)]
    if has_power(kind, of):
        summed.append("energy_power_j")
    parts += [f"sum({quoted(name)}) as {quoted(name)}" for name in summed]
    where, values = _where(window)
    minutes = rolled_name(kind, "1m")
    return f"select {', '.join(parts)} from {minutes} where {where} group by all order by all", values


def _ns(name: str) -> str:
    return quoted(f"{name} ns")


def _step(name: str) -> str:
    return quoted(f"{name} step")


def _since(name: str) -> str:
    return quoted(f"{name} since")

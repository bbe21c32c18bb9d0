"""SQL that puts an answer together from samples and windows."""
# ruff: noqa: S608 - names come from the schema through quoted(), values are parameters

from collections.abc import Sequence
from typing import Any, NamedTuple

from thermogate.collector.store.duck import quoted
from thermogate.collector.store.embedded_usage import Choose
from thermogate.collector.store.resolution import Piece, gauges, rolled_name
from thermogate.collector.store.tables import Tables
from thermogate.core.schema import Kind


class Sources(NamedTuple):
    """Fields, and the pieces that tell them."""

    fields: list[str]
    pieces: list[Piece]


def sources(
    tables: Tables,
    choose: Choose,
    kind: Kind,
    fields: Sequence[str],
    start_ns: int,
    end_ns: int,
    step_ns: int | None,
) -> list[Sources]:
    """Fields are told by the windows that have them, counters and unknown ones by samples."""
    together: dict[tuple[Piece, ...], list[str]] = {}
    for field in dict.fromkeys(fields):
        if field not in tables.fields(kind):
            continue
        pieces = [Piece(None, start_ns, end_ns)]
        if field in gauges(kind):
            chosen = choose((field,), start_ns, end_ns, step_ns)
            used = {rolled_name(kind, piece.resolution) for piece in chosen if piece.resolution}
            pieces = chosen if all(tables.has(table, f"{field}_mean") for table in used) else pieces
        together.setdefault(tuple(pieces), []).append(field)
    return [Sources(some, list(pieces)) for pieces, some in together.items() if pieces]


def reduced(
    kind: Kind, source: Sources, key: str, where: str, values: Sequence[Any]
) -> tuple[str, list[Any]]:
    """SQL of rows of `key`, and of each field in turn mean, min, max and count; and its parameters.

    `key` is SQL over the columns of a table, `where` a condition with the parameters `values`.
    """
    parts = " union all ".join(_part(kind, source.fields, piece, key, where) for piece in source.pieces)
    told = "".join(
        f", sum(s{i}) / sum(n{i}) as mean{i}, min(l{i}) as min{i}, max(h{i}) as max{i}, sum(n{i})::bigint"
        for i in range(len(source.fields))
    )
    parameters = [one for piece in source.pieces for one in (*values, piece.start_ns, piece.end_ns)]
    return f"select key{told} from ({parts}) group by key", parameters


def _part(kind: Kind, fields: Sequence[str], piece: Piece, key: str, where: str) -> str:
    table = rolled_name(kind, piece.resolution) if piece.resolution else kind
    told = "".join(_told(piece, field, i) for i, field in enumerate(fields))
    return (
        f"select {key} as key{told} from {table} where {where} and time_ns >= ? and time_ns < ? group by key"
    )


def _told(piece: Piece, field: str, i: int) -> str:
    if piece.resolution is None:
        q = quoted(field)
        return f", sum({q}) as s{i}, min({q}) as l{i}, max({q}) as h{i}, count({q}) as n{i}"
    mean, low, high, count = (quoted(f"{field}_{end}") for end in ("mean", "min", "max", "count"))
    return f", sum({mean} * {count}) as s{i}, min({low}) as l{i}, max({high}) as h{i}, sum({count}) as n{i}"

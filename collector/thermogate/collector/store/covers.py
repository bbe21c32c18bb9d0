"""Which times have been rolled up, with which fields. Pure.

Windows have the fields that were set when they were made (collector.rollup.fields), so a time is covered
with fields: a question is answered from windows where they have what it asks for. Windows that are made
anew keep what they had, or what they had would no longer be true.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from thermogate.collector.store.resolution import (
    ROLLED_KINDS,
    STEP_NS,
    Resolution,
    Span,
    Window,
    counters,
    gauges,
    merged,
)

Fields = frozenset[str]
"""Names of fields, of whatever kind of device."""
Spans = Mapping[Resolution, tuple[Span, ...]]
Covers = Mapping[Resolution, Mapping[Fields, tuple[Span, ...]]]
"""Spans by the fields that their windows have."""
Row = tuple[Resolution, Fields, Span]

EVERY: Fields = frozenset(name for kind in ROLLED_KINDS for name in (*gauges(kind), *counters(kind)))
"""The fields of windows that were covered before these could be set."""


def encoded(fields: Fields) -> str:
    """As one word, the same for the same fields."""
    return "+".join(sorted(fields))


def decoded(text: str | None) -> Fields:
    """The fields of a word; of none, which is older, EVERY."""
    return frozenset(text.split("+")) if text else EVERY


def rows_of(covers: Covers) -> Iterator[Row]:
    """Every span with its resolution and fields."""
    for resolution, by_fields in covers.items():
        for fields, spans in by_fields.items():
            yield from ((resolution, fields, span) for span in spans)


def gathered(rows: Iterable[Row]) -> Covers:
    """Covers of spans in any order."""
    spans: dict[Resolution, dict[Fields, list[Span]]] = {}
    for resolution, fields, span in rows:
        spans.setdefault(resolution, {}).setdefault(fields, []).append(span)
    return {
        resolution: {fields: merged(some) for fields, some in by_fields.items()}
        for resolution, by_fields in spans.items()
    }


def having(covers: Covers, fields: Collection[str]) -> Spans:
    """Where windows have all of these fields, as of `merged`; resolutions that have none are left out."""
    found: dict[Resolution, tuple[Span, ...]] = {}
    for resolution, by_fields in covers.items():
        wanted = {frozenset(some for some in by_fields if name in some) for name in fields}
        parts = [merged(span for some in sets for span in by_fields[some]) for sets in wanted]
        spans = parts[0] if parts else ()
        for part in parts[1:]:
            spans = _in_both(spans, part)
        if spans:
            found[resolution] = spans
    return found


def remade(covers: Covers, resolution: Resolution, windows: Sequence[Window], fields: Fields) -> Fields:
    """With what windows are made: `fields`, and those that any of them is covered with."""
    found = fields
    for some, spans in covers.get(resolution, {}).items():
        if not some <= found and any(
            start_ns < window.end_ns and window.start_ns < end_ns
            for start_ns, end_ns in spans
            for window in windows
        ):
            found |= some
    return found


def told(covers: Covers, resolution: Resolution, span: Span, fields: Fields) -> list[tuple[Span, Fields]]:
    """What to cover when a span was made with these fields. An hour of which some minutes are covered
    without a field does not tell it.
    """
    finer = covers.get("1m", {}) if resolution == "1h" else {}
    if not any(fields - some for some in finer):
        return [(span, fields)]
    found: list[tuple[Span, Fields]] = []
    for begin_ns in range(*span, STEP_NS[resolution]):
        hour = (begin_ns, begin_ns + STEP_NS[resolution])
        has = _complete(finer, hour, fields)
        if found and found[-1][1] == has:
            found[-1] = ((found[-1][0][0], hour[1]), has)
        elif has:
            found.append((hour, has))
    return found


def _complete(finer: Mapping[Fields, Sequence[Span]], hour: Span, fields: Fields) -> Fields:
    """Of the fields, those that no covered minute of an hour lacks."""
    inside = {
        some: _in_both(merged(spans), (hour,)) for some, spans in finer.items()
    }  # minutes that are not covered were made just now, by whoever asks
    every = _length(span for spans in inside.values() for span in spans)
    return frozenset(
        name
        for name in fields
        if _length(span for some, spans in inside.items() if name in some for span in spans) == every
    )


def _length(spans: Iterable[Span]) -> int:
    return sum(end_ns - start_ns for start_ns, end_ns in merged(spans))


def _in_both(one: Sequence[Span], other: Sequence[Span]) -> tuple[Span, ...]:
    return merged((max(a, c), min(b, d)) for a, b in one for c, d in other if a < d and c < b)

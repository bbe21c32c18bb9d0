"""Recorded decisions made again: the same, or which differ; or what others would have been made of them."""

from collections.abc import Iterable

import msgspec

from thermogate.analytics.audit.records import Record
from thermogate.analytics.audit.replay import Again, Recompute, as_json, replay
from thermogate.analytics.config import AnalyticsSettings
from thermogate.cli import render

_MOST_SHOWN = 200
_HEADER = ("RECORD", "TIME", "TARGET", "MODE", "STATE", "PACE", "WOULD BE", "PACE", "MODE")


def run(
    records: Iterable[Record],
    what_if: AnalyticsSettings | None,
    recompute: Recompute,
    *,
    json: bool,
) -> int:
    """Show what differs; 1 when something does that should not."""
    count, others = 0, []
    for record in records:
        count += 1
        again = replay(record, recompute, what_if)
        if again.problem or again.differences:
            others.append(again)
    failed = [one for one in others if one.problem or what_if is None]
    if json:
        found = [as_json(one) for one in others]
        render.show(render.json_text({"count": count, "what_if": what_if is not None, "differ": found}))
    elif what_if is None:
        _tell_differences(count, others)
    else:
        _tell_what_if(count, others)
    return 1 if failed else 0


def raw(body: bytes) -> msgspec.Raw | str:
    """JSON as it is, or text of it where it is none."""
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body.decode("utf-8", "replace")
    return msgspec.Raw(body)


def _tell_differences(count: int, others: list[Again]) -> None:
    for one in others[:_MOST_SHOWN]:
        what = one.problem or "; ".join(
            f"{field} was {was!r:.200}, is {now!r:.200}" for field, was, now in one.differences
        )
        render.show(f"DIFFERS: record {one.n}{_about(one)}: {what}")
    same = count - len(others)
    render.show(f"{count} decisions made again from their inputs: {same} the same, {len(others)} not")


def _tell_what_if(count: int, others: list[Again]) -> None:
    rows = [_row(one) for one in others[:_MOST_SHOWN] if not one.problem]
    if rows:
        render.show(render.table(_HEADER, rows))
    for one in others[:_MOST_SHOWN]:
        if one.problem:
            render.show(f"record {one.n}{_about(one)}: {one.problem}")
    render.show(f"{count} decisions with these settings: {len(others)} would have been others")


def _row(one: Again) -> tuple[str, ...]:
    was, now = one.decision, one.again
    assert was is not None
    assert now is not None
    return (
        str(one.n),
        render.local_time(was.issued_at_ns),
        f"{was.kind}/{was.target}",
        was.mode,
        str(was.state),
        render.percent(was.pace),
        str(now.state),
        render.percent(now.pace),
        now.mode,
    )


def _about(one: Again) -> str:
    said = one.decision
    return "" if said is None else f" ({said.kind}/{said.target}, {render.local_time(said.issued_at_ns)})"

"""The question what jobs did, asked of a store: their events first, then what their devices did."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from thermogate.core.clock import NS
from thermogate.core.errors import ConfigError
from thermogate.core.model import Event
from thermogate.core.query import Query
from thermogate.dashboard import job_spans, jobs
from thermogate.dashboard.job_spans import JobSpan
from thermogate.dashboard.jobs import JobRow
from thermogate.dashboard.settings import DashboardSettings
from thermogate.dashboard.times import END_OF_TIME_NS

_PAGE = 5000
_DAY_NS = 86_400 * NS

JobPlace = tuple[int, str, str]
"""What jobs are sorted by (`jobs.order_of`)."""


class JobQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs: those on a device at some time of [start_ns, end_ns), the `limit` that began last.

    `job` is a name ("slurm:123") or a manager's id ("123"). With `node` only what they did on it
    counts, with `clip` only what they did in the range; else the whole of every job. `after` is the
    place (`jobs.order_of`) of the last one of the page before.
    """

    start_ns: int
    end_ns: int
    job: str | None = None
    user: str | None = None
    node: str | None = None
    by_device: bool = False
    clip: bool = False
    limit: int = 100
    after: JobPlace | None = None


class Found(msgspec.Struct, frozen=True):
    """`last` is the place of the last job looked at, when there are more; None at the end."""

    rows: tuple[JobRow, ...]
    left_out: tuple[str, ...]
    last: JobPlace | None


async def answer(query: Query, question: JobQuestion, now_ns: int, settings: DashboardSettings) -> Found:
    """A row a job, or a device of a job; raises ConfigError when the range holds too much."""
    statuses = await query.statuses()
    events, left_out = await _events(query, question, settings)
    spans = job_spans.spans(events, {status.node: status.online for status in statuses})
    wanted = [span for span in spans if _is_wanted(span, question)]
    counted = wanted if question.by_device else jobs.without_parts(wanted)
    ordered = jobs.groups(counted, by_device=question.by_device)
    if question.after is not None:
        ordered = [group for group in ordered if jobs.order_of(group) > question.after]
    groups = ordered[: question.limit]
    last = jobs.order_of(groups[-1]) if len(ordered) > len(groups) else None
    start_ns, end_ns = (question.start_ns, question.end_ns) if question.clip else (0, END_OF_TIME_NS)
    asked = [[jobs.asked(span, start_ns, end_ns, now_ns) for span in group] for group in groups]
    usages = iter(await query.usage([time for times in asked for time in times]))
    beside = jobs.by_device(spans)
    periods = {status.node: status.period_s for status in statuses}
    rows = [
        jobs.row(
            [
                jobs.measured(
                    span, time, next(usages), beside[span.device], periods.get(span.device.node, 1.0)
                )
                for span, time in zip(group, times, strict=True)
            ]
        )
        for group, times in zip(groups, asked, strict=True)
    ]
    return Found(tuple(row for row in rows if row.until_ns >= question.start_ns), left_out, last)


async def _events(
    query: Query, question: JobQuestion, settings: DashboardSettings
) -> tuple[list[Event], tuple[str, ...]]:
    """Those of spans that may reach into the range, and the nodes left out as they have too many.

    The end of a span may be told long after it.
    """
    around_ns = round(settings.job_look_back_days * _DAY_NS)
    start_ns = max(0, question.start_ns - around_ns)
    end_ns = min(END_OF_TIME_NS, question.end_ns + around_ns)
    found: dict[tuple[str, ...], Event] = {}
    left_out: tuple[str, ...] = ()
    limit = _PAGE
    while True:
        page = await query.events(
            start_ns=start_ns,
            end_ns=end_ns,
            node=question.node,
            without=left_out,
            kinds=("job_began", "job_ended"),
            limit=limit,
        )
        found |= {(e.node, e.device_kind, e.device, e.event, str(e.time_ns)): e for e in page}
        if len(page) < limit:
            return list(found.values()), tuple(sorted(left_out))
        if len(found) > settings.job_events:
            loud = () if question.node else _loud(found.values(), settings.job_node_events)
            if not loud:
                raise ConfigError(
                    f"from: over {settings.job_events} jobs began or ended around this range: "
                    "narrow it, or name a node"
                )
            left_out += loud
            found = {key: event for key, event in found.items() if event.node not in loud}
            limit = _PAGE
            continue
        if page[0].time_ns == page[-1].time_ns:
            limit = min(2 * limit, settings.job_events + 1)  # one instant fills the page
        end_ns = page[-1].time_ns + 1  # others of that instant may be missing


def _loud(events: Iterable[Event], most: int) -> tuple[str, ...]:
    """The nodes with more than `most` of the events."""
    counts = Counter(event.node for event in events)
    return tuple(node for node, count in counts.items() if count > most)


def _is_wanted(span: JobSpan, question: JobQuestion) -> bool:
    return (
        span.began_ns < question.end_ns
        and (span.end_ns is None or span.end_ns >= question.start_ns)
        and question.job in (None, span.job, span.job_id)
        and question.user in (None, span.user)
    )

"""When which job was on which device, from the events that agents send. Pure."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from thermogate.core.clock import NS
from thermogate.core.model import Event
from thermogate.core.query import Device

_SET_BACK_S = 86_400.0
"""How much longer than from its beginning to its end a span may have lasted: a clock that is set back
meanwhile, out of the time zone of a BIOS at most, makes it so."""

JobState = Literal["running", "ended", "unknown"]
"""Unknown: its end was not told, because its node is offline or its agent has lost its memory."""


class JobSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A job on a device.

    `end_ns` is None while it runs. When its end was not told (`state` unknown), it is when the span
    was over at the latest, or None. `lasted_s` is the agent's own measure, by its steady clock; None
    when the end was not told, or when it cannot be true.
    """

    device: Device
    job: str
    manager: str
    job_id: str
    user: str
    began_ns: int
    end_ns: int | None = None
    state: JobState = "running"
    lasted_s: float | None = None


_Key = tuple[Device, str]


def spans(events: Iterable[Event], online: Mapping[str, bool]) -> list[JobSpan]:
    """Every span of which the beginning or the end was told, oldest first.

    `online` says of each node whether its agent is connected. Events that are not as agents send
    them are left out.
    """
    found: dict[tuple[Device, str, int], JobSpan] = {}
    afresh: dict[str, list[int]] = defaultdict(list)
    for event in events:
        if event.data.get("job") == "all" and not event.device_kind:
            afresh[event.node].append(event.time_ns)
            continue
        span = _told(event)
        if span is None:
            continue
        key = (span.device, span.job, span.began_ns)
        if span.state == "ended" or key not in found:
            found[key] = span
    return _resolved(sorted(found.values(), key=lambda span: span.began_ns), afresh, online)


def _told(event: Event) -> JobSpan | None:
    """The span as far as this event tells it."""
    data = event.data
    job = data.get("job")
    if event.event not in ("job_began", "job_ended") or not event.device_kind or not isinstance(job, str):
        return None
    span = JobSpan(
        device=Device(event.node, event.device_kind, event.device),
        job=job,
        manager=str(data.get("manager", "")),
        job_id=str(data.get("job_id", "")),
        user=str(data.get("user", "")),
        began_ns=event.time_ns,
    )
    if event.event == "job_began":
        return span
    began = str(data.get("began_ns", ""))
    if not (began.isascii() and began.isdecimal() and len(began) <= 19 and int(began) <= event.time_ns):
        return None
    return msgspec.structs.replace(
        span,
        began_ns=int(began),
        end_ns=event.time_ns,
        state="ended",
        lasted_s=_lasted_s(data.get("lasted_s"), (event.time_ns - int(began)) / NS),
    )


def _lasted_s(told: float | str | None, between_s: float) -> float | None:
    """What was told, when it can be so: a node may tell any number, and all nodes' are added up."""
    if not isinstance(told, int | float) or not 0 <= told <= between_s + _SET_BACK_S:
        return None
    return float(told)


def _resolved(
    told: list[JobSpan], afresh: Mapping[str, list[int]], online: Mapping[str, bool]
) -> list[JobSpan]:
    """An end that was not told came before the same job began again, or its agent did."""
    begins: dict[_Key, list[int]] = defaultdict(list)
    for span in told:
        begins[span.device, span.job].append(span.began_ns)
    found = []
    for span in told:
        if span.state != "ended":
            node = span.device.node
            stops = (
                _next(begins[span.device, span.job], span.began_ns),
                _next(sorted(afresh[node]), span.began_ns),
            )
            end_ns = min((stop for stop in stops if stop is not None), default=None)
            if end_ns is not None or not online.get(node, False):
                span = msgspec.structs.replace(span, end_ns=end_ns, state="unknown")
        found.append(span)
    return found


def _next(times_ns: list[int], after_ns: int) -> int | None:
    index = bisect_right(times_ns, after_ns)
    return times_ns[index] if index < len(times_ns) else None

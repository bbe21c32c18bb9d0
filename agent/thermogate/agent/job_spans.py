"""Spans of jobs on devices: a state machine over looks at who has work where. No clock, no I/O."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from thermogate.agent.config import JobSettings
from thermogate.core.model import UNIQUE_JOBS, Event, EventKind, JobManager
from thermogate.core.schema import Kind

DeviceKey = tuple[Kind, str]
ProcessId = tuple[int, int]
"""Number of a process and when it started, in the kernel's ticks: numbers are used again."""

_KEPT_PROCESSES = 16
"""By which a unit or a user is known again; one of them is enough."""


class Job(msgspec.Struct, frozen=True):
    """What processes with work on a device belong to.

    `name` is one stable name: "slurm:123", "pod:UID", "container:12HEX", "unit:NAME", "unit:USER:NAME"
    (a unit of the user's own) or "user:NAME". `user` is the name of the processes' user, its number
    when it has none. `more` holds what else the manager tells: step, qos, container.
    """

    name: str
    manager: JobManager
    job_id: str
    user: str
    more: dict[str, str] = {}


class Sight(msgspec.Struct, frozen=True):
    """A job with work on a device now, and by which processes."""

    job: Job
    processes: tuple[ProcessId, ...]


class Missed(msgspec.Struct, frozen=True):
    """When a job was first looked for in vain, and how long its span had lasted by then."""

    time_ns: int
    lasted_s: float


class OpenSpan(msgspec.Struct, omit_defaults=True):
    """A job that has not ended on a device.

    `seen_ns` (UTC) and `seen_s` (steady clock) are of the last sight, `lasted_s` the length by then
    on the steady clock. `slot` tells the open spans of a device apart and is added to their stamps.
    """

    kind: Kind
    device: str
    slot: int
    job: Job
    began_ns: int
    seen_ns: int
    seen_s: float
    processes: tuple[ProcessId, ...]
    lasted_s: float = 0.0
    missed: Missed | None = None


class Spans:
    """The open spans of one node. A job has one span at a time on a device.

    A span begins at the first sight of a job. It ends once the job has not been seen for `grace_s`,
    and then at the first look without it; when nobody looked in time, at the last sight.
    """

    def __init__(self, node: str, settings: JobSettings, spans: Iterable[OpenSpan] = ()) -> None:
        self.left_out = 0
        """Jobs that found no place because their device had `max_jobs` already."""
        self._node = node
        self._settings = settings
        self._spans: dict[DeviceKey, list[OpenSpan]] = {}
        for span in spans:
            self._spans.setdefault((span.kind, span.device), []).append(span)

    def open(self) -> list[OpenSpan]:
        """Every open span."""
        return [span for spans in self._spans.values() for span in spans]

    def look(
        self, seen: Mapping[DeviceKey, Mapping[str, Sight]], time_ns: int, steady_s: float
    ) -> list[Event]:
        """Events of one look. `seen` has every device that was asked, with its jobs by name."""
        events: list[Event] = []
        for key in list(self._spans):
            asked = seen.get(key)
            kept = []
            for span in self._spans[key]:
                if self._goes_on(span, asked, time_ns, steady_s):
                    kept.append(span)
                else:
                    events.append(self._ended(span))
            self._spans[key] = kept
        for key, jobs in seen.items():
            events += self._begin(key, jobs, time_ns, steady_s)
        return events

    def end_all(self) -> list[Event]:
        """End every span at its last sight: no process survives the boot that it was in."""
        events = [self._ended(span) for span in self.open()]
        self._spans.clear()
        return events

    def _goes_on(
        self, span: OpenSpan, asked: Mapping[str, Sight] | None, time_ns: int, steady_s: float
    ) -> bool:
        gap_s = steady_s - span.seen_s
        if asked is None:
            return gap_s <= self._settings.silent_after_s
        in_time = gap_s <= self._settings.grace_s
        sight = asked.get(span.job.name)
        if sight is None:
            if in_time and span.missed is None:
                span.missed = Missed(time_ns, span.lasted_s + gap_s)
            return in_time
        if not (in_time or span.job.manager in UNIQUE_JOBS or set(span.processes) & set(sight.processes)):
            return False
        span.lasted_s += gap_s
        span.seen_ns, span.seen_s, span.missed = time_ns, steady_s, None
        span.processes = sight.processes[:_KEPT_PROCESSES]
        return True

    def _begin(self, key: DeviceKey, jobs: Mapping[str, Sight], time_ns: int, steady_s: float) -> list[Event]:
        spans = self._spans.setdefault(key, [])
        events = []
        open_jobs = {span.job.name for span in spans}
        for name, sight in jobs.items():
            if name in open_jobs:
                continue
            if len(spans) >= self._settings.max_jobs:
                self.left_out += 1
                continue
            taken = {span.slot for span in spans}
            slot = next(n for n in range(len(spans) + 1) if n not in taken)
            processes = sight.processes[:_KEPT_PROCESSES]
            span = OpenSpan(*key, slot, sight.job, time_ns + slot, time_ns, steady_s, processes)
            spans.append(span)
            text = f"{span.kind}{span.device}: {_named(span.job)} began"
            events.append(self._event("job_began", span, span.began_ns, text, {}))
        return events

    def _ended(self, span: OpenSpan) -> Event:
        end_ns, lasted_s, how = span.seen_ns, span.lasted_s, "was last seen"
        if span.missed is not None:
            end_ns, lasted_s, how = span.missed.time_ns, span.missed.lasted_s, "ended"
        text = f"{span.kind}{span.device}: {_named(span.job)} {how} after {lasted_s:.0f} s"
        more = {"began_ns": str(span.began_ns), "lasted_s": lasted_s}
        # A clock that was set back must not make an end before the beginning.
        return self._event("job_ended", span, max(end_ns + span.slot, span.began_ns), text, more)

    def _event(
        self, event: EventKind, span: OpenSpan, time_ns: int, text: str, more: Mapping[str, Any]
    ) -> Event:
        job = span.job
        told = {"job": job.name, "manager": job.manager, "job_id": job.job_id, "user": job.user}
        return Event(
            node=self._node,
            event=event,
            time_ns=time_ns,
            text=text,
            device_kind=span.kind,
            device=span.device,
            data={**told, **job.more, **more},
        )


def _named(job: Job) -> str:
    return job.name if job.manager == "user" else f"{job.name} of {job.user}"

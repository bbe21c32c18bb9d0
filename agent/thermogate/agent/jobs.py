"""Whose work a device does: spans of jobs, from the processes on it and their cgroups."""

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from thermogate.agent import job_file
from thermogate.agent.config import JobSettings
from thermogate.agent.job_spans import DeviceKey, Spans
from thermogate.agent.processes import ProcessTable, UserNames
from thermogate.agent.sources.host import HostSettings
from thermogate.agent.sources.sysfs import boot_id
from thermogate.agent.sources.worker import Worker
from thermogate.core.clock import Clock
from thermogate.core.model import Event

__all__ = ["DeviceKey", "JobTracker", "Jobs"]

log = logging.getLogger(__name__)


class JobTracker(Protocol):
    """Turns the processes on devices into events where a job begins and ends."""

    def step(self, users: Mapping[DeviceKey, tuple[int, ...]], time_ns: int) -> list[Event]:
        """Events of one tick. A device that is not in `users` was not asked now: nothing changes on it."""
        ...


class Jobs:
    """The `JobTracker` of this machine; its file is read at the first step.

    /proc, the directory of users and the disk may all be slow or hang, so a look runs in a thread of
    its own: its events come with a later step and carry the stamp of the tick that asked. While a
    look is under way the next ones are skipped.

    After kill -9 nothing is lost and nothing counts twice: the file has every event before the
    caller does, and the next run says those again that may not have been spooled.
    """

    def __init__(
        self,
        node: str,
        settings: JobSettings,
        host: HostSettings,
        file: Path,
        clock: Clock,
        *,
        names: UserNames | None = None,
    ) -> None:
        self._node = node
        self._settings = settings
        self._procfs = Path(host.procfs_root)
        self._file = file
        self._clock = clock
        self._table = ProcessTable(settings, self._procfs, names or UserNames(settings.name_timeout_s))
        self._worker = Worker[list[Event]]("jobs")
        self._pending: tuple[float, Future[list[Event]]] | None = None
        self._due_s = 0.0
        self._stuck = False
        # Of the thread alone from here on.
        self._boot = ""
        self._spans: Spans | None = None
        self._unsaid: list[Event] = []
        self._fresh = False
        self._save_due_s = 0.0
        self._unsaved = False

    def step(self, users: Mapping[DeviceKey, tuple[int, ...]], time_ns: int) -> list[Event]:
        """As `JobTracker.step`: returns what the looks before have found, and never waits."""
        now_s = self._clock.steady_s()
        events = self._collect(now_s)
        # Devices that are never asked are noticed, too: see JobSettings.silent_after_s.
        if self._pending is None and (users or now_s >= self._due_s):
            self._due_s = now_s + self._settings.save_interval_s
            self._pending = now_s, self._worker.submit(lambda: self._look(users, time_ns, now_s))
        return events

    def _collect(self, now_s: float) -> list[Event]:
        if self._pending is None:
            return []
        since_s, future = self._pending
        if future.done():
            self._pending, self._stuck = None, False
            return future.result()
        if now_s - since_s > self._settings.stuck_after_s and not self._stuck:
            self._stuck = True
            log.warning("whose work it is cannot be told: a look at /proc takes over %.0f s", now_s - since_s)
        return []

    def _look(self, users: Mapping[DeviceKey, tuple[int, ...]], time_ns: int, steady_s: float) -> list[Event]:
        events: list[Event] = []
        if self._spans is None:
            self._spans, events = self._load(steady_s)
        if self._fresh and users:
            self._fresh = False
            events.append(self._afresh(time_ns))
        seen = self._table.look(users, steady_s)
        left_out = self._spans.left_out
        events += self._spans.look(seen, time_ns, steady_s)
        if self._spans.left_out and not left_out:
            log.warning("a device has more than %d jobs: the others are not told", self._settings.max_jobs)
        if events or (self._spans.open() and steady_s >= self._save_due_s):
            self._save(self._spans, events, steady_s)
        self._unsaid = events
        return events

    def _load(self, steady_s: float) -> tuple[Spans, list[Event]]:
        """The spans of the run before; after another boot of the machine they have ended."""
        self._boot = boot_id(self._procfs)
        kept = job_file.load(self._file)
        if kept is None:
            self._fresh = True
            return Spans(self._node, self._settings), []
        spans = Spans(self._node, self._settings, kept.spans)
        ended = [] if kept.boot == self._boot and kept.steady_s <= steady_s else spans.end_all()
        return spans, kept.unsaid + ended

    def _save(self, spans: Spans, events: list[Event], steady_s: float) -> None:
        self._save_due_s = steady_s + self._settings.save_interval_s
        # Those of the look before may be on their way to the spool at this moment.
        unsaid = self._unsaid + events
        try:
            job_file.save(self._file, job_file.Kept(self._boot, steady_s, spans.open(), unsaid))
            self._unsaved = False
        except OSError as err:
            if not self._unsaved:
                log.warning("%s: a restart will not know what runs now: %s", self._file, err.strerror)
            self._unsaved = True

    def _afresh(self, time_ns: int) -> Event:
        """Says that nobody here will tell the end of a span that began before."""
        text = "jobs are watched from now on: when those seen here before have ended is not known"
        return Event(node=self._node, event="job_ended", time_ns=time_ns, text=text, data={"job": "all"})

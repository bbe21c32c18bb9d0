"""A source that may be slow, hang or fail, in a thread of its own: nobody waits for it beyond a tick."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from thermogate.agent.config import SamplerSettings
from thermogate.agent.sources.base import Reading, Source, SourceEvent
from thermogate.agent.sources.worker import Worker
from thermogate.core.errors import SourceError
from thermogate.core.model import EventKind, SourceReport

log = logging.getLogger(__name__)

_NEARLY = 0.95
"""A tick that comes this near to the end of an interval is the one that is meant."""


class Guard:
    """Opens a source, however late, and then reads it: for each tick `begin`, a wait, `collect`.

    A source is never asked while an earlier call has not returned. What it answers after its tick
    belongs to no tick: the readings are thrown away, the events are kept. `now_s` is the steady
    clock.
    """

    def __init__(self, source: Source, settings: SamplerSettings) -> None:
        self.source = source
        self.report = SourceReport(source.name, False, "not opened yet")
        """What the source found, or that it has not opened."""
        self._settings = settings
        # One that hangs takes no other's place and holds up no exit.
        self._worker = Worker[Any](source.name)
        self._call: Future[Any] | None = None
        self._asked_s = 0.0
        self._read_s: float | None = None
        self._opened = False
        self._hung = False
        self._failing = False

    def open(self, now_s: float) -> Future[Any]:
        """Begin to open the source; done when `collect` has taken note of it."""
        self.report = SourceReport(self.source.name, False, "does not open; it is used as soon as it does")
        return self._submit(self.source.open, now_s)

    def begin(self, now_s: float) -> tuple[Future[Any] | None, list[SourceEvent]]:
        """Ask for a reading if it is time and no call is under way; and what changed since the last tick."""
        _, events = self.collect(now_s)
        if self._call is not None or not self._due(now_s):
            return None, events
        self._read_s = now_s
        return self._submit(self.source.read, now_s), events

    def collect(self, now_s: float) -> tuple[list[Reading], list[SourceEvent]]:
        """What has been read by now, nothing when the source is late or fails; and what changed."""
        call = self._call
        if call is None:
            return [], []
        if not call.done():
            return [], self._note_silence(now_s)
        self._call = None
        events = self._note_answer(now_s)
        if not self._opened:
            self._opened, self.report = True, call.result()
            return [], events
        try:
            readings, said = call.result()
        except SourceError as err:
            return [], events + self._note_failure(err)
        self.report = next((e.report for e in reversed(said) if e.report is not None), self.report)
        return readings, events + self._note_success() + said

    def close(self) -> None:
        """Close the source if it answers; one that hangs is left behind with its thread."""
        if self._call is None:
            self.source.close()
        self._worker.stop()

    def _due(self, now_s: float) -> bool:
        found = not self._opened or self.report.found
        interval_s = self.source.interval_s if found else self._settings.idle_interval_s
        return self._read_s is None or now_s - self._read_s >= _NEARLY * interval_s

    def _submit(self, job: Callable[[], Any], now_s: float) -> Future[Any]:
        self._asked_s = now_s
        self._call = self._worker.submit(job)
        return self._call

    def _note_silence(self, now_s: float) -> list[SourceEvent]:
        silent_s = now_s - self._asked_s
        if self._hung or silent_s < self._settings.hung_after_s:
            return []
        self._hung = True
        return self._say("source_failed", f"has not answered for {silent_s:.0f} s")

    def _note_answer(self, now_s: float) -> list[SourceEvent]:
        if not self._hung:
            return []
        self._hung = False
        return self._say("source_back", f"answers again after {now_s - self._asked_s:.0f} s")

    def _note_failure(self, err: SourceError) -> list[SourceEvent]:
        if self._failing:
            return []
        self._failing = True
        return self._say("source_failed", f"gives nothing: {err}")

    def _note_success(self) -> list[SourceEvent]:
        if not self._failing:
            return []
        self._failing = False
        return self._say("source_back", "works again")

    def _say(self, event: EventKind, text: str) -> list[SourceEvent]:
        level = logging.WARNING if event == "source_failed" else logging.INFO
        log.log(level, "source %s %s", self.source.name, text)
        return [SourceEvent(event, f"{self.source.name} {text}")]

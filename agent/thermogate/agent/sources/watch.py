"""Devices that may hang or vanish, read against a deadline.

A device whose vendor call does not return costs its own values and nothing else: no second call is
made on it, and the other devices are read as ever.

One thread reads all devices, one after another, and only when it makes no progress does a second
go on beside it. A thread a device would be simpler but costs four times the processor time: vendor
calls take microseconds, and after each of them eight threads would compete for the interpreter.
"""

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Protocol

from thermogate.agent.sources.base import Fields, Reading, SourceEvent
from thermogate.agent.sources.worker import Crew, settle
from thermogate.core.clock import Clock
from thermogate.core.errors import SourceError
from thermogate.core.model import DeviceInfo, EventKind

_PATIENCE_S = 0.02
"""Time without progress after which one more thread goes on with the devices left: 8 slow ones are
all under way within 0.16 s, while a driver in good health answers for all of them in a few ms."""


class DeviceLostError(SourceError):
    """The device is no longer on the bus, or its driver says so."""


class Probe(Protocol):
    """One device as its vendor's library sees it."""

    @property
    def info(self) -> DeviceInfo:
        """What is known about the device now."""
        ...

    @property
    def doing(self) -> str:
        """The vendor call under way; read from another thread while `read` runs."""
        ...

    def read(self) -> Fields:
        """What the device measures now; may block for ever.

        Raises DeviceLostError when the device is gone, SourceError when it says nothing now.
        """
        ...


class Watch:
    """Reads one device once a tick and says when it hangs, is lost, or comes back.

    For each tick `begin`, then `run` in some thread or `skip`, then `collect`. An answer that comes
    after `collect` is thrown away: it belongs to no tick.
    """

    def __init__(self, probe: Probe, clock: Clock, hung_after_s: float) -> None:
        self.probe = probe
        self.error = ""
        self._clock = clock
        self._hung_after_s = hung_after_s
        self._name = f"{probe.info.kind}{probe.info.device}"
        self._future: Future[Fields] | None = None
        self._fresh = False
        self._began_s = 0.0
        self._silent_since_s: float | None = None
        self._hung_in = ""
        self._lost_since_s: float | None = None

    @property
    def busy(self) -> bool:
        """Whether a call on the device has not returned."""
        return self._future is not None and not self._future.done()

    @property
    def lost(self) -> bool:
        """Whether the device said last that it is gone."""
        return self._lost_since_s is not None

    def begin(self) -> Future[Fields] | None:
        """The future of a new reading; None while an earlier one has not returned."""
        self._fresh = not self.busy
        if not self._fresh:
            return None
        if self._silent_since_s is None:
            self._began_s = self._clock.steady_s()
        self._future = Future()
        return self._future

    def run(self) -> None:
        """Read the device into the future that `begin` has given; may block for ever."""
        assert self._future is not None
        settle(self._future, self.probe.read)

    def skip(self) -> None:
        """Give up the reading, since there was no time left to run it."""
        self._future = None

    def collect(self) -> tuple[Fields, list[SourceEvent]]:
        """What the device has answered by now, {} when nothing, and what has changed."""
        now_s = self._clock.steady_s()
        if self._future is None:
            return {}, []
        if not self._fresh or not self._future.done():
            return {}, self._note_silence(now_s)
        events = self._note_answer(now_s)
        try:
            fields = self._future.result()
        except DeviceLostError as err:
            self.error = str(err)
            return {}, events + self._note_lost(now_s)
        except SourceError as err:
            self.error = str(err)
            return {}, events
        return fields, events + self._note_back(now_s)

    def _note_silence(self, now_s: float) -> list[SourceEvent]:
        if self._silent_since_s is None:
            self._silent_since_s = self._began_s
        silent_s = now_s - self._silent_since_s
        if self._hung_in or silent_s < self._hung_after_s:
            return []
        self._hung_in = self.probe.doing or "an unknown call"
        text = f"{self._name} has not answered for {silent_s:.0f} s: its driver hangs in {self._hung_in}"
        return [self._event("driver_hung", text, {"call": self._hung_in, "hung_s": silent_s})]

    def _note_answer(self, now_s: float) -> list[SourceEvent]:
        since_s, call = self._silent_since_s, self._hung_in
        self._silent_since_s, self._hung_in = None, ""
        if since_s is None or not call:
            return []
        text = f"{self._name} answers again after {now_s - since_s:.0f} s in {call}"
        return [self._event("driver_back", text, {"call": call, "hung_s": now_s - since_s})]

    def _note_lost(self, now_s: float) -> list[SourceEvent]:
        if self._lost_since_s is not None:
            return []
        self._lost_since_s = now_s
        return [self._event("gpu_lost", f"{self._name} is lost: {self.error}", {"call": self.probe.doing})]

    def _note_back(self, now_s: float) -> list[SourceEvent]:
        since_s, self._lost_since_s, self.error = self._lost_since_s, None, ""
        if since_s is None:
            return []
        text = f"{self._name} is back after {now_s - since_s:.0f} s"
        return [self._event("gpu_back", text, {"lost_s": now_s - since_s})]

    def _event(self, event: EventKind, text: str, data: dict[str, float | str]) -> SourceEvent:
        info = self.probe.info
        return SourceEvent(event, text, info.kind, info.device, data)


def sweep(watches: Sequence[Watch], crew: Crew, timeout_s: float) -> tuple[list[Reading], list[SourceEvent]]:
    """Read all devices; those that have not answered within `timeout_s` are left out."""
    _run(watches, crew, time.monotonic() + timeout_s)
    readings: list[Reading] = []
    events: list[SourceEvent] = []
    for watch in watches:
        fields, changes = watch.collect()
        events += changes
        if fields:
            readings.append(Reading(watch.probe.info.kind, watch.probe.info.device, fields))
    return readings, events


def _run(watches: Sequence[Watch], crew: Crew, deadline_s: float) -> None:
    """Return when every device has answered, or at the deadline."""
    waiting: deque[Watch] = deque()
    futures: list[Future[Fields]] = []
    for watch in watches:
        if (future := watch.begin()) is not None:
            waiting.append(watch)
            futures.append(future)
    pending = set(futures)
    while pending and (left_s := deadline_s - time.monotonic()) > 0:
        if waiting:
            crew.submit(lambda: _run_each(waiting))
        pending = wait(pending, min(left_s, _PATIENCE_S if waiting else left_s)).not_done
    with contextlib.suppress(IndexError):
        while True:
            waiting.popleft().skip()


def _run_each(waiting: deque[Watch]) -> None:
    """Read the devices that no other thread has taken."""
    with contextlib.suppress(IndexError):
        while True:
            waiting.popleft().run()

"""Devices that may hang or vanish, read against a deadline.

A device whose vendor call does not return costs its own values and nothing else: no second call is
made on it, and the other devices are read as ever.

One thread reads all devices, one after another, and only when it makes no progress does a second
go on beside it. A thread a device would be simpler but costs four times the processor time: vendor
calls take microseconds, and after each of them eight threads would compete for the interpreter.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Literal, Protocol

from thermogate.agent.sources.base import Reading, SourceEvent
from thermogate.agent.sources.worker import Countdown, Crew
from thermogate.core.clock import Clock
from thermogate.core.errors import SourceError
from thermogate.core.model import DeviceInfo, EventKind
from thermogate.core.schema import Kind

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

    def read(self) -> list[Reading]:
        """What the device and its parts measure now; may block for ever.

        Raises DeviceLostError when the device is gone, SourceError when it says nothing now.
        """
        ...


class Silence:
    """Says once when something that was asked has not answered for too long, and when it does again."""

    def __init__(
        self, name: str, hung_after_s: float, kind: Kind | Literal[""] = "", device: str = ""
    ) -> None:
        self._name = name
        self._hung_after_s = hung_after_s
        self._kind = kind
        self._device = device
        self._since_s: float | None = None
        self._hung_in = ""

    def begin(self, now_s: float) -> None:
        """It is asked now, unless it owes an answer already."""
        if self._since_s is None:
            self._since_s = now_s

    def check(self, now_s: float, call: str) -> list[SourceEvent]:
        """It has not answered yet; `call` is the one under way."""
        silent_s = now_s - (now_s if self._since_s is None else self._since_s)
        if self._hung_in or silent_s < self._hung_after_s:
            return []
        self._hung_in = call or "an unknown call"
        text = f"{self._name} has not answered for {silent_s:.0f} s: its driver hangs in {self._hung_in}"
        return [self._event("driver_hung", text, silent_s)]

    def end(self, now_s: float) -> list[SourceEvent]:
        """It has answered."""
        since_s, call = self._since_s, self._hung_in
        event: list[SourceEvent] = []
        if since_s is not None and call:
            text = f"{self._name} answers again after {now_s - since_s:.0f} s in {call}"
            event = [self._event("driver_back", text, now_s - since_s)]
        self._since_s, self._hung_in = None, ""
        return event

    def _event(self, event: EventKind, text: str, hung_s: float) -> SourceEvent:
        return SourceEvent(event, text, self._kind, self._device, {"call": self._hung_in, "hung_s": hung_s})


class _Lateness:
    """Says when a device answers, but only after its tick: it has no samples, and does not hang."""

    def __init__(self, name: str, told_after_s: float, kind: Kind, device: str) -> None:
        self._name = name
        self._told_after_s = told_after_s
        self._kind: Kind = kind
        self._device = device
        self._since_s: float | None = None
        self._told = False

    def late(self, now_s: float) -> list[SourceEvent]:
        """It has answered since its tick."""
        if self._since_s is None:
            self._since_s = now_s
        if self._told or now_s - self._since_s < self._told_after_s:
            return []
        self._told = True
        text = f"{self._name} answers later than a tick waits for it: it has no samples"
        return [SourceEvent("source_failed", text, self._kind, self._device)]

    def in_time(self) -> list[SourceEvent]:
        """It has answered within its tick."""
        told, self._since_s, self._told = self._told, None, False
        if not told:
            return []
        return [SourceEvent("source_back", f"{self._name} answers in time again", self._kind, self._device)]


class Watch:
    """Reads one device once a tick and says when it hangs, is lost, or comes back.

    For each tick `begin`, then `run` in some thread or `skip`, then `collect`. An answer that comes
    after `collect` is thrown away: it belongs to no tick.
    """

    def __init__(self, probe: Probe, clock: Clock, hung_after_s: float) -> None:
        self.probe = probe
        self.error = ""
        self.busy = False
        """Whether a call on the device has not returned; read from other threads."""
        self._clock = clock
        self._name = f"{probe.info.kind}{probe.info.device}"
        self._silence = Silence(self._name, hung_after_s, probe.info.kind, probe.info.device)
        self._asked = False
        self._owes = False
        self._lateness = _Lateness(self._name, hung_after_s, probe.info.kind, probe.info.device)
        self._late_events: list[SourceEvent] = []
        self._answer: list[Reading] | BaseException = []
        self._lost_since_s: float | None = None

    @property
    def lost(self) -> bool:
        """Whether the device said last that it is gone."""
        return self._lost_since_s is not None

    def begin(self) -> bool:
        """Whether the device is to be read now: not while an earlier reading has not returned."""
        self._asked = not self.busy
        if self._asked:
            self.busy = True
            now_s = self._clock.steady_s()
            if self._owes:
                self._late_events = self._silence.end(now_s) + self._lateness.late(now_s)
            self._silence.begin(now_s)
        return self._asked

    def run(self) -> None:
        """Read the device; may block for ever."""
        try:
            self._answer = self.probe.read()
        except BaseException as err:  # noqa: BLE001 - raised again in `collect`
            self._answer = err
        self.busy = False

    def skip(self) -> None:
        """Give up the reading, since there was no time left to run it."""
        self._asked = self.busy = False

    def collect(self) -> tuple[list[Reading], list[SourceEvent]]:
        """What the device has answered by now, [] when nothing, and what has changed."""
        now_s = self._clock.steady_s()
        events, self._late_events = self._late_events, []
        self._owes = self.busy
        if self._owes:
            return [], events + self._silence.check(now_s, self.probe.doing)
        if not self._asked:
            return [], events
        events += self._silence.end(now_s) + self._lateness.in_time()
        answer = self._answer
        if isinstance(answer, DeviceLostError):
            self.error = str(answer)
            return [], events + self._note_lost(now_s)
        if isinstance(answer, SourceError):
            self.error = str(answer)
            return [], events
        if isinstance(answer, BaseException):
            raise answer
        return answer, events + self._note_back(now_s)

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


class _Turn:
    """The devices to be read at one tick, by as many threads as it takes."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self.waiting = deque(watches)
        self.done = threading.Event()
        self._countdown = Countdown(len(watches), self.done.set)

    def work(self) -> None:
        """Read the devices that no other thread has taken."""
        with contextlib.suppress(IndexError):
            while True:
                self.waiting.popleft().run()
                self._countdown.one_less()


def sweep(watches: Sequence[Watch], crew: Crew, timeout_s: float) -> tuple[list[Reading], list[SourceEvent]]:
    """Read all devices; those that have not answered within `timeout_s` are left out."""
    _run([watch for watch in watches if watch.begin()], crew, time.monotonic() + timeout_s)
    readings: list[Reading] = []
    events: list[SourceEvent] = []
    for watch in watches:
        answer, changes = watch.collect()
        events += changes
        readings += answer
    return readings, events


def all_mute(watches: Sequence[Watch]) -> str:
    """Why no device says anything though none of them hangs or is lost; "" when that is not so."""
    errors = [watch.error for watch in watches if watch.error and not watch.lost]
    return errors[0] if errors and len(errors) == len(watches) else ""


def _run(watches: Sequence[Watch], crew: Crew, deadline_s: float) -> None:
    """Return when every device has answered, or at the deadline."""
    if not watches:
        return
    turn = _Turn(watches)
    while not turn.done.is_set() and (left_s := deadline_s - time.monotonic()) > 0:
        if turn.waiting:
            crew.submit(turn.work)
        turn.done.wait(min(left_s, _PATIENCE_S if turn.waiting else left_s))
    with contextlib.suppress(IndexError):
        while True:
            turn.waiting.popleft().skip()

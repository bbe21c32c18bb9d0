"""Devices that may hang or vanish: each is read in a thread of its own, against a deadline.

A device whose vendor call does not return costs its own values and nothing else: no second call is
made on it, and the other devices are read as ever.
"""

from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Protocol

from thermogate.agent.sources.base import Fields, Reading, SourceEvent
from thermogate.agent.sources.worker import Worker
from thermogate.core.clock import Clock
from thermogate.core.errors import SourceError
from thermogate.core.model import DeviceInfo, EventKind


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

    `begin` and `collect` are called in turn, with the time between them for the device to answer.
    An answer that comes after `collect` is thrown away: it belongs to no tick.
    """

    def __init__(self, probe: Probe, clock: Clock, hung_after_s: float) -> None:
        self.probe = probe
        self.error = ""
        self._clock = clock
        self._hung_after_s = hung_after_s
        self._name = f"{probe.info.kind}{probe.info.device}"
        self._worker = Worker[Fields](self._name)
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
        """Start a reading; None while an earlier one has not returned."""
        self._fresh = not self.busy
        if not self._fresh:
            return None
        if self._silent_since_s is None:
            self._began_s = self._clock.steady_s()
        self._future = self._worker.submit(self.probe.read)
        return self._future

    def collect(self) -> tuple[Fields, list[SourceEvent]]:
        """What the device has answered by now, {} when nothing, and what has changed."""
        now_s = self._clock.steady_s()
        if self._future is None or not self._fresh or not self._future.done():
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

    def stop(self) -> None:
        """End the device's thread, as soon as its call returns."""
        self._worker.stop()

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


def sweep(watches: Sequence[Watch], timeout_s: float) -> tuple[list[Reading], list[SourceEvent]]:
    """Read all devices at once; those that have not answered within `timeout_s` are left out."""
    begun = [future for watch in watches if (future := watch.begin()) is not None]
    wait(begun, timeout_s)
    readings: list[Reading] = []
    events: list[SourceEvent] = []
    for watch in watches:
        fields, changes = watch.collect()
        events += changes
        if fields:
            readings.append(Reading(watch.probe.info.kind, watch.probe.info.device, fields))
    return readings, events

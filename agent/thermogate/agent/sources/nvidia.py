"""NVIDIA GPUs, each under a watchdog."""

from collections import Counter
from concurrent.futures import Future, wait
from typing import Any

from thermogate.agent.sources import nvml
from thermogate.agent.sources.base import Reading, SourceEvent
from thermogate.agent.sources.watch import Watch, sweep
from thermogate.agent.sources.worker import Crew, Worker
from thermogate.core.clock import Clock
from thermogate.core.config import Settings
from thermogate.core.errors import SourceError
from thermogate.core.model import DeviceInfo, SourceReport


class NvidiaSettings(Settings, frozen=True):
    """How long the NVIDIA driver may take."""

    read_timeout_s: float = 0.5
    """A GPU that has not answered by then is left out of the tick: half of the default period."""
    hung_after_s: float = 3.0
    """Silence of a GPU that is reported as a hung driver: three ticks, so that a slow one is not."""
    open_timeout_s: float = 10.0
    """How long the driver may take to start: without persistence mode it first wakes every GPU."""


class NvidiaSource:
    """The GPUs that NVML lists. Their numbers are NVML's, in the order of the PCI bus."""

    name = "nvml"
    frugal = False

    def __init__(self, settings: NvidiaSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._driver = Worker[Any](self.name)
        self._crew = Crew(self.name)
        self._watches: tuple[Watch, ...] = ()
        self._unsaid: list[SourceEvent] = []

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """All GPUs; one that has not answered yet is known by its number only."""
        return tuple(watch.probe.info for watch in self._watches)

    def open(self) -> SourceReport:
        """Start NVML and describe every GPU."""
        try:
            count, driver = self._start()
        except SourceError as err:
            return SourceReport(self.name, False, f"{err}: GPU source off")
        self._watches = tuple(
            Watch(nvml.GpuProbe(index), self._clock, self._settings.hung_after_s) for index in range(count)
        )
        _, self._unsaid = sweep(self._watches, self._crew, self._settings.open_timeout_s)
        return SourceReport(self.name, True, f"{self._found()}; NVIDIA driver {driver}")

    def read(self) -> tuple[list[Reading], list[SourceEvent]]:
        """One reading for each GPU that answers in time; events when one hangs, is lost or comes back.

        Raises SourceError when no GPU says anything though none hangs or is lost.
        """
        readings, events = sweep(self._watches, self._crew, self._settings.read_timeout_s)
        events, self._unsaid = self._unsaid + events, []
        mute = [watch for watch in self._watches if watch.error and not watch.lost]
        if mute and len(mute) == len(self._watches) and not events:
            raise SourceError(mute[0].error)
        return readings, events

    def close(self) -> None:
        """Shut NVML down, but not while a call hangs: the shutdown would hang as well."""
        if self._watches and not any(watch.busy for watch in self._watches):
            wait([self._driver.submit(nvml.stop)], self._settings.read_timeout_s)
        self._crew.stop()
        self._driver.stop()

    def _start(self) -> tuple[int, str]:
        started: Future[tuple[int, str]] = self._driver.submit(nvml.start)
        wait([started], self._settings.open_timeout_s)
        if not started.done():
            raise SourceError(f"the NVIDIA driver did not start within {self._settings.open_timeout_s:g} s")
        count, driver = started.result()
        if count == 0:
            raise SourceError(f"NVIDIA driver {driver} finds no GPU")
        return count, driver

    def _found(self) -> str:
        names = Counter(info.name for info in self.devices if info.name)
        found = [f"{count} x {name}" for name, count in names.items()]
        for watch in self._watches:
            if watch.busy or watch.error:
                why = watch.error or f"{watch.probe.doing} has not returned"
                found.append(f"gpu{watch.probe.info.device} does not answer ({why})")
        return ", ".join(found)

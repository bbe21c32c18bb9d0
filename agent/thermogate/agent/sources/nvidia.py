"""NVIDIA GPUs, each under a watchdog."""

from collections import Counter
from pathlib import Path

from thermogate.agent.sources.base import Reading, SourceEvent
from thermogate.agent.sources.host import HostSettings
from thermogate.agent.sources.nvml.driver import Driver
from thermogate.agent.sources.nvml.gpu import GpuProbe
from thermogate.agent.sources.nvml.library import NotStartedError
from thermogate.agent.sources.nvml.settings import NvidiaSettings
from thermogate.agent.sources.nvml.xid import XidListener
from thermogate.agent.sources.watch import Watch, all_mute, sweep
from thermogate.agent.sources.worker import Crew
from thermogate.core.clock import Clock
from thermogate.core.errors import SourceError
from thermogate.core.model import DeviceInfo, SourceReport

__all__ = ["NvidiaSettings", "NvidiaSource"]


class NvidiaSource:
    """The GPUs that NVML lists, and their MIG instances.

    A GPU's number is at first NVML's, in the order of the PCI bus. It belongs to the GPU's UUID for
    as long as the agent runs: a GPU that is unplugged keeps its number, one that comes back has it
    again, and a new one takes NVML's number if that is free, else the lowest that is.

    While `frugal`, memory in use, clocks, fan, performance state, ECC counts and MIG instances are left
    out. Processes are not: jobs would end where they are not looked for.
    """

    name = "nvml"
    interval_s = 0.0

    def __init__(self, settings: NvidiaSettings, host: HostSettings, clock: Clock) -> None:
        self.frugal = False
        self._settings = settings
        self._clock = clock
        self._driver = Driver(settings, Path(host.sysfs_root), clock)
        self._listener = XidListener(settings.hung_after_s, settings.retry_s)
        self._crew = Crew(self.name)
        self._probes: list[GpuProbe] = []
        self._watches: list[Watch] = []
        self._owners: dict[str, str] = {}
        self._starts = 0
        self._failing = False
        self._announced: set[str] = set()
        self._unsaid: list[SourceEvent] = []

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """All GPUs, each with its MIG instances; one that has not answered is known by its number only."""
        return tuple(info for probe in self._probes for info in (probe.info, *probe.parts))

    def open(self) -> SourceReport:
        """Start NVML and describe every GPU."""
        self._driver.start()
        self._unsaid += self._driver.turn(may_restart=False)
        if not self._driver.up:
            return SourceReport(self.name, False, self._why_not())
        self._note_start()
        if not self._probes:
            text = f"NVIDIA driver {self._driver.version} finds no GPU: GPU source off until there is one"
            return SourceReport(self.name, False, text)
        _, events = sweep(self._watches, self._crew, self._settings.open_timeout_s)
        self._unsaid += events
        for probe in self._probes:
            self._announced.add(probe.info.device)
            probe.renew()
        return self._report()

    def read(self) -> tuple[list[Reading], list[SourceEvent]]:
        """One reading for each GPU that answers in time, and for each of its MIG instances; events.

        Raises SourceError when no GPU says anything though none hangs or is lost, and there is no event.
        """
        self._unsaid += self._driver.turn(may_restart=self._may_restart())
        if not self._driver.up:
            return self._nothing()
        if self._driver.starts != self._starts:
            if self._starts == 0 or self._failing:
                text = f"{self.name} works now: NVIDIA driver {self._driver.version}"
                self._unsaid.append(SourceEvent("source_back", text))
            self._note_start()
        self._match()
        readings, events = self._sweep()
        self._unsaid += events + self._news() + self._listener.events()
        if not self._unsaid and (error := all_mute(self._watches)):
            raise SourceError(error)
        return readings, self._said()

    def close(self) -> None:
        """Let go of NVML; it is shut down unless a call has not returned: the shutdown could hang as well."""
        self._listener.stop()
        self._driver.close(shut_down=self._listener.idle and not self._any_busy())
        self._crew.stop()

    def _why_not(self) -> str:
        retry = f"tried again every {self._settings.retry_s:g} s"
        error = self._driver.error
        if error is None:
            limit_s = self._settings.open_timeout_s
            return f"the NVIDIA driver did not start within {limit_s:g} s: GPU source off until it does"
        cure = f"{error.cure}; " if isinstance(error, NotStartedError) else ""
        return f"{error}: GPU source off ({cure}{retry})"

    def _nothing(self) -> tuple[list[Reading], list[SourceEvent]]:
        """While the driver is not started: no reading, and an event if it has been.

        Not an error: those of the driver's events that come meanwhile would wait for its end.
        """
        if self._probes and self._driver.error is not None and not self._failing:
            self._failing = True
            text = f"{self.name} gives nothing: {self._driver.error}"
            self._unsaid.append(SourceEvent("source_failed", text))
        return [], self._said()

    def _said(self) -> list[SourceEvent]:
        said, self._unsaid = self._unsaid, []
        return said

    def _any_busy(self) -> bool:
        return any(watch.busy for watch in self._watches)

    def _may_restart(self) -> bool:
        """Whether NVML may be shut down and started, if that is needed."""
        if self._driver.up and not self._driver.stale:
            return False
        if self._any_busy():  # perhaps for ever: the others' XIDs are listened to meanwhile
            return False
        self._listener.watch({})
        return self._listener.idle

    def _note_start(self) -> None:
        """NVML has been started: every GPU has to be looked up, and there may be new ones."""
        self._starts, self._failing = self._driver.starts, False
        if self._probes:
            for probe in self._probes:
                probe.forget()
            self._driver.list_gpus()
        else:
            for index in range(self._driver.count):
                self._add(str(index), index)

    def _add(self, device: str, index: int) -> None:
        probe = GpuProbe(device, index, self._settings, self._clock, self._owners.setdefault)
        self._probes.append(probe)
        self._watches.append(Watch(probe, self._clock, self._settings.hung_after_s))

    def _match(self) -> None:
        """Give the GPUs that NVML lists and nobody knows to those that were never found, else new numbers."""
        if not self._driver.listed or any(watch.busy for watch in self._watches):
            return
        listed, self._driver.listed = self._driver.listed, ()
        blanks = [probe for probe in self._probes if probe.blank]
        for index, uuid in enumerate(listed):
            if not uuid or uuid in self._owners:
                continue
            if blanks:
                blank = blanks.pop(0)
                blank.index = index
                blank.forget()
            else:
                self._add(self._free_number(index), index)

    def _free_number(self, index: int) -> str:
        taken = {probe.info.device for probe in self._probes}
        numbers = (str(number) for number in range(len(taken) + 1))
        return str(index) if str(index) not in taken else next(n for n in numbers if n not in taken)

    def _sweep(self) -> tuple[list[Reading], list[SourceEvent]]:
        for probe in self._probes:
            probe.frugal = self.frugal
        answer = sweep(self._watches, self._crew, self._settings.read_timeout_s)
        if not self._driver.stale or self._any_busy():  # else the listener is to let go
            handles = {probe.info.device: probe.handle for probe in self._probes}
            self._listener.watch({device: gpu for device, gpu in handles.items() if gpu is not None})
        return answer

    def _news(self) -> list[SourceEvent]:
        """GPUs that were found after the start."""
        events: list[SourceEvent] = []
        for info in (probe.info for probe in self._probes):
            if info.device in self._announced or not info.name:
                continue
            self._announced.add(info.device)
            text = f"gpu{info.device} found: {info.name}, {info.uuid}"
            data: dict[str, float | str] = {"model": info.model, "uuid": info.uuid, "bus": info.bus}
            events.append(SourceEvent("gpu_found", text, "gpu", info.device, data, self._report()))
        return events

    def _report(self) -> SourceReport:
        return SourceReport(self.name, True, f"{self._found()}; NVIDIA driver {self._driver.version}")

    def _found(self) -> str:
        kinds = Counter(_description(probe) for probe in self._probes if probe.info.name)
        found = [f"{count} x {kind}" for kind, count in kinds.items()]
        for probe, watch in zip(self._probes, self._watches, strict=True):
            if watch.busy or watch.error:
                why = watch.error or f"{probe.doing} has not returned"
                found.append(f"gpu{probe.info.device} does not answer ({why})")
        return ", ".join(found)


def _description(probe: GpuProbe) -> str:
    """Name, kind of power and what is missing: the same for all GPUs of a model."""
    notes = [f"power {probe.info.power_kind}"] if probe.info.power_kind else []
    if probe.unsupported:
        notes.append(f"without {', '.join(probe.unsupported)}")
    instances = len(probe.parts)
    if instances:
        notes.append(f"{instances} MIG instance{'s' if instances > 1 else ''}")
    return f"{probe.info.name} ({'; '.join(notes)})" if notes else probe.info.name

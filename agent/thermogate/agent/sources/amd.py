"""AMD GPUs, each under a watchdog: reading a GPU that fell off the bus can hang in its driver."""

from collections import Counter
from pathlib import Path

import msgspec

from thermogate.agent.sources.amd_gpu import AmdProbe
from thermogate.agent.sources.amd_processes import KfdProcesses
from thermogate.agent.sources.base import Reading, SourceEvent
from thermogate.agent.sources.host import HostSettings
from thermogate.agent.sources.sysfs import numbered, read_text
from thermogate.agent.sources.watch import Watch, all_mute, sweep
from thermogate.agent.sources.worker import Crew
from thermogate.core.clock import Clock
from thermogate.core.config import Settings
from thermogate.core.errors import SourceError
from thermogate.core.model import DeviceInfo, SourceReport

_VENDOR = "0x1002"


class AmdSettings(Settings, frozen=True):
    """How AMD GPUs are watched."""

    read_timeout_s: float = 0.5
    """A GPU that has not answered by then is left out of the tick: half of the default period."""
    hung_after_s: float = 3.0
    """Silence of a GPU that is reported as a hung driver: three ticks, so that a slow one is not."""
    open_timeout_s: float = 10.0
    """How long the GPUs may take to be described; a driver that is just starting is slow."""
    rescan_interval_s: float = 30.0
    """How often to look for GPUs that have come, by hot plug or since the driver was loaded late."""
    processes_interval_s: float = 5.0
    """How often to ask which processes are on the GPUs. A job that matters lives longer."""
    errors_interval_s: float = 60.0
    """How often to count memory errors (ECC): the driver asks every memory channel for them."""


class AmdSource:
    """The GPUs of the driver amdgpu. Numbers amd0, amd1 and so on follow the PCI bus; one that comes
    later gets the next number, one that comes back keeps its own.
    """

    name = "amd"
    interval_s = 0.0
    frugal = False

    def __init__(self, settings: AmdSettings, host: HostSettings, clock: Clock) -> None:
        self._settings = settings
        self._cards = Path(host.sysfs_root) / "class/drm"
        self._clock = clock
        self._crew = Crew(self.name)
        self._kfd = KfdProcesses(Path(host.sysfs_root))
        self._probes: dict[str, AmdProbe] = {}
        self._watches: tuple[Watch, ...] = ()
        self._fresh: list[AmdProbe] = []
        self._unsaid: list[SourceEvent] = []
        self._rescan_due_s = 0.0
        self._processes_due_s = 0.0

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """All GPUs; one that has not answered yet is known by its number and address only."""
        return tuple(watch.probe.info for watch in self._watches)

    def open(self) -> SourceReport:
        """Find the GPUs and describe them."""
        self._scan()
        if not self._watches:
            return SourceReport(self.name, False, "no AMD GPU (driver amdgpu)")
        _, self._unsaid = sweep(self._watches, self._crew, self._settings.open_timeout_s)
        return self._report()

    def read(self) -> tuple[list[Reading], list[SourceEvent]]:
        """One reading for each GPU that is awake and answers in time.

        Events when one comes, hangs, is lost or comes back. Raises SourceError when no GPU says
        anything though none hangs or is lost.
        """
        if self._clock.steady_s() >= self._rescan_due_s:
            self._fresh += self._scan()
        for probe in self._probes.values():
            probe.frugal = self.frugal
        readings, events = sweep(self._watches, self._crew, self._settings.read_timeout_s)
        events, self._unsaid = self._unsaid + events + self._news(), []
        if not events and (error := all_mute(self._watches)):
            raise SourceError(error)
        return self._with_processes(readings), events

    def close(self) -> None:
        """Close the files of the GPUs that do not hang."""
        self._crew.stop()
        for probe, watch in zip(self._probes.values(), self._watches, strict=True):
            if not watch.busy:
                probe.close()

    def _scan(self) -> list[AmdProbe]:
        """Take up the GPUs that are not known yet, and give them."""
        self._rescan_due_s = self._clock.steady_s() + self._settings.rescan_interval_s
        found = {device.name: device for device in _gpus(self._cards)}
        fresh: list[AmdProbe] = []
        for address in sorted(found.keys() - self._probes.keys(), key=lambda text: (len(text), text)):
            number = len(self._probes)
            probe = AmdProbe(number, found[address], self._clock, self._settings.errors_interval_s)
            self._probes[address] = probe
            fresh.append(probe)
        watches = [Watch(probe, self._clock, self._settings.hung_after_s) for probe in fresh]
        self._watches = (*self._watches, *watches)
        return fresh

    def _news(self) -> list[SourceEvent]:
        """GPUs that were found after the start, once they are described."""
        known = [probe.info for probe in self._fresh if probe.info.name]
        self._fresh = [probe for probe in self._fresh if not probe.info.name]
        return [_found_event(info, self._report()) for info in known]

    def _with_processes(self, readings: list[Reading]) -> list[Reading]:
        now_s = self._clock.steady_s()
        if not readings or now_s < self._processes_due_s:
            return readings
        self._processes_due_s = now_s + self._settings.processes_interval_s
        by_address = self._kfd.read()
        if by_address is None:
            return readings
        addresses = {probe.info.device: address for address, probe in self._probes.items()}
        return [
            msgspec.structs.replace(reading, pids=by_address.get(addresses[reading.device]))
            for reading in readings
        ]

    def _report(self) -> SourceReport:
        names = Counter(info.name for info in self.devices if info.name)
        found = [f"{count} x {name}" for name, count in names.items()]
        for watch in self._watches:
            if not watch.probe.info.name:
                why = watch.error or (f"{watch.probe.doing} has not returned" if watch.busy else "suspended")
                found.append(f"gpu{watch.probe.info.device} does not answer ({why})")
        return SourceReport(self.name, True, ", ".join(found))


def _gpus(cards: Path) -> list[Path]:
    """The PCI device of each card of amdgpu; the parts of a partitioned GPU are no PCI devices."""
    devices = (card / "device" for card in numbered(cards, "card"))
    return [
        device.resolve()
        for device in devices
        if read_text(device / "vendor") == _VENDOR and (device / "driver").resolve().name == "amdgpu"
    ]


def _found_event(info: DeviceInfo, report: SourceReport) -> SourceEvent:
    text = f"gpu{info.device} found: {info.name}, {info.bus} of the PCI bus"
    data: dict[str, float | str] = {"model": info.model, "uuid": info.uuid, "bus": info.bus}
    return SourceEvent("gpu_found", text, "gpu", info.device, data, report)

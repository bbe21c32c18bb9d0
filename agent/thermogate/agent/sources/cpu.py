"""CPU packages: one reading each, put together from what the kernel tells in different places."""

from collections.abc import Mapping
from pathlib import Path

from thermogate.agent.sources.base import Fields, Reading, SourceEvent
from thermogate.agent.sources.cpu_throttle import ThrottleReader
from thermogate.agent.sources.host import HostSettings
from thermogate.agent.sources.hwmon import HwmonReader
from thermogate.agent.sources.rapl import RaplReader
from thermogate.agent.sources.topology import cpu_name, first_cpus, short_name
from thermogate.agent.sources.usage import UsageReader
from thermogate.core.clock import Clock
from thermogate.core.config import Settings
from thermogate.core.model import DeviceInfo, SourceReport
from thermogate.core.wire import to_name


class CpuSettings(Settings, frozen=True):
    """What is read of the CPUs."""

    clock_cpus: int = 4
    """Cores of a package whose clock is read, spread evenly over it; 0: no clocks. Linux before 5.18
    interrupts a core that is at work for its clock, and may wait 10 ms for each."""


class CpuSource:
    """Utilization and clock, power (RAPL), temperature (hwmon) and throttling of each package.

    Rated power and temperature limit are the package's own, or unknown: then it has no RLE.
    """

    name = "cpu"
    interval_s = 0.0
    frugal = False

    def __init__(self, settings: CpuSettings, host: HostSettings, clock: Clock) -> None:
        self._sysfs = Path(host.sysfs_root)
        self._procfs = Path(host.procfs_root)
        self._clock = clock
        self._usage = UsageReader(self._sysfs, self._procfs, settings.clock_cpus)
        self._rapl = RaplReader(self._sysfs)
        self._hwmon = HwmonReader(self._sysfs)
        self._throttle = ThrottleReader(self._sysfs)
        self._devices: tuple[DeviceInfo, ...] = ()

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """The packages; device N is the kernel's package N."""
        return self._devices

    def open(self) -> SourceReport:
        """Find packages and sensors; the report also says what is not measured and why."""
        usage = self._usage.open()
        packages = self._usage.packages
        throttle = self._throttle.open(first_cpus(self._sysfs))
        found = (usage, self._rapl.open(), self._hwmon.open(packages), *([throttle] if throttle else []))
        name = short_name(cpu_name(self._procfs))
        self._devices = tuple(self._describe(package, name) for package in packages)
        return SourceReport(self.name, True, "; ".join((name or "CPU of an unknown kind", *found)))

    def read(self) -> tuple[list[Reading], list[SourceEvent]]:
        """One reading for each package that measures anything now; nothing of this kind has events."""
        packages: dict[int, Fields] = {}
        now_s = self._clock.steady_s()
        temps = self._hwmon.read()
        usage = self._usage.read(now_s, frugal=self.frugal)
        power = self._rapl.read(now_s)
        for part in (usage, power, temps, self._throttle.read(self._margins_c(temps))):
            _merge(packages, part)
        return [
            Reading("cpu", str(number), fields) for number, fields in sorted(packages.items()) if fields
        ], []

    def close(self) -> None:
        """Close all files."""
        self._usage.close()
        self._rapl.close()
        self._hwmon.close()
        self._throttle.close()

    def _margins_c(self, temps: Mapping[int, Fields]) -> dict[int, float]:
        limits_c = self._hwmon.temp_limit_c
        return {p: limits_c[p] - fields["temp_c"] for p, fields in temps.items() if p in limits_c}

    def _describe(self, package: int, name: str) -> DeviceInfo:
        return DeviceInfo(
            kind="cpu",
            device=str(package),
            model=to_name(name),
            name=name,
            rated_power_w=self._rapl.rated_power_w.get(package),
            temp_limit_c=self._hwmon.temp_limit_c.get(package),
        )


def _merge(into: dict[int, Fields], part: Mapping[int, Fields]) -> None:
    for package, fields in part.items():
        into.setdefault(package, {}).update(fields)

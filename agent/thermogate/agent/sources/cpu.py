"""CPU packages: one reading each, put together from what the kernel tells in different places."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from thermogate.agent.sources.base import Fields, Reading, SourceEvent
from thermogate.agent.sources.hwmon import HwmonReader
from thermogate.agent.sources.rapl import RaplReader
from thermogate.agent.sources.topology import cpu_name, short_name
from thermogate.agent.sources.usage import CpuTime, UsageReader, cpu_times
from thermogate.core.clock import Clock
from thermogate.core.config import Settings
from thermogate.core.model import DeviceInfo, SourceReport
from thermogate.core.wire import to_name


class CpuSettings(Settings, frozen=True):
    """Where the kernel's trees are; others than the machine's own for recorded ones."""

    sysfs_root: str = "/sys"
    procfs_root: str = "/proc"


class CpuSource:
    """Utilization and clock (psutil, cpufreq), power (RAPL) and temperature (hwmon) of each package.

    Rated power and temperature limit are the package's own, or unknown: then it has no RLE.
    """

    name = "cpu"
    frugal = False

    def __init__(
        self, settings: CpuSettings, clock: Clock, times: Callable[[], Sequence[CpuTime]] = cpu_times
    ) -> None:
        sysfs = Path(settings.sysfs_root)
        self._procfs = Path(settings.procfs_root)
        self._clock = clock
        self._usage = UsageReader(sysfs, times)
        self._rapl = RaplReader(sysfs)
        self._hwmon = HwmonReader(sysfs)
        self._devices: tuple[DeviceInfo, ...] = ()

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """The packages; device N is the kernel's package N."""
        return self._devices

    def open(self) -> SourceReport:
        """Find packages and sensors; the report also says what is not measured and why."""
        usage = self._usage.open()
        packages = self._usage.packages
        found = (usage, self._rapl.open(), self._hwmon.open(packages))
        name = short_name(cpu_name(self._procfs))
        self._devices = tuple(self._describe(package, name) for package in packages)
        return SourceReport(self.name, True, "; ".join((name or "CPU of an unknown kind", *found)))

    def read(self) -> tuple[list[Reading], list[SourceEvent]]:
        """One reading for each package that measures anything now; nothing of this kind has events."""
        packages: dict[int, Fields] = {}
        for part in (self._usage.read(), self._rapl.read(self._clock.steady_s()), self._hwmon.read()):
            _merge(packages, part)
        return [
            Reading("cpu", str(number), fields) for number, fields in sorted(packages.items()) if fields
        ], []

    def close(self) -> None:
        """Close all files."""
        self._usage.close()
        self._rapl.close()
        self._hwmon.close()

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

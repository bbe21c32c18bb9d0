"""Utilization and clock of each CPU package."""

from pathlib import Path

import psutil

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.sysfs import ValueFile
from thermogate.agent.sources.topology import is_first_thread, online_cpus, package_of

_MAX_INTERVAL_S = 10.0
"""A mean over longer is no sample: RLE begins afresh after as long (agent.rle.max_gap_s)."""

CpuTime = tuple[float, float]
"""Seconds that a CPU was busy, and seconds in all, since the node booted."""


def cpu_times(procfs: Path) -> list[CpuTime]:
    """Of every CPU online, in the order of their numbers; busy is neither idle nor waiting for I/O.

    Raises OSError. Not psutil.cpu_percent, which remembers the last call of each thread: ticks come
    from several.
    """
    psutil.PROCFS_PATH = str(procfs)
    times: list[CpuTime] = []
    for cpu in psutil.cpu_times(percpu=True):
        total_s = sum(cpu) - cpu.guest - cpu.guest_nice  # guests are in user and nice already
        times.append((total_s - cpu.idle - cpu.iowait, total_s))
    return times


class UsageReader:
    """`util_ratio` over the time since the last reading, and `clock_hz`, the mean of some cores'."""

    def __init__(self, sysfs: Path, procfs: Path, clock_cpus: int) -> None:
        self._sysfs = sysfs
        self._procfs = procfs
        self._clock_cpus = clock_cpus
        self._packages: list[int] = []
        self._before: list[CpuTime] = []
        self._read_s = 0.0
        self._clocks: list[tuple[int, ValueFile]] = []

    @property
    def packages(self) -> list[int]:
        """Numbers of the packages, ascending; at least one."""
        return sorted(set(self._packages))

    def open(self) -> str:
        """Find CPUs and their clocks. What was found, for a person."""
        missing = ""
        try:
            count = len(cpu_times(self._procfs))
        except OSError as err:
            missing = f"no utilization: {self._procfs}/stat: {err.strerror}"
            count = len(online_cpus(self._sysfs))
        self._place(count)
        self._open_clocks()
        packages = len(self.packages)
        return missing or f"utilization of {count} CPUs in {packages} package" + "s" * (packages > 1)

    def read(self, now_s: float, *, frugal: bool = False) -> dict[int, Fields]:
        """What each package did; no utilization at the first reading or when CPUs came or went.

        `frugal` leaves the clocks alone.
        """
        fields: dict[int, Fields] = {}
        for package, util in self._utilization(now_s).items():
            fields.setdefault(package, {})["util_ratio"] = util
        for package, hz in {} if frugal else self._mean_clocks().items():
            fields.setdefault(package, {})["clock_hz"] = hz
        return fields

    def close(self) -> None:
        """Close the files of the clocks."""
        for _, clock in self._clocks:
            clock.close()
        self._clocks.clear()

    def _times(self) -> list[CpuTime]:
        try:
            return cpu_times(self._procfs)
        except OSError:
            return []

    def _place(self, count: int) -> None:
        """Find the package of each of `count` CPUs.

        A container may show fewer CPUs in /proc than in /sys; then which is which is unknown, and
        they count as one package.
        """
        cpus = online_cpus(self._sysfs)
        known = len(cpus) == count
        self._packages = [package_of(self._sysfs, cpu) for cpu in cpus] if known else []
        self._packages = self._packages or [0] * max(1, count)

    def _open_clocks(self) -> None:
        cores: dict[int, list[int]] = {}
        for cpu, package in zip(online_cpus(self._sysfs), self._packages, strict=False):
            if is_first_thread(self._sysfs, cpu):
                cores.setdefault(package, []).append(cpu)
        for package, cpus in cores.items():
            for cpu in _spread(cpus, self._clock_cpus):
                clock = ValueFile(self._sysfs / f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq")
                try:
                    clock.open()
                except OSError:
                    continue
                self._clocks.append((package, clock))

    def _utilization(self, now_s: float) -> dict[int, float]:
        before, now = self._before, self._times()
        over_s = now_s - self._read_s
        self._before, self._read_s = now, now_s
        if now and len(now) != len(self._packages):
            self._place(len(now))
            if len(online_cpus(self._sysfs)) != len(now):  # CPUs come or go: which is which is not known yet
                self._packages = []
        if len(before) != len(now) or not self._packages or over_s > _MAX_INTERVAL_S:
            return {}
        busy = dict.fromkeys(self._packages, 0.0)
        total = dict.fromkeys(self._packages, 0.0)
        for package, old, new in zip(self._packages, before, now, strict=False):
            busy[package] += new[0] - old[0]
            total[package] += new[1] - old[1]
        # The kernel's idle counters may step back a little.
        return {p: min(1.0, max(0.0, busy[p] / total[p])) for p in busy if total[p] > 0}

    def _mean_clocks(self) -> dict[int, float]:
        readings: dict[int, list[int]] = {}
        for package, clock in self._clocks:
            khz = clock.read()
            if khz:
                readings.setdefault(package, []).append(khz)
        return {package: sum(khz) / len(khz) * 1000 for package, khz in readings.items()}


def _spread(cpus: list[int], most: int) -> list[int]:
    """Up to `most` of the CPUs, evenly spaced."""
    count = min(most, len(cpus))
    return [cpus[index * len(cpus) // count] for index in range(count)]

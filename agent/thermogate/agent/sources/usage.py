"""Utilization and clock of each CPU package."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.sysfs import ValueFile
from thermogate.agent.sources.topology import online_cpus, package_of


class CpuTime(NamedTuple):
    """Seconds that one CPU was busy, and seconds in all, since the node booted."""

    busy_s: float
    total_s: float


def cpu_times() -> list[CpuTime]:
    """Of every CPU online, in the order of their numbers; what psutil calls busy.

    Not psutil.cpu_percent: it remembers the last call of each thread, and ticks come from several.
    """
    times = []
    for cpu in psutil.cpu_times(percpu=True):
        total_s = sum(cpu) - cpu.guest - cpu.guest_nice  # guests are in user and nice already
        times.append(CpuTime(total_s - cpu.idle - cpu.iowait, total_s))
    return times


class UsageReader:
    """`util_ratio` over the time since the last reading, and `clock_hz`, the mean of the cores'."""

    def __init__(self, sysfs: Path, times: Callable[[], Sequence[CpuTime]] = cpu_times) -> None:
        self._sysfs = sysfs
        self._times = times
        self._packages: list[int] = []
        self._before: Sequence[CpuTime] = ()
        self._clocks: list[tuple[int, ValueFile]] = []

    @property
    def packages(self) -> list[int]:
        """Numbers of the packages, ascending; at least one."""
        return sorted(set(self._packages))

    def open(self) -> str:
        """Find CPUs and their clocks. What was found, for a person."""
        count = len(self._times())
        self._place(count)
        for cpu, package in zip(online_cpus(self._sysfs), self._packages, strict=False):
            clock = ValueFile(self._sysfs / f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq")
            try:
                clock.open()
            except OSError:
                continue
            self._clocks.append((package, clock))
        found = f"utilization of {count} CPUs in {len(self.packages)} package"
        return found + "s" * (len(self.packages) > 1)

    def read(self) -> dict[int, Fields]:
        """What each package did; no utilization at the first reading or when CPUs came or went."""
        fields: dict[int, Fields] = {package: {} for package in self.packages}
        for package, util in self._utilization().items():
            fields[package]["util_ratio"] = util
        for package, hz in self._mean_clocks().items():
            fields[package]["clock_hz"] = hz
        return fields

    def close(self) -> None:
        """Close the files of the clocks."""
        for _, clock in self._clocks:
            clock.close()
        self._clocks.clear()

    def _place(self, count: int) -> None:
        """Find the package of each of `count` CPUs.

        A container may show fewer CPUs in /proc than in /sys; then which is which is unknown, and
        they count as one package.
        """
        cpus = online_cpus(self._sysfs)
        known = len(cpus) == count
        self._packages = [package_of(self._sysfs, cpu) for cpu in cpus] if known else [0] * max(1, count)

    def _utilization(self) -> dict[int, float]:
        before, now = self._before, self._times()
        self._before = now
        if len(now) != len(self._packages):
            self._place(len(now))
        if len(before) != len(now):
            return {}
        busy_s = dict.fromkeys(self._packages, 0.0)
        total_s = dict.fromkeys(self._packages, 0.0)
        for package, old, new in zip(self._packages, before, now, strict=True):
            busy_s[package] += new.busy_s - old.busy_s
            total_s[package] += new.total_s - old.total_s
        # The kernel's idle counters may step back a little.
        return {p: min(1.0, max(0.0, busy_s[p] / total_s[p])) for p in busy_s if total_s[p] > 0}

    def _mean_clocks(self) -> dict[int, float]:
        readings: dict[int, list[int]] = {}
        for package, clock in self._clocks:
            khz = clock.read()
            if khz:
                readings.setdefault(package, []).append(khz)
        return {package: sum(khz) / len(khz) * 1000 for package, khz in readings.items()}

"""Whether a CPU package slows itself down for heat: the kernel's count of its thermal interrupts.

Intel only: devices/system/cpu/cpuN/thermal_throttle/package_throttle_count, and since Linux 5.5
package_throttle_total_time_ms (arch/x86/kernel/cpu/mce/therm_throt.c).
The count rises when a throttle begins, the time when it ends, so that in between both stand still. The
kernel times only throttles that begin within 10 degrees of the limit; others it counts and forgets.
Every CPU of a package counts the same interrupts, so one of them is asked.
"""

from collections.abc import Mapping
from pathlib import Path

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.sysfs import ValueFile

_NEAR_LIMIT_C = 10.0
"""The kernel's own bound: a package cooler than this below its limit does not throttle for heat."""


class _Package:
    def __init__(self, begun: ValueFile, ended: ValueFile | None) -> None:
        self.files = (begun,) if ended is None else (begun, ended)
        self._last: tuple[int, ...] = ()
        self._lasts = False

    def read(self, margin_c: float | None) -> int | None:
        """1 or 0 for the time since the last reading; None when that cannot be told."""
        now = tuple(value for file in self.files if (value := file.read()) is not None)
        if len(now) != len(self.files):
            return None
        last, self._last = self._last, now
        if not last:
            return None
        if now != last:
            self._lasts = now[0] > last[0] and now[1:] == last[1:]
            return 1
        if self._lasts and margin_c is None:
            return None
        self._lasts = self._lasts and margin_c is not None and margin_c <= _NEAR_LIMIT_C
        return int(self._lasts)


class ThrottleReader:
    """`throttled` of each package, from its first CPU."""

    def __init__(self, sysfs: Path) -> None:
        self._root = sysfs / "devices/system/cpu"
        self._packages: dict[int, _Package] = {}

    def open(self, first_cpus: Mapping[int, int]) -> str:
        """Find the counters; `first_cpus` has a CPU for each package. What was found, "" when nothing."""
        for package, cpu in first_cpus.items():
            folder = self._root / f"cpu{cpu}/thermal_throttle"
            begun = _opened(folder / "package_throttle_count")
            if begun is not None:
                ended = _opened(folder / "package_throttle_total_time_ms")
                self._packages[package] = _Package(begun, ended)
        return "thermal throttling from the kernel's count" if self._packages else ""

    def read(self, margins_c: Mapping[int, float]) -> dict[int, Fields]:
        """`throttled` since the last reading, but for the first.

        `margins_c` are the degrees left to the limit, of the packages where both are known.
        """
        answers = {number: package.read(margins_c.get(number)) for number, package in self._packages.items()}
        return {number: {"throttled": value} for number, value in answers.items() if value is not None}

    def close(self) -> None:
        """Close the counters."""
        for package in self._packages.values():
            for file in package.files:
                file.close()
        self._packages.clear()


def _opened(path: Path) -> ValueFile | None:
    file = ValueFile(path)
    try:
        file.open()
    except OSError:
        return None
    return file

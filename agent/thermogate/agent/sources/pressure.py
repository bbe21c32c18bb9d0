"""How long tasks stalled for want of CPU, memory or I/O: the kernel's pressure stall information (PSI).

Documentation/accounting/psi.rst. /proc/pressure has decayed means (avg10) and `total`, the microseconds
stalled since the node booted; the shares here come from `total` and so are exact for their interval.
A kernel with CONFIG_PSI off has no such files; with psi=0 reading or opening them fails (EOPNOTSUPP).
"""

import re
from pathlib import Path

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.sysfs import KernelFile

_FIELDS = {
    ("cpu", "some"): "cpu_stall_some_ratio",
    ("memory", "some"): "mem_stall_some_ratio",
    ("memory", "full"): "mem_stall_full_ratio",
    ("io", "some"): "io_stall_some_ratio",
    ("io", "full"): "io_stall_full_ratio",
}
"""`full` of the CPU is left out: for a whole node the kernel says 0."""

_LINE = re.compile(rb"^(some|full) .*total=(\d+)$", re.MULTILINE)


class PressureReader:
    """Shares of the time since the last reading."""

    def __init__(self, procfs: Path) -> None:
        self._root = procfs / "pressure"
        self._files: dict[str, KernelFile] = {}
        self._last: tuple[dict[str, int], float] = ({}, 0.0)

    def open(self) -> str:
        """Find what the kernel tells. What was found or why nothing was, for a person."""
        for resource in ("cpu", "memory", "io"):
            file = KernelFile(self._root / resource)
            try:
                file.open()
                file.contents(1)
            except OSError:
                file.close()
                continue
            self._files[resource] = file
        if self._files:
            return "pressure (PSI)"
        return "no pressure: the kernel's PSI is off (boot with psi=1)"

    def read(self, now_s: float) -> Fields:
        """`now_s` is the steady clock. Nothing at the first reading."""
        totals_us = self._totals_us()
        (before_us, before_s), self._last = self._last, (totals_us, now_s)
        interval_us = (now_s - before_s) * 1e6
        if interval_us <= 0:
            return {}
        shares = {
            name: (total - before_us[name]) / interval_us
            for name, total in totals_us.items()
            if name in before_us
        }
        # The file is read a little after the clock, by more at one tick than at the next.
        return {name: min(1.0, share) for name, share in shares.items() if share >= 0}

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _totals_us(self) -> dict[str, int]:
        totals_us: dict[str, int] = {}
        for resource, file in self._files.items():
            try:
                text = file.contents(512)
            except OSError:
                continue
            for who, total in _LINE.findall(text):
                name = _FIELDS.get((resource, who.decode()))
                if name is not None:
                    totals_us[name] = int(total)
        return totals_us

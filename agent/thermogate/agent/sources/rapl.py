"""Power and energy of CPU packages from RAPL, through the kernel's powercap tree. Intel and AMD.

Layout: Documentation/power/powercap/powercap.rst of the kernel. Zones named intel-rapl:N are
packages (on some, the dies of one); zones below them (cores, DRAM) and intel-rapl-mmio count parts
of the same energy again and are left out here.
"""

import re
from pathlib import Path

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.sysfs import ValueFile, numbered, read_int, read_text

_MAX_INTERVAL_S = 60.0
"""Power over a longer interval is left out: counters of 65.5 kJ wrap in 65 s at 1 kW, and a second
wrap cannot be seen."""


class _Zone:
    """The energy counter of one package or die, carried on over its wraps."""

    def __init__(self, package: int, counter: ValueFile, range_uj: int) -> None:
        self.package = package
        self.counter = counter
        self._range_uj = range_uj
        self._last_uj = 0
        self._wrapped_uj = 0

    def energy_uj(self) -> int | None:
        """Energy since the counter began; None when it cannot be read now."""
        now_uj = self.counter.read()
        if now_uj is None:
            return None
        if now_uj < self._last_uj:
            self._wrapped_uj += self._range_uj
        self._last_uj = now_uj
        return self._wrapped_uj + now_uj


class RaplReader:
    """`energy_j`, and `power_w` as the mean since the last reading, of each package."""

    def __init__(self, sysfs: Path) -> None:
        self._root = sysfs / "class/powercap"
        self._zones: list[_Zone] = []
        self._last: dict[int, tuple[int, float]] = {}
        self.rated_power_w: dict[int, float] = {}
        """Long-term power limit of each package that has one."""

    def open(self) -> str:
        """Find the packages. What was found or why nothing was, for a person."""
        refused: Path | None = None
        for path in numbered(self._root, "intel-rapl:"):
            match = re.fullmatch(r"package-(\d+)(-die-\d+)?", read_text(path / "name") or "")
            if match is None:
                continue
            counter = ValueFile(path / "energy_uj")
            try:
                counter.open()
            except PermissionError:
                refused = counter.path
                continue
            except OSError:
                continue
            package = int(match[1])
            self._zones.append(_Zone(package, counter, read_int(path / "max_energy_range_uj") or 0))
            self._add_limit(package, path)
        return self._found(refused)

    def read(self, now_s: float) -> dict[int, Fields]:
        """What each package used; `now_s` is the steady clock. No power at the first reading.

        A package of which one die cannot be read now is left out: half a sum is not a measurement.
        """
        energy_uj: dict[int, int | None] = {}
        for zone in self._zones:
            before, now = energy_uj.get(zone.package, 0), zone.energy_uj()
            energy_uj[zone.package] = None if before is None or now is None else before + now
        return {
            package: self._fields(package, uj, now_s) for package, uj in energy_uj.items() if uj is not None
        }

    def close(self) -> None:
        """Close the counters."""
        for zone in self._zones:
            zone.counter.close()
        self._zones.clear()

    def _fields(self, package: int, energy_uj: int, now_s: float) -> Fields:
        last_uj, last_s = self._last.get(package, (energy_uj, now_s))
        self._last[package] = (energy_uj, now_s)
        fields: Fields = {"energy_j": energy_uj / 1e6}
        if 0 < now_s - last_s <= _MAX_INTERVAL_S and energy_uj >= last_uj:
            fields["power_w"] = (energy_uj - last_uj) / 1e6 / (now_s - last_s)
        return fields

    def _add_limit(self, package: int, path: Path) -> None:
        limit_uw = read_int(path / "constraint_0_power_limit_uw")
        if limit_uw and read_text(path / "constraint_0_name") == "long_term":
            self.rated_power_w[package] = self.rated_power_w.get(package, 0.0) + limit_uw / 1e6

    def _found(self, refused: Path | None) -> str:
        if self._zones:
            return "power from RAPL"
        if refused is None:
            return "no RAPL here: CPU power not measured"
        return (
            f"RAPL's {refused} is for root only: CPU power not measured until the agent may read it"
            " (chgrp it to the agent's group and chmod g+r, by a udev or tmpfiles rule)"
        )

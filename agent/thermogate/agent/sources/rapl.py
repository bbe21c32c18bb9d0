"""Power and energy of CPU packages and their memory from RAPL, through the kernel's powercap tree.

Intel and AMD. Layout: Documentation/power/powercap/powercap.rst of the kernel. Zones named intel-rapl:N
are packages (on some, the dies of one) or psys, the platform with everything in it; of the zones below a
package, intel-rapl:N:M, dram is counted apart from it and the others (core, uncore) are parts of it.
intel-rapl-mmio counts the packages once more.
"""

import re
from pathlib import Path
from typing import Literal

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.sysfs import ValueFile, numbered, read_int, read_text

_Domain = Literal["package", "dram"]
_Key = tuple[int, _Domain]
_NAMES: dict[_Domain, tuple[str, str]] = {
    "package": ("energy_j", "power_w"),
    "dram": ("dram_energy_j", "dram_power_w"),
}

_MAX_INTERVAL_S = 60.0
"""Power over a longer interval is left out: counters of 65.5 kJ wrap in 65 s at 1 kW, and a second
wrap cannot be seen."""

_MOST_W = 10_000.0
"""More than any package draws: a counter that would have used more since it was read has not wrapped."""

_UNLIMITED_UW = 4_000_000_000
"""Boards that set no long-term limit write the highest that the register holds, 4090 W or more; then
`constraint_0_max_power_uw`, the power that the package is designed for (TDP), is its rated power."""


class _Zone:
    """The energy counter of one package or die, or of its memory, carried on over its wraps."""

    def __init__(self, key: _Key, counter: ValueFile, range_uj: int) -> None:
        self.key = key
        self.counter = counter
        self._range_uj = range_uj
        self._last_uj = 0
        self._last_s = 0.0
        self.anew = False
        """Whether the counter stepped back at the last reading, so that the energy since is unknown."""
        self._wrapped_uj = 0

    def energy_uj(self, now_s: float) -> int | None:
        """Energy since the counter began; None when it cannot be read now."""
        now_uj = self.counter.read()
        if now_uj is None:
            return None
        went_back = now_uj < self._last_uj
        used_uj = now_uj - self._last_uj + (self._range_uj if went_back else 0)
        self.anew = went_back and used_uj > _MOST_W * 1e6 * (now_s - self._last_s)
        if self.anew:  # the sum goes on from here
            self._wrapped_uj += self._last_uj - now_uj
        elif went_back:
            self._wrapped_uj += self._range_uj
        self._last_uj, self._last_s = now_uj, now_s
        return self._wrapped_uj + now_uj


class RaplReader:
    """`energy_j`, and `power_w` as the mean since the last reading, of each package; `dram_` alike."""

    def __init__(self, sysfs: Path) -> None:
        self._root = sysfs / "class/powercap"
        self._zones: list[_Zone] = []
        self._last: dict[_Key, tuple[int, float]] = {}
        self._refused: Path | None = None
        self.rated_power_w: dict[int, float] = {}
        """Long-term power limit, else the design power, of each package that has one."""

    def open(self) -> str:
        """Find the packages. What was found or why nothing was, for a person."""
        for path in numbered(self._root, "intel-rapl:"):
            match = re.fullmatch(r"package-(\d+)(-die-\d+)?", read_text(path / "name") or "")
            if match is None:
                continue
            package = int(match[1])
            if self._add_zone((package, "package"), path):
                self._add_limit(package, path)
            for part in numbered(self._root, f"{path.name}:"):
                if read_text(part / "name") == "dram":
                    self._add_zone((package, "dram"), part)
        return self._found()

    def read(self, now_s: float) -> dict[int, Fields]:
        """What each package used; `now_s` is the steady clock. No power at the first reading.

        A package of which one die cannot be read now is left out: half a sum is not a measurement.
        """
        energy_uj: dict[_Key, int | None] = {}
        for zone in self._zones:
            before, now = energy_uj.get(zone.key, 0), zone.energy_uj(now_s)
            energy_uj[zone.key] = None if before is None or now is None else before + now
            if zone.anew:
                self._last.pop(zone.key, None)
        packages: dict[int, Fields] = {}
        for key, uj in energy_uj.items():
            if uj is not None:
                packages.setdefault(key[0], {}).update(self._fields(key, uj, now_s))
        return packages

    def close(self) -> None:
        """Close the counters."""
        for zone in self._zones:
            zone.counter.close()
        self._zones.clear()

    def _add_zone(self, key: _Key, path: Path) -> bool:
        counter = ValueFile(path / "energy_uj")
        try:
            counter.open()
        except PermissionError:
            self._refused = counter.path
            return False
        except OSError:
            return False
        self._zones.append(_Zone(key, counter, read_int(path / "max_energy_range_uj") or 0))
        return True

    def _fields(self, key: _Key, energy_uj: int, now_s: float) -> Fields:
        energy_name, power_name = _NAMES[key[1]]
        last_uj, last_s = self._last.get(key, (energy_uj, now_s))
        self._last[key] = (energy_uj, now_s)
        fields: Fields = {energy_name: energy_uj / 1e6}
        if 0 < now_s - last_s <= _MAX_INTERVAL_S and energy_uj >= last_uj:
            fields[power_name] = (energy_uj - last_uj) / 1e6 / (now_s - last_s)
        return fields

    def _add_limit(self, package: int, path: Path) -> None:
        limit_uw = read_int(path / "constraint_0_power_limit_uw")
        if limit_uw and limit_uw >= _UNLIMITED_UW:
            limit_uw = read_int(path / "constraint_0_max_power_uw")
        if limit_uw and read_text(path / "constraint_0_name") == "long_term":
            self.rated_power_w[package] = self.rated_power_w.get(package, 0.0) + limit_uw / 1e6

    def _found(self) -> str:
        domains = {zone.key[1] for zone in self._zones}
        found = "power from RAPL" if "package" in domains else ""
        if found and "dram" in domains:
            found = "power of CPU and memory from RAPL"
        if self._refused is None:
            return found or "no RAPL here: CPU power not measured"
        what = "part of the power" if found else "CPU power"
        refused = (
            f"RAPL's {self._refused} is for root only: {what} not measured until the agent may read it"
            " (chgrp it to the agent's group and chmod g+r, by a udev or tmpfiles rule)"
        )
        return f"{found}; {refused}" if found else refused

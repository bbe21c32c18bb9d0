"""Temperatures of CPU packages from the kernel's hwmon tree: coretemp (Intel), k10temp (AMD).

Layout: Documentation/hwmon/{sysfs-interface,coretemp,k10temp}.rst of the kernel.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.sysfs import ValueFile, numbered, read_int, read_text


class HwmonReader:
    """`temp_c` of each package; the hottest where a package has several sensors."""

    def __init__(self, sysfs: Path) -> None:
        self._root = sysfs / "class/hwmon"
        self._inputs: list[tuple[int, ValueFile]] = []
        self.temp_limit_c: dict[int, float] = {}
        """Critical, else maximum temperature of each package whose sensor knows one."""

    def open(self, packages: Sequence[int]) -> str:
        """Find the sensors of `packages`. What was found or why nothing was, for a person."""
        for package, stem in (*self._coretemp(), *self._k10temp(packages)):
            value = ValueFile(stem.with_name(f"{stem.name}_input"))
            try:
                value.open()
            except OSError:
                continue
            self._inputs.append((package, value))
            self._add_limit(package, stem)
        if self._inputs:
            return "temperature from hwmon"
        return "no CPU temperature sensor: hwmon has no coretemp or k10temp"

    def read(self) -> dict[int, Fields]:
        """The temperature of each package whose sensor answers now."""
        fields: dict[int, Fields] = {}
        for package, value in self._inputs:
            milli_c = value.read()
            if milli_c is not None:
                known = fields.setdefault(package, {"temp_c": milli_c / 1000})
                known["temp_c"] = max(known["temp_c"], milli_c / 1000)
        return fields

    def close(self) -> None:
        """Close the sensors."""
        for _, value in self._inputs:
            value.close()
        self._inputs.clear()

    def _coretemp(self) -> Iterator[tuple[int, Path]]:
        """(package, .../tempN): coretemp labels one sensor "Package id P"."""
        for path in self._named("coretemp"):
            for label, stem in _labels(path).items():
                match = re.fullmatch(r"Package id (\d+)", label)
                if match:
                    yield int(match[1]), stem

    def _k10temp(self, packages: Sequence[int]) -> Iterator[tuple[int, Path]]:
        """(package, .../tempN): k10temp does not say which package; their order on the PCI bus does.

        Tdie is the temperature, Tctl the same with an offset for fans on some models.
        """
        found = [labels for path in self._named("k10temp") if (labels := _labels(path))]
        for number, labels in enumerate(found):
            stem = labels.get("Tdie") or labels.get("Tctl")
            if stem is not None and packages:
                yield packages[number * len(packages) // len(found)], stem

    def _named(self, name: str) -> list[Path]:
        found = [path for path in numbered(self._root, "hwmon") if read_text(path / "name") == name]
        return sorted(found, key=lambda path: (path / "device").resolve().name)

    def _add_limit(self, package: int, stem: Path) -> None:
        for kind in ("crit", "max"):
            milli_c = read_int(stem.with_name(f"{stem.name}_{kind}"))
            if milli_c:
                self.temp_limit_c[package] = milli_c / 1000
                return


def _labels(path: Path) -> dict[str, Path]:
    """.../tempN for each label of a hwmon directory."""
    labels = {}
    for file in sorted(path.glob("temp*_label")):
        labels[read_text(file) or ""] = file.with_name(file.name.removesuffix("_label"))
    return labels

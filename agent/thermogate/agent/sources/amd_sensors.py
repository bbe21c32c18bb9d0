"""Which files of one AMD GPU measure what: sysfs and hwmon of the kernel's driver amdgpu.

Documentation/gpu/amdgpu/thermal.rst and driver-misc.rst of the kernel.
"""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from thermogate.agent.sources.sysfs import ValueFile, numbered, read_int, read_text

_NEVER = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENODATA}
"""Answers of a file that exists but has no sensor behind it on this model: it is left alone."""


class Sensor(NamedTuple):
    """A file whose number, divided by `per`, is a field. What is `optional` is left out when frugal."""

    field: str
    file: ValueFile
    per: float = 1
    optional: bool = False


class Limits(NamedTuple):
    """Of the temperature that is measured: where the GPU slows down, and where it switches itself off."""

    temp_limit_c: float | None
    temp_shutdown_c: float | None


def open_sensors(device: Path) -> list[Sensor]:
    """Open every sensor that the GPU has, the better one where there are two for a field."""
    found: dict[str, Sensor] = {}
    for sensor in _candidates(device, hwmon_of(device)):
        if sensor.field not in found and _opens(sensor.file):
            found[sensor.field] = sensor
    return list(found.values())


def limits(temperature: ValueFile) -> Limits:
    """The limits that belong to a file temp*_input."""
    stem = temperature.path.name.removesuffix("_input")
    crit, emergency = (read_int(temperature.path.with_name(f"{stem}_{x}")) for x in ("crit", "emergency"))
    return Limits(crit / 1000 if crit else None, emergency / 1000 if emergency else None)


def hwmon_of(device: Path) -> Path:
    """The device's hwmon directory; one that does not exist when it has none."""
    return next(iter(numbered(device / "hwmon", "hwmon")), device / "hwmon/none")


def _candidates(device: Path, hwmon: Path) -> Iterator[Sensor]:
    yield Sensor("power_w", ValueFile(hwmon / "power1_input"), 1e6)
    yield Sensor("power_w", ValueFile(hwmon / "power1_average"), 1e6)
    yield Sensor("power_limit_w", ValueFile(hwmon / "power1_cap"), 1e6)
    yield Sensor("energy_j", ValueFile(hwmon / "energy1_input"), 1e6)
    # The junction is what makes the GPU slow down; edge is all that old models have.
    temps = _labelled(hwmon, "temp")
    for field, label in (("temp_c", "junction"), ("temp_c", "edge"), ("mem_temp_c", "mem")):
        if label in temps:
            yield Sensor(field, ValueFile(temps[label]), 1e3)
    yield Sensor("util_ratio", ValueFile(device / "gpu_busy_percent"), 100)
    yield Sensor("mem_util_ratio", ValueFile(device / "mem_busy_percent"), 100, optional=True)
    yield Sensor("mem_used_bytes", ValueFile(device / "mem_info_vram_used"), optional=True)
    clocks = _labelled(hwmon, "freq")
    for field, label in (("sm_clock_hz", "sclk"), ("mem_clock_hz", "mclk")):
        if label in clocks:
            yield Sensor(field, ValueFile(clocks[label]), optional=True)
    if fastest := read_int(hwmon / "fan1_max"):
        yield Sensor("fan_ratio", ValueFile(hwmon / "fan1_input"), fastest, optional=True)
    yield Sensor("fan_ratio", ValueFile(hwmon / "pwm1"), 255, optional=True)


def _labelled(hwmon: Path, kind: str) -> dict[str, Path]:
    """The file KINDn_input for each label."""
    files = {}
    for label in sorted(hwmon.glob(f"{kind}*_label")):
        files[read_text(label) or ""] = label.with_name(label.name.replace("_label", "_input"))
    return files


def _opens(file: ValueFile) -> bool:
    try:
        file.open()
        file.ask()
    except OSError as err:
        if err.errno in _NEVER or err.filename is not None:  # only opening names the file
            file.close()
            return False
    except ValueError:
        file.close()
        return False
    return True

"""One AMD GPU, read through the files of the kernel's driver amdgpu; no vendor's library."""

import os
import re
from pathlib import Path

import msgspec

from thermogate.agent.sources import amd_sensors
from thermogate.agent.sources.amd_metrics import MetricsReader
from thermogate.agent.sources.amd_sensors import Sensor
from thermogate.agent.sources.base import Fields, Reading
from thermogate.agent.sources.sysfs import KernelFile, opened, read_int, read_text
from thermogate.agent.sources.watch import DeviceLostError
from thermogate.core.clock import Clock
from thermogate.core.errors import SourceError
from thermogate.core.model import DeviceInfo
from thermogate.core.schema import INTEGER_FIELDS
from thermogate.core.wire import to_name

_ENERGY_UNIT_KNOWN = {"0x7408", "0x740c", "0x740f", "0x7410"}
"""PCI device ids of the MI200 series, whose energy accumulator is known to count 2^-16 J
(smu13_driver_if_aldebaran.h); later Instincts have the unit in their table's own definition."""

_NEVER_ZERO = {"power_w", "power_limit_w"}
"""The second die of an MI250 says 0 W: its first one measures both. 0 is no measurement."""

_ERRORS = re.compile(rb"^(ce|ue): *(\d+)", re.MULTILINE)
_ERROR_FIELDS = {b"ce": "ecc_corrected_count", b"ue": "ecc_uncorrected_count"}


class AmdProbe:
    """A GPU at one address of the PCI bus. After it was lost it is looked up there again.

    While the kernel has it suspended nothing is read, since that would wake it up. One that is awake
    may be kept so by being read.
    """

    def __init__(self, number: int, device: Path, clock: Clock, errors_interval_s: float) -> None:
        self.info = DeviceInfo(kind="gpu", device=f"amd{number}", model="unknown", bus=device.name)
        self.doing = ""
        self.frugal = True
        """Whether to leave out the optional sensors, as while the GPU is only being described."""
        self._device = device
        self._driver = str(device / "driver")
        self._clock = clock
        self._errors_interval_s = errors_interval_s
        self._errors_due_s = 0.0
        self._errors: KernelFile | None = None
        self._status: KernelFile | None = None
        self._sensors: list[Sensor] = []
        self._metrics: MetricsReader | None = None
        self._always: Fields = {}
        self._known = False

    def read(self) -> list[Reading]:
        """Every sensor that the GPU has; [] while it is suspended.

        Raises DeviceLostError when the GPU is not on the bus, SourceError when no sensor answers.
        """
        if not self._awake():
            return []
        if not self._known:
            self._look_up()
        fields = self._measured()
        if not fields:
            self.close()  # the driver may have been loaded anew since, with new files
            raise SourceError(f"no file below {self._device} gives a value")
        return [Reading("gpu", self.info.device, fields | self._always)]

    def close(self) -> None:
        """Close all files."""
        files: list[KernelFile | None] = [self._status, self._errors]
        files += [sensor.file for sensor in self._sensors]
        files += [self._metrics.file] if self._metrics else []
        for file in files:
            if file is not None:
                file.close()
        self._sensors, self._metrics, self._errors, self._status = [], None, None, None
        self._known = False

    def _awake(self) -> bool:
        if not os.path.exists(self._driver):  # noqa: PTH110 - at every tick, and a tenth of Path's time
            self.close()
            raise DeviceLostError(f"the driver has no GPU at {self._device.name} of the PCI bus")
        self.doing = "reading runtime_status"
        self._status = self._status or opened(self._device / "power/runtime_status")
        try:
            status = self._status.contents(16) if self._status else b""
        except OSError:
            return True
        return status.strip() not in (b"suspended", b"suspending")

    def _look_up(self) -> None:
        self.doing = "opening the files of the driver amdgpu"
        device_id = read_text(self._device / "device") or ""
        self._sensors = amd_sensors.open_sensors(self._device)
        self._metrics = self._open_metrics(unit_known=device_id in _ENERGY_UNIT_KNOWN)
        self._errors = opened(self._device / "ras/umc_err_count") or opened(self._device / "ras/aca_umc")
        self._errors_due_s = 0.0
        total_bytes = read_int(self._device / "mem_info_vram_total")
        self._always = {"mem_total_bytes": total_bytes} if total_bytes else {}
        self._describe(device_id)
        self._known = True

    def _open_metrics(self, *, unit_known: bool) -> MetricsReader | None:
        file = opened(self._device / "gpu_metrics")
        return None if file is None else MetricsReader(file, unit_known=unit_known)

    def _describe(self, device_id: str) -> None:
        by_field = {sensor.field: sensor for sensor in self._sensors}
        power, cap, temp = (by_field.get(field) for field in ("power_w", "power_limit_w", "temp_c"))
        limits = amd_sensors.limits(temp.file) if temp else amd_sensors.Limits(None, None)
        if limits.temp_limit_c is not None:
            self._always["temp_limit_c"] = limits.temp_limit_c
        cap_uw = cap.file.read() if cap else None
        instant = power is not None and power.file.path.name == "power1_input"
        name = read_text(self._device / "product_name") or f"AMD {device_id.removeprefix('0x')}"
        self.info = msgspec.structs.replace(
            self.info,
            model=to_name(name),
            name=name,
            uuid=read_text(self._device / "unique_id") or "",
            rated_power_w=cap_uw / 1e6 if cap_uw else None,
            temp_limit_c=limits.temp_limit_c,
            temp_shutdown_c=limits.temp_shutdown_c,
            power_kind="" if power is None else "instant" if instant else "average",
        )

    def _measured(self) -> Fields:
        fields: Fields = {}
        if self._metrics is not None:
            self.doing = self._metrics.file.reading
            fields |= self._metrics.read()
        for sensor in self._sensors:
            if not (sensor.optional and self.frugal):
                self._ask(sensor, fields)
        return fields if self.frugal else fields | self._read_errors()

    def _ask(self, sensor: Sensor, fields: Fields) -> None:
        self.doing = sensor.file.reading
        value = sensor.file.read()
        if value is None or (value == 0 and sensor.field in _NEVER_ZERO):
            return
        fields[sensor.field] = value if sensor.field in INTEGER_FIELDS else value / sensor.per

    def _read_errors(self) -> Fields:
        """Counting errors asks the firmware for each memory channel, so it is not done at every tick."""
        now_s = self._clock.steady_s()
        if self._errors is None or now_s < self._errors_due_s:
            return {}
        self._errors_due_s = now_s + self._errors_interval_s
        self.doing = self._errors.reading
        try:
            text = self._errors.contents(256)
        except OSError:
            return {}
        return {_ERROR_FIELDS[which]: int(count) for which, count in _ERRORS.findall(text)}

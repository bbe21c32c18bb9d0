"""NVML, the library of the NVIDIA driver: the only module that knows pynvml (package nvidia-ml-py).

Every call may block for as long as the driver does; callers run them in threads that may be lost.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
import pynvml

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.watch import DeviceLostError
from thermogate.core.errors import SourceError
from thermogate.core.model import DeviceInfo
from thermogate.core.wire import to_name

T = TypeVar("T")

_Gpu = Any
"""An nvmlDevice_t as pynvml hands it out."""

_Calls = Mapping[str, Callable[[_Gpu], Fields]]
"""Ways to ask for the same thing, best first, by their names in nvml.h."""

_NEVER = {
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    pynvml.NVML_ERROR_DEPRECATED,
}
"""Answers that stay the same while the driver does: the call is left alone from then on."""

_LOST = {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_GPU_NOT_FOUND}

_NOT_STARTED = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "NVIDIA's library is here but its kernel module is not loaded",
    pynvml.NVML_ERROR_NO_PERMISSION: "no permission to open the NVIDIA driver's /dev/nvidiactl",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was updated and its old kernel module"
    " is still loaded",
}


def start() -> tuple[int, str]:
    """Start NVML; the number of GPUs and the version of the driver.

    Raises SourceError with the cause when there is no working driver.
    """
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetCount(), pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError as err:
        raise SourceError(_NOT_STARTED.get(err.value, f"the NVIDIA driver does not start: {err}")) from err


def stop() -> None:
    """Shut NVML down. A driver that is gone already is no error."""
    try:
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return


class GpuProbe:
    """One GPU. After it was lost it is looked up again, and described anew."""

    def __init__(self, index: int) -> None:
        self.info = DeviceInfo(kind="gpu", device=str(index), model="unknown")
        self.doing = ""
        self._gpu: _Gpu = None
        self._left_alone: set[str] = set()
        self._error = ""

    def read(self) -> Fields:
        """Every sensor that this GPU has.

        Raises DeviceLostError when the driver says that it is lost, SourceError when no call works.
        """
        if self._gpu is None:
            self._look_up()
        fields: Fields = {}
        for calls in _SENSORS:
            fields.update(self._first(calls))
        if not fields:
            raise SourceError(self._error)
        if self.info.temp_limit_c is None:
            self._find_temp_limit()
        if self.info.temp_limit_c is not None:
            fields["temp_limit_c"] = self.info.temp_limit_c
        return fields

    def _look_up(self) -> None:
        self._left_alone.clear()
        self.doing = "nvmlDeviceGetHandleByIndex"
        try:
            gpu = pynvml.nvmlDeviceGetHandleByIndex(int(self.info.device))
        except pynvml.NVMLError as err:
            raise self._failed(err) from err
        self._gpu = gpu
        name = self._ask("nvmlDeviceGetName", pynvml.nvmlDeviceGetName) or ""
        self.info = DeviceInfo(
            kind="gpu",
            device=self.info.device,
            model=to_name(name).removeprefix("NVIDIA-"),
            name=name,
            uuid=self._ask("nvmlDeviceGetUUID", pynvml.nvmlDeviceGetUUID) or "",
            rated_power_w=self._first(_POWER_LIMIT).get("power_limit_w"),
        )
        self._find_temp_limit()

    def _find_temp_limit(self) -> None:
        """Describe the limit if this GPU has one; a call that fails for now is tried again next time."""
        limit_c = self._first(_TEMP_LIMIT).get("temp_limit_c")
        self.info = msgspec.structs.replace(self.info, temp_limit_c=limit_c)

    def _first(self, calls: _Calls) -> Fields:
        """The answer to the first of `calls` that this GPU supports; {} when it gives none now."""
        for name, call in calls.items():
            answer = self._ask(name, call)
            if answer is not None:
                return answer
            if name not in self._left_alone:
                break
        return {}

    def _ask(self, name: str, call: Callable[[_Gpu], T]) -> T | None:
        if name in self._left_alone:
            return None
        self.doing = name
        try:
            return call(self._gpu)
        except pynvml.NVMLError as err:
            failed = self._failed(err)
            if isinstance(failed, DeviceLostError):
                raise failed from err
            if err.value in _NEVER:
                self._left_alone.add(name)
            return None

    def _failed(self, err: Any) -> SourceError:
        self._error = f"{self.doing}: {err}"
        if err.value not in _LOST:
            return SourceError(self._error)
        self._gpu = None
        return DeviceLostError(self._error)


def _power(gpu: _Gpu) -> Fields:
    return {"power_w": pynvml.nvmlDeviceGetPowerUsage(gpu) / 1000}


def _power_limit(gpu: _Gpu) -> Fields:
    return {"power_limit_w": pynvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000}


def _energy(gpu: _Gpu) -> Fields:
    return {"energy_j": pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000}


def _temp(gpu: _Gpu) -> Fields:
    return {"temp_c": float(pynvml.nvmlDeviceGetTemperatureV(gpu, pynvml.NVML_TEMPERATURE_GPU))}


def _temp_deprecated(gpu: _Gpu) -> Fields:
    return {"temp_c": float(pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU))}


def _mem_temp(gpu: _Gpu) -> Fields:
    return {"mem_temp_c": _field(gpu, pynvml.NVML_FI_DEV_MEMORY_TEMP)}


def _util(gpu: _Gpu) -> Fields:
    util = pynvml.nvmlDeviceGetUtilizationRates(gpu)
    return {"util_ratio": util.gpu / 100, "mem_util_ratio": util.memory / 100}


def _memory(gpu: _Gpu) -> Fields:
    memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
    return {"mem_used_bytes": memory.used, "mem_total_bytes": memory.total}


def _sm_clock(gpu: _Gpu) -> Fields:
    return {"sm_clock_hz": pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM) * 1e6}


def _mem_clock(gpu: _Gpu) -> Fields:
    return {"mem_clock_hz": pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_MEM) * 1e6}


def _fan(gpu: _Gpu) -> Fields:
    return {"fan_ratio": pynvml.nvmlDeviceGetFanSpeed(gpu) / 100}


def _slowdown(gpu: _Gpu) -> Fields:
    return _threshold(gpu, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)


def _slowdown_from_margin(gpu: _Gpu) -> Fields:
    """Ada and later: temperature + margin is where the margin is 0, slowdown a few degrees beside it."""
    temp_c = pynvml.nvmlDeviceGetTemperatureV(gpu, pynvml.NVML_TEMPERATURE_GPU)
    margin_c = pynvml.nvmlDeviceGetMarginTemperature(gpu)
    return {"temp_limit_c": temp_c + margin_c - _field(gpu, pynvml.NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT)}


def _gpu_max(gpu: _Gpu) -> Fields:
    return _threshold(gpu, pynvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX)


def _threshold(gpu: _Gpu, which: int) -> Fields:
    limit_c = pynvml.nvmlDeviceGetTemperatureThreshold(gpu, which)
    if not limit_c:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)  # some boards say 0 degrees for "none"
    return {"temp_limit_c": float(limit_c)}


_VALUE = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Member of nvmlValue_t for each nvmlValueType_t."""


def _field(gpu: _Gpu, field: int) -> float:
    answer = pynvml.nvmlDeviceGetFieldValues(gpu, [field])[0]
    if answer.nvmlReturn != pynvml.NVML_SUCCESS:
        raise pynvml.NVMLError(answer.nvmlReturn)
    return float(getattr(answer.value, _VALUE[answer.valueType]))


_POWER_LIMIT: _Calls = {"nvmlDeviceGetEnforcedPowerLimit": _power_limit}

_TEMP_LIMIT: _Calls = {
    "nvmlDeviceGetTemperatureThreshold(SLOWDOWN)": _slowdown,
    "nvmlDeviceGetMarginTemperature": _slowdown_from_margin,
    "nvmlDeviceGetTemperatureThreshold(GPU_MAX)": _gpu_max,
}

_SENSORS: tuple[_Calls, ...] = (
    {"nvmlDeviceGetPowerUsage": _power},
    {"nvmlDeviceGetTotalEnergyConsumption": _energy},
    {"nvmlDeviceGetTemperatureV": _temp, "nvmlDeviceGetTemperature": _temp_deprecated},
    {"nvmlDeviceGetFieldValues(MEMORY_TEMP)": _mem_temp},
    {"nvmlDeviceGetUtilizationRates": _util},
    {"nvmlDeviceGetMemoryInfo": _memory},
    {"nvmlDeviceGetClockInfo(SM)": _sm_clock},
    {"nvmlDeviceGetClockInfo(MEM)": _mem_clock},
    {"nvmlDeviceGetFanSpeed": _fan},
    _POWER_LIMIT,
)

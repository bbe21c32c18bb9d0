"""What an NVIDIA GPU can be asked, as tables: call, buffer, and the stored fields made from it."""

import ctypes
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import msgspec
import pynvml

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.nvml.library import plain
from thermogate.core.schema import CLOCK_EVENTS


class Sensor(msgspec.Struct, frozen=True):
    """One function of NVML: `function(gpu, *constants, buffer)`, and how its answer is stored.

    `call` is its name for people, `what` that of the sensor.
    """

    what: str
    call: str
    function: str
    buffer: Callable[[], Any]
    put: Callable[[Any, Fields], None]
    constants: tuple[int, ...] = ()


class FieldSensor(msgspec.Struct, frozen=True):
    """One field of nvmlDeviceGetFieldValues, which answers many in one call."""

    what: str
    field: int
    put: Callable[[float, Fields], None]


Choice = tuple[Sensor | FieldSensor, ...]
"""Ways to ask for the same thing, best first."""

_PSTATE_SLOWEST = 15
"""NVML_PSTATE_UNKNOWN is beyond."""


def _scaled(name: str, unit: float) -> Callable[[Any, Fields], None]:
    def put(buffer: Any, fields: Fields) -> None:
        fields[name] = buffer.value * unit

    return put


def _over(name: str, whole: float) -> Callable[[Any, Fields], None]:
    def put(buffer: Any, fields: Fields) -> None:
        fields[name] = buffer.value / whole

    return put


def _value_over(name: str, whole: float) -> Callable[[float, Fields], None]:
    def put(value: float, fields: Fields) -> None:
        fields[name] = value / whole

    return put


def _count(name: str) -> Callable[[float, Fields], None]:
    def put(value: float, fields: Fields) -> None:
        fields[name] = int(value)

    return put


def _put_temp(buffer: Any, fields: Fields) -> None:
    fields["temp_c"] = float(buffer.temperature)


def _put_margin(buffer: Any, fields: Fields) -> None:
    fields["temp_margin_c"] = float(buffer.marginTemperature)


def _put_util(buffer: Any, fields: Fields) -> None:
    fields["util_ratio"] = buffer.gpu / 100
    fields["mem_util_ratio"] = buffer.memory / 100


def put_memory(buffer: Any, fields: Fields) -> None:
    """From an nvmlMemory_t."""
    fields["mem_used_bytes"] = buffer.used
    fields["mem_total_bytes"] = buffer.total


def _put_perf_state(buffer: Any, fields: Fields) -> None:
    if buffer.value <= _PSTATE_SLOWEST:
        fields["perf_state"] = buffer.value


Memory = plain(pynvml.c_nvmlMemory_t)
_Utilization = plain(pynvml.c_nvmlUtilization_t)
_Temperature = plain(pynvml.c_nvmlTemperature_v1_t)
_Margin = plain(pynvml.c_nvmlMarginTemperature_v1_t)


def _temperature() -> Any:
    return _Temperature(pynvml.nvmlTemperature_v1, pynvml.NVML_TEMPERATURE_GPU)


def _margin() -> Any:
    return _Margin(pynvml.nvmlMarginTemperature_v1)


_REASONS = {
    "clock_event_sw_power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
    "clock_event_sw_thermal": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
    "clock_event_hw_thermal": pynvml.nvmlClocksEventReasonHwThermalSlowdown,
    "clock_event_hw_power_brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
    "clock_event_hw_slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
    "clock_event_sync_boost": pynvml.nvmlClocksEventReasonSyncBoost,
    "clock_event_app_clocks": pynvml.nvmlClocksEventReasonApplicationsClocksSetting,
}
assert _REASONS.keys() == CLOCK_EVENTS.keys()

_THROTTLES = (
    _REASONS["clock_event_sw_thermal"]
    | _REASONS["clock_event_hw_thermal"]
    | _REASONS["clock_event_hw_power_brake"]
    | _REASONS["clock_event_hw_slowdown"]
)
"""What counts as throttling: heat, or a power limit of the hardware. Not the power limit that is set."""


@lru_cache(maxsize=256)
def _flags(reasons: int, supported: int) -> Mapping[str, int]:
    """Clock event reasons by name; those that the GPU cannot tell are left out."""
    told = {name: int(bool(reasons & bit)) for name, bit in _REASONS.items() if supported & bit}
    if supported & _THROTTLES:
        told["throttled"] = int(bool(reasons & _THROTTLES))
    return told


def _put_flags(supported: int, buffer: Any, fields: Fields) -> None:
    fields.update(_flags(buffer.value, supported))


def clock_events(supported: int) -> Choice:
    """The reasons why clocks are held down, for a GPU that can tell those of `supported`."""
    names = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
    put = partial(_put_flags, supported)
    return tuple(Sensor("clock events", name, name, ctypes.c_ulonglong, put) for name in names)


def _simple(what: str, call: str, buffer: Callable[[], Any], put: Callable[[Any, Fields], None]) -> Sensor:
    return Sensor(what, call, call, buffer, put)


def _clock(what: str, field: str, label: str, which: int) -> Sensor:
    call = f"nvmlDeviceGetClockInfo({label})"
    put = _scaled(field, 1e6)
    return Sensor(what, call, "nvmlDeviceGetClockInfo", ctypes.c_uint, put, (which,))


POWER_INSTANT = FieldSensor("power", pynvml.NVML_FI_DEV_POWER_INSTANT, _value_over("power_w", 1000))
POWER: Choice = (
    POWER_INSTANT,
    _simple("power", "nvmlDeviceGetPowerUsage", ctypes.c_uint, _over("power_w", 1000)),
)

ALWAYS: tuple[Choice, ...] = (
    POWER,
    (
        FieldSensor("energy", pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, _value_over("energy_j", 1000)),
        _simple("energy", "nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong, _over("energy_j", 1000)),
    ),
    (FieldSensor("memory temperature", pynvml.NVML_FI_DEV_MEMORY_TEMP, _value_over("mem_temp_c", 1)),),
    (
        _simple("temperature", "nvmlDeviceGetTemperatureV", _temperature, _put_temp),
        Sensor(
            "temperature",
            "nvmlDeviceGetTemperature",
            "nvmlDeviceGetTemperature",
            ctypes.c_uint,
            _scaled("temp_c", 1.0),
            (pynvml.NVML_TEMPERATURE_GPU,),
        ),
    ),
    (_simple("margin", "nvmlDeviceGetMarginTemperature", _margin, _put_margin),),
    (_simple("utilization", "nvmlDeviceGetUtilizationRates", _Utilization, _put_util),),
    (
        _simple(
            "power limit",
            "nvmlDeviceGetEnforcedPowerLimit",
            ctypes.c_uint,
            _over("power_limit_w", 1000),
        ),
    ),
)
"""What RLE, the safety of the device and energy accounts need; clock_events() is one of them."""

OPTIONAL: tuple[Choice, ...] = (
    (_simple("memory", "nvmlDeviceGetMemoryInfo", Memory, put_memory),),
    (_clock("SM clock", "sm_clock_hz", "SM", pynvml.NVML_CLOCK_SM),),
    (_clock("memory clock", "mem_clock_hz", "MEM", pynvml.NVML_CLOCK_MEM),),
    (_simple("fan", "nvmlDeviceGetFanSpeed", ctypes.c_uint, _over("fan_ratio", 100)),),
    (_simple("performance state", "nvmlDeviceGetPerformanceState", ctypes.c_uint, _put_perf_state),),
)
"""What is left out while the agent is frugal."""

SLOW: tuple[Choice, ...] = (
    (FieldSensor("ECC", pynvml.NVML_FI_DEV_ECC_SBE_VOL_TOTAL, _count("ecc_corrected_count")),),
    (FieldSensor("ECC", pynvml.NVML_FI_DEV_ECC_DBE_VOL_TOTAL, _count("ecc_uncorrected_count")),),
)
"""Optional as well, and read at `slow_interval_s`: volatile counts, those since the driver was loaded."""

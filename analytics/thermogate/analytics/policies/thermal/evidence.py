"""What is remembered of one device, and what that says about its heat. Bounded in memory."""

from statistics import median

import msgspec

from thermogate.analytics.config import ThermalSettings
from thermogate.analytics.policies import sane
from thermogate.analytics.policies.base import full_power_w
from thermogate.core.clock import NS
from thermogate.core.model import DeviceInfo
from thermogate.core.wire import Point

_MAX_READINGS = 256
"""Readings in the window at most, whatever rate a node sends at; 30 s at 1 Hz are 30."""
_MAX_COLLAPSES = 64
_COVERED_SHARE = 0.75
"""A window counts once its readings span this share of it."""
_TIME_MAX_S = 600.0
"""Longer times to the limit all mean "not heating"; t_sustain_s on the wire ends there too."""


class Reading(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One temperature, whether the device was under load, and whether it slowed itself down for heat.

    `slowed` is None where the device does not tell.
    """

    time_ns: int
    temp_c: float
    loaded: bool
    slowed: bool | None = None


class Device(msgspec.Struct, frozen=True):
    """One device: its readings within the heat window and the beginnings of its collapses.

    `limit_c` and `power_ratio` (drawn over rated) are of its newest sample; None is "not known".
    `collapsing` was last said at `collapse_ns`.
    """

    seen_ns: int = 0
    readings: tuple[Reading, ...] = ()
    limit_c: float | None = None
    power_ratio: float | None = None
    collapsing: bool = False
    collapse_ns: int = 0
    began_ns: tuple[int, ...] = ()


class Heat(msgspec.Struct, frozen=True):
    """The heat window of a device in numbers.

    `temp_c` is the temperature now and `median_c` that of the window; `rate_c_per_s` how fast it
    rises; `time_s` the time to `limit_c` at that rate, 0 to 600; `loaded_ratio` the share of
    readings under load.
    """

    temp_c: float
    median_c: float
    limit_c: float
    rate_c_per_s: float
    time_s: float
    loaded_ratio: float


def take(params: ThermalSettings, device: Device, point: Point, info: DeviceInfo | None) -> Device:
    """The device after a sample. What the sample says goes before what the inventory (`info`) says."""
    fields = point.fields
    limit_c = sane.temperature(fields.get("temp_limit_c", info.temp_limit_c if info else None))
    power_ratio = _power_ratio(point, info)
    reading = _reading(params, point, power_ratio, limit_c)
    flag = fields.get("collapse")
    return Device(
        seen_ns=point.time_ns,
        readings=_readings(params, device.readings, point.time_ns, reading),
        limit_c=limit_c,
        power_ratio=power_ratio,
        collapsing=device.collapsing if flag is None else flag > 0,
        collapse_ns=device.collapse_ns if flag is None else point.time_ns,
        began_ns=_beginnings(params, device, reading, limit_c) if flag else device.began_ns,
    )


def heat(params: ThermalSettings, device: Device) -> Heat | None:
    """The heat of a device; None when its newest sample has no temperature, or too few have.

    Single readings off the others are dropped first (a median of three), so that a sensor that
    answers nonsense once moves nothing. The rate is the least-squares slope.
    """
    readings = device.readings
    if device.limit_c is None or not _is_enough(params, device):
        return None
    temps = _without_spikes([reading.temp_c for reading in readings])
    rate = _slope([(reading.time_ns - device.seen_ns) / NS for reading in readings], temps)
    return Heat(
        temp_c=temps[-1],
        median_c=median(temps),
        limit_c=device.limit_c,
        rate_c_per_s=rate,
        time_s=_time_s(device.limit_c - temps[-1], rate),
        loaded_ratio=loaded_ratio(device),
    )


def loaded_ratio(device: Device) -> float:
    """In which share of the window the device was under load. Only where there are readings."""
    return sum(reading.loaded for reading in device.readings) / len(device.readings)


def margin_c(device: Device) -> float | None:
    """How far the newest reading is below the limit; None when either is not known."""
    if device.limit_c is None or not device.readings or device.readings[-1].time_ns != device.seen_ns:
        return None
    return device.limit_c - device.readings[-1].temp_c


def slowed_ratio(params: ThermalSettings, device: Device) -> float | None:
    """In which share of the window the device slowed itself down for heat; None when that is not known."""
    if not device.readings or device.readings[-1].slowed is None or not _is_enough(params, device):
        return None
    return sum(reading.slowed is True for reading in device.readings) / len(device.readings)


def is_sparse(params: ThermalSettings, device: Device) -> bool:
    """Whether its readings span the window and are still too few to judge it by."""
    return len(device.readings) < params.heat_count and _is_covered(params, device.readings)


def collapses(params: ThermalSettings, device: Device) -> int:
    """How many collapses began within the window that ends at the newest sample."""
    oldest_ns = device.seen_ns - int(params.collapse_window_s * NS)
    return sum(began_ns > oldest_ns for began_ns in device.began_ns)


def _power_ratio(point: Point, info: DeviceInfo | None) -> float | None:
    power_w = sane.power(point.fields.get("power_w"))
    rated_w = sane.rated(full_power_w(point, info))
    return power_w / rated_w if power_w is not None and rated_w else None


def _reading(
    params: ThermalSettings, point: Point, power_ratio: float | None, limit_c: float | None
) -> Reading | None:
    """The temperature in a sample, and what the sample says of load and of slowing down."""
    temp_c = sane.temperature(point.fields.get("temp_c"))
    if temp_c is None:
        return None
    is_busy = point.fields.get("util_ratio", 0.0) >= params.load_util_ratio
    is_loaded = is_busy or (power_ratio or 0.0) >= params.load_power_ratio
    return Reading(point.time_ns, temp_c, is_loaded, _slowed(params, point, temp_c, limit_c))


def _slowed(params: ThermalSettings, point: Point, temp_c: float, limit_c: float | None) -> bool | None:
    """Whether the device slows itself down, and for heat; None when it does not tell.

    A power brake is not heat. Where only `throttled` is told, it is taken for heat near the limit
    alone. Far below the limit with cool memory it is a contradiction, which the consistency policy tells.
    """
    fields = point.fields
    by_hardware, by_driver = fields.get("clock_event_hw_thermal"), fields.get("clock_event_sw_thermal")
    if by_hardware is None and by_driver is None:
        throttled = fields.get("throttled")
        if throttled is None or limit_c is None:
            return None
        return throttled > 0 and limit_c - temp_c <= params.collapse_near_c
    if not (by_hardware or by_driver):
        return False
    far = limit_c is not None and limit_c - temp_c > params.slow_near_c
    return not far or fields.get("mem_temp_c", 0.0) >= params.slow_memory_c


def _readings(
    params: ThermalSettings, before: tuple[Reading, ...], time_ns: int, reading: Reading | None
) -> tuple[Reading, ...]:
    oldest_ns = time_ns - int(params.heat_window_s * NS)
    first = max(0, len(before) + 1 - _MAX_READINGS)
    while first < len(before) and before[first].time_ns < oldest_ns:
        first += 1
    return (*before[first:], reading) if reading else before[first:]


def _beginnings(
    params: ThermalSettings, device: Device, reading: Reading | None, limit_c: float | None
) -> tuple[int, ...]:
    """The beginnings when the sample is in collapse: one more if that is new and a matter of heat."""
    if device.collapsing or reading is None or not reading.loaded or limit_c is None:
        return device.began_ns
    if limit_c - reading.temp_c > params.collapse_near_c:
        return device.began_ns
    oldest_ns = reading.time_ns - int(params.collapse_window_s * NS)
    kept = tuple(began_ns for began_ns in device.began_ns if began_ns > oldest_ns)
    return (*kept[1 - _MAX_COLLAPSES :], reading.time_ns)


def _is_enough(params: ThermalSettings, device: Device) -> bool:
    readings = device.readings
    if len(readings) < params.heat_count or readings[-1].time_ns != device.seen_ns:
        return False
    return _is_covered(params, readings)


def _is_covered(params: ThermalSettings, readings: tuple[Reading, ...]) -> bool:
    return readings[-1].time_ns - readings[0].time_ns >= _COVERED_SHARE * params.heat_window_s * NS


def _time_s(margin_c: float, rate_c_per_s: float) -> float:
    if margin_c <= 0:
        return 0.0
    return margin_c / rate_c_per_s if rate_c_per_s > margin_c / _TIME_MAX_S else _TIME_MAX_S


def _without_spikes(temps: list[float]) -> list[float]:
    """Each value replaced by the median of itself and its neighbours; the ends by that of the last three."""
    inner = [sorted(temps[i - 1 : i + 2])[1] for i in range(1, len(temps) - 1)]
    return [inner[0], *inner, inner[-1]]


def _slope(xs: list[float], ys: list[float]) -> float:
    """Slope of the least-squares line; 0 when all `xs` are the same."""
    count = len(xs)
    mean_x, mean_y = sum(xs) / count, sum(ys) / count
    spread = sum((x - mean_x) ** 2 for x in xs)
    if spread == 0:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread

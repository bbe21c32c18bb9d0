"""The thermal resistance of one device, from windows in which it was under load and steady."""

from statistics import median

import msgspec

from thermogate.analytics.config import CoolingSettings
from thermogate.analytics.policies import sane
from thermogate.core.clock import NS
from thermogate.core.wire import Point

_COVERED_SHARE = 0.9
"""A window counts once its samples span this share of it."""
_LEAST_RISE_C = 5.0
"""Less above the air is all sensor steps, or the air is hotter than was said."""


class Device(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One device: the window that is being measured, and what the last ones gave.

    `resistances` are K/W of the last steady windows, oldest first; `measured_ns` is when the newest
    ended. `out` and `back` count windows on end in which it stood out, or was back among its peers.
    """

    model: str = ""
    uuid: str = ""
    seen_ns: int = 0
    began_ns: int = 0
    count: int = 0
    sum_w: float = 0.0
    sum_c: float = 0.0
    low_c: float = 0.0
    high_c: float = 0.0
    resistances: tuple[float, ...] = ()
    measured_ns: int = 0
    power_w: float = 0.0
    temp_c: float = 0.0
    out: int = 0
    back: int = 0

    @property
    def k_per_w(self) -> float:
        """Its thermal resistance: the median of the last windows. Only where there are any."""
        return median(self.resistances)


def take(
    params: CoolingSettings, before: Device, point: Point, model: str, rated_w: float | None
) -> tuple[Device, bool]:
    """The device after a sample, and whether that has given a new resistance."""
    now_ns = point.time_ns
    fields = point.fields
    power_w, temp_c = sane.power(fields.get("power_w")), sane.temperature(fields.get("temp_c"))
    if power_w is None or temp_c is None:
        return before, False
    if before.count and now_ns - before.seen_ns > params.gap_s * NS:
        before = _begin(before, now_ns, model)
    elif now_ns - before.began_ns >= params.window_s * NS:
        ended = _begin(before, now_ns, model)
        measured = _measure(params, before, rated_w)
        after = _take(ended, now_ns, power_w, temp_c)
        if measured is None:
            return after, False
        k_per_w, mean_w, mean_c = measured
        kept = (*before.resistances, k_per_w)[-params.windows :]
        return msgspec.structs.replace(
            after, resistances=kept, measured_ns=before.seen_ns, power_w=mean_w, temp_c=mean_c
        ), True
    return _take(before, now_ns, power_w, temp_c), False


def _take(device: Device, now_ns: int, power_w: float, temp_c: float) -> Device:
    first = device.count == 0
    return Device(
        device.model,
        device.uuid,
        now_ns,
        device.began_ns,
        device.count + 1,
        device.sum_w + power_w,
        device.sum_c + temp_c,
        temp_c if first or temp_c < device.low_c else device.low_c,
        temp_c if first or temp_c > device.high_c else device.high_c,
        device.resistances,
        device.measured_ns,
        device.power_w,
        device.temp_c,
        device.out,
        device.back,
    )


def _begin(device: Device, now_ns: int, model: str) -> Device:
    """The device at the beginning of a window."""
    return msgspec.structs.replace(
        device, model=model or device.model, seen_ns=now_ns, began_ns=now_ns, count=0, sum_w=0.0, sum_c=0.0
    )


def _measure(
    params: CoolingSettings, device: Device, rated_w: float | None
) -> tuple[float, float, float] | None:
    """(K/W, mean power, mean temperature) of the window that has ended; None when it tells nothing."""
    if device.count < max(2, params.window_count):
        return None
    span_ns = (device.seen_ns - device.began_ns) * device.count / (device.count - 1)  # the last one's too
    if span_ns < _COVERED_SHARE * params.window_s * NS:
        return None
    if not rated_w or device.high_c - device.low_c > params.steady_c:
        return None
    mean_w, mean_c = device.sum_w / device.count, device.sum_c / device.count
    rise_c = mean_c - (params.air_c if params.inlet_c is None else params.inlet_c)
    if mean_w < params.load_ratio * rated_w or rise_c < _LEAST_RISE_C:
        return None
    return rise_c / mean_w, mean_w, mean_c

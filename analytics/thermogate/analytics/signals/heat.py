"""What a device draws and how warm it is: load, thermal headroom, overload."""

import msgspec

from thermogate.analytics.config import SignalSettings
from thermogate.analytics.signals.windows import share
from thermogate.core.clock import NS
from thermogate.core.wire import Point

_LOAD_MOST = 10.0
"""No device draws so many times its rated power: a rated power that is wrong, and no reason for infinity."""
_RATED_LEAST_W, _RATED_MOST_W = 1.0, 100_000.0
"""No device is rated for less or for more."""
_COLDEST_C, _HOTTEST_C = -50.0, 250.0
"""No die that works is outside of this: such a reading is none."""


class Heat(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One device up to `time_ns`: drawn over rated power and temperature, as means over the fast window.

    `soaked_w` is the power as the heat sink feels it, a mean over `heat_s`, and `full_w` the most that the
    power limit has ever been: whoever lowers the limit, as a pace does, makes no better cooler. `loaded_s`
    is how long the one has been at `load_least_ratio` or more of the other.
    """

    time_ns: int
    load: float
    temp_c: float
    soaked_w: float
    full_w: float
    covered_s: float = 0.0
    loaded_s: float = 0.0


def load_of(power_w: float | None, rated_w: float | None) -> float | None:
    """Drawn over rated power, 0 to 10; None when either is not known."""
    if power_w is None or rated_w is None or not _RATED_LEAST_W <= rated_w <= _RATED_MOST_W:
        return None
    load = power_w / rated_w
    return (load if load < _LOAD_MOST else _LOAD_MOST) if load > 0.0 else 0.0


def temp_of(point: Point) -> float | None:
    """The temperature in a sample; None when there is none, or none that can be."""
    temp_c = point.fields.get("temp_c")
    return temp_c if temp_c is not None and _COLDEST_C <= temp_c <= _HOTTEST_C else None


def warm(
    params: SignalSettings, before: Heat | None, time_ns: int, load: float, rated_w: float, temp_c: float
) -> Heat:
    """The heat after a sample newer than `before`. It begins anew after a gap longer than the fast window."""
    if before is None:
        return Heat(time_ns, load, temp_c, load * rated_w, rated_w)
    full_w = before.full_w if before.full_w > rated_w else rated_w
    gap_s = (time_ns - before.time_ns) / NS
    if gap_s >= params.fast_s:
        return Heat(time_ns, load, temp_c, load * rated_w, full_w)
    sample_s = gap_s if gap_s < params.interval_most_s else params.interval_most_s
    part = share(before.covered_s, sample_s, params.fast_s)
    soaked_part = share(before.covered_s, sample_s, params.heat_s)
    soaked_w = before.soaked_w + soaked_part * (load * rated_w - before.soaked_w)
    return Heat(
        time_ns,
        before.load + part * (load - before.load),
        before.temp_c + part * (temp_c - before.temp_c),
        soaked_w,
        full_w,
        before.covered_s + sample_s,
        before.loaded_s + sample_s if soaked_w >= params.load_least_ratio * full_w else 0.0,
    )


def overload(params: SignalSettings, volatility: float, heat: Heat, limit_c: float | None) -> float | None:
    """Volatility squared times load over headroom; None before the window is full, or without a limit."""
    if limit_c is None or not params.ambient_c < limit_c <= _HOTTEST_C or heat.covered_s < params.fast_s:
        return None
    headroom = (limit_c - heat.temp_c) / (limit_c - params.ambient_c)
    least = params.headroom_least_ratio
    return volatility * volatility * heat.load / (headroom if headroom > least else least)

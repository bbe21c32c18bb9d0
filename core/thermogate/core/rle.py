"""RLE (load efficiency): the arithmetic of one sample, without memory of its own.

    E_th = stability / (1 + 1/t_sustain)      E_pw = util / a_load      RLE = E_th * E_pw

Windows are added up again at every sample, from the oldest value on: a running sum would drift, and
`sum` and `math.fsum` round as the version of Python has it, while `analytics.rle_batch` does these
very operations in this order and so gives these very numbers. See docs/rle.md.
"""

import sys
from math import inf, sqrt
from typing import Annotated

import msgspec

Window = tuple[float, ...]
Positive = Annotated[float, msgspec.Meta(gt=0, le=sys.float_info.max)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=sys.float_info.max)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class RleParams(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of the formula. The defaults are those of the `monitor` profile."""

    rated_power_w: NotNegative
    """The power that a_load is relative to: the enforced power limit of the device. 0 is "not
    known": a_load is 0 and its floor divides, as `monitor` does where it is told no power."""
    temp_limit_c: Positive
    """Temperature at which the device slows itself down."""
    interval_s: Positive | None = 1.0
    """Time between two temperatures in the heating rate. The published programs take 1 s whatever
    the clock says; None takes the interval from `elapsed_s`, which is right at any cadence."""
    interval_floor_s: Positive = 1e-3
    """Least interval to divide by, so that two samples at one instant stay finite."""
    stability_window_count: Count = 10
    """Utilizations whose spread is taken: 10 in `monitor`, 5 in `core`."""
    stability_min_count: Count = 5
    """With fewer utilizations than this, stability is 1: `monitor` waits for 5, `core` for 2."""
    smoothing_count: Count = 5
    """Samples in the mean that is `rle_smoothed`; in `headroom` also in the peak."""
    a_load_floor_ratio: Positive = 1e-3
    """Least a_load to divide by, for idle devices: 1e-3 in `monitor`, 1e-6 in `core`."""
    zero_power_is_missing: bool = False
    """Whether 0 W means that nothing was measured: in `core` it does."""
    temp_rate_floor_c_per_s: Positive = 1e-3
    """Least heating rate: a device that does not heat takes long, not forever, to its limit."""
    t_sustain_min_s: Positive = 1.0
    """Least t_sustain, reached at and above the limit; so 1 + 1/t_sustain is at most 2."""
    t_sustain_max_s: Positive = 600.0
    """Greatest t_sustain, also before two temperatures; beyond ten minutes RLE hardly changes."""
    a_load_fixed_ratio: Positive = 0.8
    """What `headroom` takes for a_load, in place of a measured power."""


def shift(window: Window, value: float, count: int) -> Window:
    """`window` with `value` at its end, without its oldest value when it had `count` of them."""
    return (*window[1:], value) if len(window) >= count else (*window, value)


def mean(window: Window) -> float:
    """Mean of at least one value."""
    total = 0.0
    for value in window:
        total += value
    return total / len(window)


def stability(util_pct: Window, min_count: int) -> float:
    """1 for a steady utilization, falling to 0 as it spreads. `util_pct` in PERCENT, not 0 to 1.

    1 / (1 + population standard deviation), in one pass over deviations from the oldest value.
    That value is itself one of those that vary, so that cancellation costs no more than a factor
    of window length + 1 in rounding, and values that are all equal give exactly 1.
    """
    count = len(util_pct)
    if count < min_count:
        return 1.0
    oldest = util_pct[0]
    total = squares = 0.0
    for value in util_pct:
        deviation = value - oldest
        total += deviation
        squares += deviation * deviation
    return 1.0 / (1.0 + sqrt((squares - total * total / count) / count))


def next_mean(window: Window, value: float, count: int) -> tuple[Window, float]:
    """`shift` and the `mean` of what it gives."""
    if count == 5 == len(window):  # as published: written out, half the time
        _, a, b, c, d = window
        return (a, b, c, d, value), (a + b + c + d + value) / 5
    window = shift(window, value, count)
    return window, mean(window)


def next_stability(window: Window, util_pct: float, count: int, min_count: int) -> tuple[Window, float]:
    """`shift` and the `stability` of what it gives."""
    if count == 10 == len(window):  # as published: written out, half the time
        _, o, a, b, c, d, e, f, g, h = window
        window = (o, a, b, c, d, e, f, g, h, util_pct)
        total = (
            (a := a - o) + (b := b - o) + (c := c - o) + (d := d - o) + (e := e - o)
            + (f := f - o) + (g := g - o) + (h := h - o) + (i := util_pct - o)
        )  # fmt: skip
        squares = a * a + b * b + c * c + d * d + e * e + f * f + g * g + h * h + i * i
        return window, 1.0 / (1.0 + sqrt((squares - total * total / 10) / 10))
    window = shift(window, util_pct, count)
    return window, stability(window, min_count)


def a_load(params: RleParams, power_w: float | None) -> float:
    """Power over rated power; 0 where the rated power is 0.

    Raises ValueError without a power, which is never estimated, or with one that cannot be.
    """
    rated_power_w = params.rated_power_w
    if rated_power_w == 0.0:
        return 0.0
    if power_w is None or (power_w == 0.0 and params.zero_power_is_missing):
        raise ValueError("power_w was not measured")
    if not 0.0 <= power_w < inf:
        raise ValueError(f"power_w is {power_w}")
    return power_w / rated_power_w


def t_sustain_s(params: RleParams, temp_c: float, rise_c: float, interval_s: float) -> float:
    """Time to the temperature limit when it goes on rising by `rise_c` every `interval_s`."""
    floor_s = params.interval_floor_s
    rate = rise_c / (interval_s if interval_s > floor_s else floor_s)
    floor = params.temp_rate_floor_c_per_s
    time_s = (params.temp_limit_c - temp_c) / (rate if rate > floor else floor)
    if time_s >= params.t_sustain_max_s:
        return params.t_sustain_max_s
    return time_s if time_s > params.t_sustain_min_s else params.t_sustain_min_s


def headroom(params: RleParams, temp_c: float) -> float:
    """The share of the temperature limit that is left: what `headroom` takes for stability."""
    return max(0.0, (params.temp_limit_c - temp_c) / params.temp_limit_c)


def headroom_t_sustain_s(params: RleParams, temp_c: float, rise_c: float | None, over_s: float) -> float:
    """Time to the limit at a rate of `rise_c` in `over_s`, as `headroom` has it.

    0 at or above the limit; the maximum while not heating or without a rise.
    """
    if temp_c >= params.temp_limit_c:
        return 0.0
    rate = (rise_c or 0.0) / max(over_s, 2.0 * params.interval_floor_s)
    if rate <= 0.0:  # asked of the rate, which may be 0 where the least of rises is not
        return params.t_sustain_max_s
    return min(params.t_sustain_max_s, (params.temp_limit_c - temp_c) / rate)

"""Volatility: how much RLE varies now, against its own recent normal."""

from math import sqrt

import msgspec

from thermogate.analytics.config import SignalSettings
from thermogate.analytics.signals.windows import share
from thermogate.core.clock import NS

_MOST = 1e6
"""RLE of 1 is full use of full power; what is beyond this is no RLE, and its square must stay a number."""

_LEAST_SQUARE = 1e-12
"""RLE is sent with six decimals: what is below them does not vary."""


class Variation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """RLE of one device up to `time_ns`: mean and variance over the fast window, mean square over the slow.

    `fast_s` and `slow_s` are what the windows have covered.
    """

    time_ns: int
    mean: float
    square: float
    variance: float = 0.0
    fast_s: float = 0.0
    slow_s: float = 0.0


def vary(params: SignalSettings, before: Variation | None, time_ns: int, rle: float) -> Variation | None:
    """The variation after a sample newer than `before`; `before` itself when `rle` cannot be one.

    A window begins anew after a gap that is longer than it.
    """
    if not 0.0 <= rle <= _MOST:
        return before
    if before is None:
        return Variation(time_ns, rle, rle * rle)
    gap_s = (time_ns - before.time_ns) / NS
    if gap_s >= params.slow_s:
        return Variation(time_ns, rle, rle * rle)
    sample_s = gap_s if gap_s < params.interval_most_s else params.interval_most_s
    square = before.square + share(before.slow_s, sample_s, params.slow_s) * (rle * rle - before.square)
    slow_s = before.slow_s + sample_s
    if gap_s >= params.fast_s:
        return Variation(time_ns, rle, square, 0.0, 0.0, slow_s)
    part = share(before.fast_s, sample_s, params.fast_s)
    off = rle - before.mean
    variance = (1.0 - part) * (before.variance + part * off * off)
    return Variation(time_ns, before.mean + part * off, square, variance, before.fast_s + sample_s, slow_s)


def volatility(params: SignalSettings, variation: Variation) -> float | None:
    """Standard deviation over the fast window by root mean square over the slow; None before both are full.

    0 when RLE is constant, also at 0. At most about the root of slow_s / fast_s.
    """
    if variation.slow_s < params.slow_s or variation.fast_s < params.fast_s:
        return None
    if variation.square < _LEAST_SQUARE:
        return 0.0
    return sqrt(variation.variance / variation.square)

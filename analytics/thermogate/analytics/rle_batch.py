"""RLE of a whole recording at once, for backtests: the numbers of `profiles.step`, in numpy.

Every value goes through the same floating-point operations in the same order as in `step`, so the
results are equal to the last bit and no comparison in the detector can fall out differently.
"""

from collections.abc import Callable
from itertools import pairwise
from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermogate.core import rle
from thermogate.core.profiles import Params, Sample, why_absent

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

BLOCK_COUNT = 8192
"""Windows at a time, so that the arrays at work stay in the processor's cache."""


class Results(NamedTuple):
    """The fields of `profiles.Result`, each an array of n values."""

    rle_raw: Floats
    rle_smoothed: Floats
    e_th: Floats
    e_pw: Floats
    a_load: Floats
    t_sustain_s: Floats
    rolling_peak: Floats
    collapse: Flags
    stability: Floats


def run(
    params: Params, util_ratio: ArrayLike, temp_c: ArrayLike, power_w: ArrayLike, elapsed_s: ArrayLike
) -> Results:
    """RLE of n samples of one device, from its first on. NaN in temp_c or power_w: not measured.

    The four columns have length n. Raises ValueError, naming the index, where `step` would.
    """
    columns = [np.asarray(column, dtype=np.float64) for column in (util_ratio, temp_c, power_w, elapsed_s)]
    if any(column.ndim != 1 or column.shape != columns[0].shape for column in columns):
        raise ValueError(f"expected four columns of one length, got {[column.shape for column in columns]}")
    _refuse(params, *columns)
    if params.profile == "headroom":
        return _run_headroom(params, *columns)
    return _run_load(params, *columns)


def _refuse(params: Params, util: Floats, temp_c: Floats, power_w: Floats, elapsed_s: Floats) -> None:
    good = (util >= 0.0) & (util <= 1.0) & np.isfinite(elapsed_s) & ~np.isinf(temp_c)
    good[1:] &= elapsed_s[1:] >= elapsed_s[:-1]
    if params.profile == "headroom":
        good &= ~np.isnan(temp_c)
    elif params.rated_power_w > 0.0:
        good &= (power_w > 0.0 if params.zero_power_is_missing else power_w >= 0.0) & (power_w < np.inf)
    if good.all():
        return
    index = int(np.argmin(good))
    at_s = float(elapsed_s[index])
    sample = Sample(float(util[index]), _value(temp_c[index]), _value(power_w[index]), at_s)
    before_s = float(elapsed_s[index - 1]) if index else -np.inf
    raise ValueError(
        f"index {index}: {why_absent(params, sample) or f'elapsed_s is {at_s} after {before_s}'}"
    )


def _value(number: np.float64) -> float | None:
    return None if np.isnan(number) else float(number)


def _run_load(params: Params, util: Floats, temp_c: Floats, power_w: Floats, elapsed_s: Floats) -> Results:
    rise_c, t_sustain_s = _heating(params, temp_c, elapsed_s)
    rated_power_w = params.rated_power_w
    a_load = power_w / rated_power_w if rated_power_w > 0.0 else np.zeros_like(util)
    stability = _windowed(
        util * 100.0,
        params.stability_window_count,
        lambda window: rle.stability(window, params.stability_min_count),
        _stability,
    )
    e_th = stability / (1.0 + 1.0 / t_sustain_s)
    e_pw = util / np.maximum(a_load, params.a_load_floor_ratio)
    raw = e_th * e_pw
    smoothed = _windowed(raw, params.smoothing_count, rle.mean, _mean)
    warm = _warm_from(params, elapsed_s)
    peak = np.zeros_like(raw)
    peak[warm:] = decaying_peak(smoothed[warm:], params.peak_decay_ratio)
    drops = smoothed < params.drop_ratio * np.maximum(peak, params.peak_floor)
    drops &= (util > params.util_gate_ratio) | (a_load > params.a_load_gate_ratio)
    drops &= rise_c > params.heating_gate_c
    if params.heating_needs_reading:
        drops &= ~np.isnan(temp_c)
    drops[:warm] = False
    evident = (t_sustain_s < params.evidence_t_sustain_s) | (a_load > params.evidence_a_load_ratio)
    evident |= temp_c > params.temp_limit_c - params.evidence_margin_c
    collapse = (_on_end(drops) >= params.hysteresis_count) & evident
    return Results(raw, smoothed, e_th, e_pw, a_load, t_sustain_s, peak, collapse, stability)


def _run_headroom(
    params: Params, util: Floats, temp_c: Floats, _power_w: Floats, elapsed_s: Floats
) -> Results:
    limit_c, count = params.temp_limit_c, params.smoothing_count
    a_load = np.full_like(util, params.a_load_fixed_ratio)
    t_sustain_s = _headroom_t_sustain_s(params, temp_c, elapsed_s)
    stability = np.maximum(0.0, (limit_c - temp_c) / limit_c)
    e_pw = util / a_load
    with np.errstate(divide="ignore"):  # at the limit 1/0 is inf and E_th is 0, as it should be
        e_th = stability / (1.0 + 1.0 / t_sustain_s)
    raw = e_th * e_pw
    counted = e_pw * stability / (1.0 + 1.0 / np.maximum(t_sustain_s, params.t_sustain_min_s))
    smoothed, peak = raw.copy(), raw.copy()
    smoothed[count - 1 :] = _windowed(counted, count, rle.mean, _mean)[count - 1 :]
    peak[count - 1 :] = _windowed(counted, count, max, _max)[count - 1 :] * params.peak_decay_ratio
    collapse = raw < params.drop_ratio * peak
    results = Results(raw, smoothed, e_th, e_pw, a_load, t_sustain_s, peak, collapse, stability)
    for column in results:
        if column is not a_load:
            column[:1] = 0
    return results


def _heating(params: Params, temp_c: Floats, elapsed_s: Floats) -> tuple[Floats, Floats]:
    """Rise and t_sustain at each sample; where no temperature was read, those of the last two read."""
    read = ~np.isnan(temp_c)
    temps_c, times_s = (temp_c, elapsed_s) if read.all() else (temp_c[read], elapsed_s[read])
    rise_c = np.zeros_like(temps_c)
    rise_c[1:] = temps_c[1:] - temps_c[:-1]
    t_sustain_s = np.full_like(temps_c, params.t_sustain_max_s)
    interval_s = np.diff(times_s) if params.interval_s is None else params.interval_s
    rate = np.maximum(
        rise_c[1:] / np.maximum(interval_s, params.interval_floor_s), params.temp_rate_floor_c_per_s
    )
    time_s = (params.temp_limit_c - temps_c[1:]) / rate
    t_sustain_s[1:] = np.clip(time_s, params.t_sustain_min_s, params.t_sustain_max_s)
    if len(temps_c) == len(temp_c):
        return rise_c, t_sustain_s
    last = np.cumsum(read)  # 0: nothing read yet
    return np.append(0.0, rise_c)[last], np.append(params.t_sustain_max_s, t_sustain_s)[last]


def _headroom_t_sustain_s(params: Params, temp_c: Floats, elapsed_s: Floats) -> Floats:
    t_sustain_s = np.full_like(temp_c, params.t_sustain_max_s)
    rise_c = temp_c[2:] - temp_c[:-2]
    over_s = elapsed_s[2:] - elapsed_s[:-2] if params.interval_s is None else 2.0 * params.interval_s
    rate = rise_c / np.maximum(over_s, 2.0 * params.interval_floor_s)
    heats = rate > 0.0
    with np.errstate(over="ignore"):  # a rate next to nothing: inf, which the maximum below cuts off
        time_s = np.divide(params.temp_limit_c - temp_c[2:], rate, out=t_sustain_s[2:].copy(), where=heats)
    t_sustain_s[2:] = np.minimum(time_s, params.t_sustain_max_s)
    t_sustain_s[temp_c >= params.temp_limit_c] = 0.0
    return t_sustain_s


def _warm_from(params: Params, elapsed_s: Floats) -> int:
    first = max(params.warmup_count, 1) - 1
    if params.warmup_s is not None:
        late = elapsed_s - elapsed_s[:1] > params.warmup_s
        first = max(first, int(np.argmax(late)) if late.any() else len(late))
    return min(first, len(elapsed_s))


def decaying_peak(values: Floats, decay_ratio: float) -> Floats:
    """peak[i] = max(values[i], peak[i-1] * decay_ratio), rounded as that recursion rounds.

    `values` at least 0. Rounding is monotone, so the peak is the greater of the peak since the
    start of a block and the peak before the block decayed. The former are found for all blocks
    at once, the latter block after block by a running product.
    """
    length = max(1, isqrt(len(values)))
    padded = np.append(values, np.zeros(-len(values) % length))
    blocks = np.ascontiguousarray(padded.reshape(-1, length).T)
    for before, here in pairwise(blocks):
        np.maximum(here, before * decay_ratio, out=here)
    peaks = np.ascontiguousarray(blocks.T)
    decayed = np.full(length + 1, decay_ratio)
    for before, here in pairwise(peaks):
        decayed[0] = before[-1]
        np.maximum(here, np.multiply.accumulate(decayed)[1:], out=here)
    return peaks.ravel()[: len(values)]


def _on_end(flags: Flags) -> NDArray[np.intp]:
    """How many flags on end are set up to each index, itself included."""
    index = np.arange(len(flags))
    return index - np.maximum.accumulate(np.where(flags, -1, index))


def _windowed(
    values: Floats, count: int, head: Callable[[rle.Window], float], body: Callable[[Floats, int], Floats]
) -> Floats:
    """A function of the last `count` values at each index; by `head` while there are fewer."""
    out = np.empty_like(values)
    out[: count - 1] = [head(tuple(values[: end + 1].tolist())) for end in range(min(count - 1, len(values)))]
    for start in range(0, len(values) - count + 1, BLOCK_COUNT):
        stop = min(start + BLOCK_COUNT, len(values) - count + 1)
        out[start + count - 1 : stop + count - 1] = body(values[start : stop + count - 1], count)
    return out


def _shifted(values: Floats, count: int) -> list[Floats]:
    """`count` views; the i-th values of all of them are the i-th window, oldest first."""
    return [values[first : len(values) - count + 1 + first] for first in range(count)]


def _mean(values: Floats, count: int) -> Floats:
    oldest, *others = _shifted(values, count)
    total = oldest.copy()
    for value in others:
        total += value
    return total / count


def _max(values: Floats, count: int) -> Floats:
    greatest: Floats = np.maximum.reduce(_shifted(values, count))
    return greatest


def _stability(util_pct: Floats, count: int) -> Floats:
    oldest, *others = _shifted(util_pct, count)
    total, squares = np.zeros_like(oldest), np.zeros_like(oldest)
    for value in others:
        deviation = value - oldest
        total += deviation
        squares += deviation * deviation
    return 1.0 / (1.0 + np.sqrt((squares - total * total / count) / count))

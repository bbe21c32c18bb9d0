"""Thermal collapse: RLE falls far below its recent peak while a loaded device heats up.

What the detector of `monitor` and `core` wants, all at once and for `hysteresis_count` samples on
end: a smoothed RLE below `drop_ratio` of the rolling peak, load, and heating; and, in the last of
these samples, evidence that heat or power is the reason. See docs/rle.md.
"""

from typing import Annotated

import msgspec

from thermogate.core.rle import Count, NotNegative, RleParams, Share, Window


class CollapseParams(RleParams, frozen=True, kw_only=True):
    """Parameters of the detector. The defaults are those of the `monitor` profile."""

    warmup_s: NotNegative | None = 60.0
    """No peak and no collapse until more than this after the first sample, so that starting up
    sets no peak that steady work cannot reach. None: only `warmup_count` counts."""
    warmup_count: Annotated[int, msgspec.Meta(ge=0)] = 0
    """No peak and no collapse before this sample; `core` begins at its 5th, whatever the time."""
    peak_decay_ratio: Share = 0.998
    """What is left of the peak after a sample: half after 346, so that an old peak fades."""
    peak_floor: NotNegative = 0.0
    """Least peak to compare with; 1e-6 in `core`, where an RLE of 0 is below any peak."""
    drop_ratio: Share = 0.65
    """A drop is a smoothed RLE below this share of the peak: more than a third is lost."""
    hysteresis_count: Count = 7
    """Samples on end that must drop, so that a dip between two batches is no collapse."""
    util_gate_ratio: NotNegative = 0.60
    """Load is a utilization above this: with little to do, a low RLE says nothing of heat."""
    a_load_gate_ratio: NotNegative = 0.75
    """Load is also a power above this share of the rated power."""
    heating_gate_c: NotNegative = 0.05
    """Heating is a rise of more than this since the temperature before: more than noise."""
    heating_needs_reading: bool = False
    """Whether a sample without temperature is not heating: so in `core`; `monitor` goes by its
    last two temperatures, however old."""
    evidence_t_sustain_s: NotNegative = 60.0
    """Evidence of heat: the limit is less than this away."""
    evidence_margin_c: NotNegative = 5.0
    """Evidence of heat: the temperature is less than this below the limit."""
    evidence_a_load_ratio: NotNegative = 0.95
    """Evidence of power: more than this share of the rated power, where devices cap themselves."""


def warm(params: CollapseParams, samples_count: int, elapsed_s: float) -> bool:
    """Whether the warm-up is over at a sample: its number from 1 on, and the time since the first."""
    return samples_count >= params.warmup_count and (params.warmup_s is None or elapsed_s > params.warmup_s)


def evident(params: CollapseParams, a_load: float, t_sustain_s: float, temp_c: float | None) -> bool:
    """Whether heat or the power limit can be the reason of a drop."""
    if t_sustain_s < params.evidence_t_sustain_s or a_load > params.evidence_a_load_ratio:
        return True
    return temp_c is not None and temp_c > params.temp_limit_c - params.evidence_margin_c


def detect(
    params: CollapseParams,
    peak: float,
    drops_count: int,
    smoothed: float,
    util: float,
    a_load: float,
    t_sustain_s: float,
    temp_c: float | None,
    rise_c: float,
) -> tuple[float, int, bool]:
    """One sample after the warm-up: the new peak, drops on end so far, and whether it collapses.

    `peak` and `drops_count` are those of the sample before, 0 at first. `rise_c` is the rise
    between the last two temperatures, 0 before there are two.
    """
    peak *= params.peak_decay_ratio
    if smoothed > peak:
        peak = smoothed
    floor = params.peak_floor
    if not (
        smoothed < params.drop_ratio * (peak if peak > floor else floor)
        and (util > params.util_gate_ratio or a_load > params.a_load_gate_ratio)
        and rise_c > params.heating_gate_c
        and not (temp_c is None and params.heating_needs_reading)
    ):
        return peak, 0, False
    drops_count += 1
    collapse = drops_count >= params.hysteresis_count and evident(params, a_load, t_sustain_s, temp_c)
    return peak, drops_count, collapse


def headroom_detect(params: CollapseParams, recent: Window, raw: float) -> tuple[float, bool]:
    """The peak and the collapse of `headroom`: a raw RLE far below the best of the last few.

    Until `recent` is full the peak is `raw` itself. No load, heating, hysteresis or evidence.
    """
    peak = max(recent) * params.peak_decay_ratio if len(recent) >= params.smoothing_count else raw
    return peak, raw < params.drop_ratio * peak

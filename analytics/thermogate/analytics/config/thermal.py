"""Thresholds of the thermal policy, their units and their reasons."""

from typing import Annotated

import msgspec

from thermogate.analytics.config.kinds import Count, NotNegative, Positive, Share
from thermogate.core.config import Settings


class ThermalSettings(Settings, frozen=True):
    """Thresholds of the thermal policy. docs/policies.md says how they were chosen and what they do."""

    collapse_count: Count = 3
    """HOLD at this many collapses of one device within `collapse_window_s`: one is an incident,
    two may be one that a cool sample cut in two, three are a pattern."""
    collapse_window_s: Positive = 600.0
    """Ten minutes: several times the thermal time constant of a heat sink (about 1 to 3 min)."""
    collapse_near_c: Positive = 15.0
    """Only collapses that begin under load within this of the limit count: efficiency also falls
    when a cold device takes up work, or work pauses, and that is no matter of heat."""
    collapse_release_s: Positive = 300.0
    """Released after this time without a collapse: half the window, so that a device that starts
    again after every pause is held again by its next collapse."""

    heat_time_s: Positive = 60.0
    """HOLD below this time to the temperature limit: what a checkpoint takes, and the evidence
    that the collapse detector of RLE asks for."""
    heat_near_c: Positive = 5.0
    """Only within this of the limit, as in the collapse detector of RLE. Further off, warming up
    looks the same: with 10 C, healthy recordings fire that end 10 C below their limit."""
    heat_at_limit_c: NotNegative = 2.0
    """HOLD within this of the limit under load, heating or not: a device that slows itself down
    stands still there. 2 C are the step (1 C) and the hunting of a fan (1 C)."""
    heat_window_s: Positive = 30.0
    """Time over which heating is measured. On a sensor with steps of 1 C one step reads as at most
    0.05 C/s over 30 s, and as 1 C/s over one sample."""
    heat_count: Annotated[int, msgspec.Meta(ge=3)] = 4
    """Least samples in the window; 4 lets a node that samples every 10 s take part."""
    heat_release_time_s: Positive = 120.0
    """Released at more than this to the limit: twice `heat_time_s`."""
    heat_release_c: NotNegative = 5.0
    """Released at this or more below the limit; above `heat_at_limit_c` by more than a fan hunts."""
    heat_release_s: Positive = 60.0
    """Both for this long on end: the time constant of a GPU's heat sink, so that a pause in the
    work does not pass for a cure."""

    load_util_ratio: Share = 0.60
    """Under load is a device this busy or more, as in the collapse detector of RLE,"""
    load_power_ratio: Share = 0.75
    """or one that draws this share or more of its rated power,"""
    load_share: Share = 0.5
    """in this share of the samples of the window: work has pauses of seconds."""

    pace_ambient_c: float = 30.0
    """Air at the device, for the pace: a warm aisle. Hotter air makes the true pace lower."""
    pace_margin_c: Positive = 10.0
    """The pace aims this far below the limit: twice the release margin, for what it neglects."""
    pace_least_ratio: Share = 0.2
    """Never asked to go below this: much less than idle power cannot be had."""
    pace_most_ratio: Share = 0.9
    """A HOLD always asks for less than full power, and this is the least step that cools."""
    pace_step_ratio: Share = 0.05
    """Paces are rounded down to this, so that a degree more or less is not a new decision."""

    slow_share: Share = 0.3
    """HOLD when a device under load slows itself down for heat in this share of the samples of
    `heat_window_s`: it loses more than a pause costs. Single ones happen wherever a fan hunts."""
    slow_release_s: Positive = 120.0
    """Released when it has run freely for this long on end: twice `heat_release_s`, for a device that
    slows itself down keeps itself just below its limit, and only less work proves more."""
    slow_near_c: Positive = 30.0
    """Further below the limit a slowdown for heat contradicts the thermometer, and is left to the consistency
    policy (`consistency.far_c`),"""
    slow_memory_c: Positive = 90.0
    """unless the memory is this hot: GPUs slow down for it from about 95 C on, at any core temperature."""

    stale_s: Positive = 300.0
    """A device that has not said for this long what a HOLD rests on no longer holds its node."""

    def __post_init__(self) -> None:
        for low, high in (
            ("heat_time_s", "heat_release_time_s"),
            ("heat_at_limit_c", "heat_release_c"),
            ("pace_least_ratio", "pace_most_ratio"),
        ):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} must be less than {high}")

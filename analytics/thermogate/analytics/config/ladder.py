"""Settings of the RLE pace ladder, their units and their reasons."""

from thermogate.analytics.config.kinds import Positive, Share
from thermogate.core.config import Settings


class LadderSettings(Settings, frozen=True):
    """The published control ladder of RLE. docs/policies.md says what is published and what is ours."""

    efficient_ratio: Share = 0.6
    """Step 2 of 4 below this share of the device's own peak of RLE: as published,"""
    degraded_ratio: Share = 0.4
    """step 3 below this, and with every collapse,"""
    critical_ratio: Share = 0.2
    """and step 4 below this."""
    hysteresis_ratio: Share = 0.05
    """A step is left upwards only above its threshold by this: as published."""

    efficient_pace_ratio: Share = 0.85
    """Pace of step 2. Published is "minor adjustments"; half of the way to step 3."""
    degraded_pace_ratio: Share = 0.7
    """Pace of step 3: the published power limit of its throttle."""
    critical_pace_ratio: Share = 0.5
    """Pace of step 4: the published power limit of its throttle."""

    window_s: Positive = 15.0
    """RLE over its peak is smoothed over this time: RLE falls to a tenth for some seconds when work
    stutters."""
    fall_s: Positive = 30.0
    """Down when it was below for this long on end. Published are 10 s, which suit clocks; a scheduler
    takes longer, and in recordings 10 s go down twice as often."""
    rise_s: Positive = 300.0
    """Up by one step when it was above for this long on end, and no sooner after the last change.
    Published are 30 and 60 s; with 300 s a device goes up 12 times an hour at the most."""

    load_util_ratio: Share = 0.60
    """Only under load, as in the collapse detector of RLE: this busy or more,"""
    load_power_ratio: Share = 0.75
    """or drawing this share or more of the rated power. Without load a device is calm."""
    gap_s: Positive = 30.0
    """After a longer time without a sample nothing counts as "on end"."""
    stale_s: Positive = 300.0
    """A device silent for this long paces its node no more."""

    def __post_init__(self) -> None:
        for low, high in (
            ("critical_ratio", "degraded_ratio"),
            ("degraded_ratio", "efficient_ratio"),
            ("critical_pace_ratio", "degraded_pace_ratio"),
            ("degraded_pace_ratio", "efficient_pace_ratio"),
        ):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} must be less than {high}")

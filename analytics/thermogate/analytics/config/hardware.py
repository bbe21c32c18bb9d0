"""Thresholds of the hardware policy, their units and their reasons."""

from thermogate.analytics.config.kinds import Count, NotNegative, Positive, Share
from thermogate.core.config import Settings


class HardwareSettings(Settings, frozen=True):
    """Thresholds of the hardware policy. docs/policies.md says what it does with them."""

    grace_s: NotNegative = 30.0
    """REPAIR when a GPU is lost or its driver hangs for longer: a driver reset takes some 10 s."""
    answered_s: Positive = 60.0
    """Released when it has answered for this long on end: one that comes and goes stays out."""

    xid_repeat_count: Count = 3
    """XIDs that heal by themselves once call for REPAIR at this many of a device within `xid_window_s`: a
    third time is no accident."""
    xid_window_s: Positive = 3600.0
    """An hour: about the time between two checkpoints of a large job, each XID having cost it one."""

    uncorrected_count: Count = 1
    """REPAIR when ECC could not correct this many more errors: each is wrong data in somebody's work, and
    its page is out of use only after a reset."""
    corrected_count: Count = 1000
    """REPAIR at this many corrected errors within `corrected_window_s`: healthy memory has none for days, one
    bad cell that is read all the time gives thousands. They do no harm yet, so running work may end."""
    corrected_window_s: Positive = 3600.0
    """The window of `corrected_count`; it begins anew after this, so that it needs two numbers."""
    corrected_release_s: Positive = 7200.0
    """Without a reset, released after this long below `corrected_count`: two windows."""
    clean_s: Positive = 300.0
    """After what proves the repair (counters that began anew, another GPU in its place), released when it has
    been well for this long on end: a driver that fails again does so when it starts."""

    brake_after_s: Positive = 60.0
    """HOLD when a power brake lasts longer: a feed that switches over is through in seconds."""
    brake_gap_s: Positive = 10.0
    """A brake that is off for less than this lasts on, as the agent's throttling events have it."""
    brake_release_s: Positive = 300.0
    """Released when it has not braked for this long: what it waits for (another supply, less load on the
    feed) comes and goes in minutes."""
    brake_pace_ratio: Share = 0.5
    """Asked for meanwhile: the brake halves clocks or worse, and drawing half lets it off."""

    away_s: Positive = 86400.0
    """A device that has not been sampled for this long is forgotten where nothing stands against it."""

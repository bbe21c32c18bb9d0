"""Settings of the power policy, their units and their reasons."""

from typing import Annotated

import msgspec

from thermogate.analytics.config.kinds import NotNegative, Positive, Share
from thermogate.core.config import Settings


class PowerSettings(Settings, frozen=True):
    """How a group is kept under its `power_cap_w`. docs/policies.md says what it does and how well."""

    trip_share: Share = 0.99
    """Paces go down when the group would draw more than this share of its cap: before it is over."""
    aim_share: Share = 0.96
    """They go down, and up, so far that it would draw this share: the distance to `trip_share` is the
    deadband. A sum of many nodes hunts by 1 to 2 %."""
    window_s: Positive = 5.0
    """Power is smoothed over this time, and nothing is decided before it has passed twice. A step to
    a third over the cap is seen within 2 s; a breaker of a feed bears that for minutes."""

    pace_least_ratio: Share = 0.4
    """No node is asked to go below this. GPUs take no power limit below some 30 to 50 % of their rated
    one (H100: 200 of 700 W), and work that is slowed more costs more than work that waits."""
    pace_step_ratio: Share = 0.02
    """Paces are multiples of this. Rounding down leaves half of it unused, 1 % of rated power."""
    rise_ratio: Share = 0.1
    """A pace rises by this at most in `rise_s`: what was slowed down together comes back
    together."""
    rise_s: Positive = 60.0
    """There must have been room for this long on end. Pauses of a training (data, checkpoint) are
    shorter, and it is the least time between two changes that the gate allows (`gate.dwell_s`)."""

    near_share: Share = 0.8
    """Only nodes that draw this share or more of their fair share are paced: others do not need it."""
    far_share: Share = 0.5
    """One that draws less than this share of it for `rise_s` on end is no longer paced."""

    hold: bool = True
    """HOLD as few nodes as will do, the newest load first, when all at `pace_least_ratio` is too much.
    Without it the group stays over its cap, and its breaker chooses."""
    hold_after_s: Positive = 30.0
    """Too much for this long on end, that is: work is not stopped for a peak that passes."""
    held_ratio: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.2
    """A node that has just been held will draw this share of its rated power: idle GPUs with their
    memory in use draw 10 to 20 %. Once it waits, what it draws is measured."""

    settle_s: Positive = 90.0
    """A node that draws more than it was asked to after this does not follow, and is counted at what
    it draws: longer than `gate.dwell_s` and the 5 s in which a scheduler applies a pace."""
    checkpoint_s: Positive = 180.0
    """The same of a node that is held: its work writes a checkpoint first."""
    follow_margin_ratio: Share = 0.1
    """More by this share of its rated power, that is: power limits are kept on the mean."""
    missing_s: NotNegative = 30.0
    """A node whose power was not measured for longer is counted at its rated power; until then at
    what it drew. A missing second must not slow a whole feed down."""

    def __post_init__(self) -> None:
        for low, high in (
            ("aim_share", "trip_share"),
            ("far_share", "near_share"),
            ("held_ratio", "pace_least_ratio"),
        ):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} must be less than {high}")
        if self.rise_ratio < self.pace_step_ratio:
            raise ValueError("rise_ratio must be at least pace_step_ratio")

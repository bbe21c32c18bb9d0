"""Settings of the regulator's signals: windows, floors, their units and their reasons."""

from thermogate.analytics.config.kinds import Positive, Share
from thermogate.core.config import Settings


class SignalSettings(Settings, frozen=True):
    """Windows and floors of the regulator's signals. docs/signals.md has the formulas."""

    every_s: Positive = 10.0
    """How often the signals of a node are published: a third of the shortest window."""

    fast_s: Positive = 30.0
    """Now: RLE varies, and devices of a job are compared, over this time; some tens of samples at 1 Hz."""
    slow_s: Positive = 600.0
    """A device's recent normal: ten minutes hold a job's checkpoints and evaluations too."""
    interval_most_s: Positive = 10.0
    """One sample stands for this long at most: the slowest sampling that takes part."""

    ambient_c: float = 25.0
    """Air at the device, for headroom and for the rise above it: a room, or a cold aisle."""
    headroom_least_ratio: Share = 0.05
    """Headroom counts as no less: at its limit a device has none, and overload stays a number."""

    heat_s: Positive = 60.0
    """Time constant of a heat sink: a temperature belongs to the power of about this time before."""
    load_least_ratio: Share = 0.3
    """Below this share of rated power the rise says more about the air than about the cooler."""
    rise_least_k: Positive = 20.0
    """Drift is relative to the healthy rise, and to no less than this: 5 K of warmer air is no fault of a
    device that water keeps at 40 C."""
    learn_s: Positive = 1800.0
    """Time under load at about the same power that makes a baseline: thirty time constants of a heat sink."""
    baseline_s: Positive = 2_592_000.0
    """Time under load over which the baseline is a mean: thirty days, so that no fault of a week gets
    into it."""
    learn_band_ratio: Share = 0.15
    """What is hotter than the baseline by more than this is not learned: twice what the weather moves."""
    drift_s: Positive = 300.0
    """Time over which drift is a mean: five time constants of a heat sink."""
    recovery_s: Positive = 1800.0
    """Recovery counts once it has lasted for this long under load: a cool pause heals no cooler."""

    smooth_s: Positive = 10.0
    """Powers of a job's devices are compared as means over this: nodes sample at different moments of a
    step."""
    habit_s: Positive = 3600.0
    """Time over which a device's usual share of its job's power is learned."""
    habit_pull_ratio: Share = 0.1
    """What is off by more than this share pulls no harder on what is usual: a straggler is not soon usual."""
    level_least_ratio: Share = 0.3
    """Deviations are relative to what a device usually draws, and to no less than this share of rated power:
    on idle devices some watts more are half of it."""

    def __post_init__(self) -> None:
        if self.fast_s >= self.slow_s:
            raise ValueError("fast_s must be less than slow_s")
        if self.learn_s >= self.baseline_s:
            raise ValueError("learn_s must be less than baseline_s")

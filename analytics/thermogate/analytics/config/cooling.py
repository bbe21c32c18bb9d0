"""Thresholds of the cooling policy, their units and their reasons."""

from thermogate.analytics.config.kinds import Count, Positive, Share
from thermogate.core.config import Settings


class CoolingSettings(Settings, frozen=True):
    """Thresholds of the cooling policy. docs/policies.md says what it can and cannot find."""

    inlet_c: float | None = None
    """Air at the inlet of every node. Without it `air_c` is taken, and a device has to stand out among the
    neighbours on its node as well: they share the air."""
    air_c: float = 30.0
    """A warm aisle, as `thermal.pace_ambient_c`. That the same is taken for all matters more than its value:
    resistances are only compared."""

    window_s: Positive = 120.0
    """One measurement: longer than the time constant of a heat sink (some 60 s), so that it has settled."""
    window_count: Count = 8
    """Least samples in it; 8 lets a node that samples every 15 s take part."""
    gap_s: Positive = 30.0
    """A window ends without a result when nothing was measured for longer: power may have been anything."""
    steady_c: Positive = 4.0
    """A window in which the temperature moves by more is no steady state: at most 4 C in 120 s leaves the
    heat sink within 2 C of where it goes to."""
    load_ratio: Share = 0.6
    """Mean power over rated power in a window: below, fans slow down and the resistance rises for that
    alone (a healthy RTX 3090 has 0.105 K/W at 335 W and 0.157 K/W at 155 W)."""
    windows: Count = 5
    """The resistance of a device is the median of so many windows: two may be spoilt."""
    fresh_s: Positive = 86400.0
    """A resistance is forgotten after a day without a window: dust and paste change over weeks."""

    min_peers: Count = 8
    """Devices of a model with a resistance, before one is compared with them: a median absolute deviation
    of fewer says little."""
    excess_ratio: Positive = 0.35
    """REPAIR at this much above the median of the peers, and of the neighbours. Positions differ by 10 to
    15 %, power between `load_ratio` and full by 20 % on one device; a fan that stops gives 50 % or more."""
    excess_z: Positive = 6.0
    """And at so many robust standard deviations above it: where a model's devices differ a lot, 35 % is
    nothing special."""
    out_windows: Count = 15
    """In so many windows on end: half an hour under load. A cable that hangs before a fan for a moment, or a
    neighbour's exhaust, is no fault."""
    back_ratio: Positive = 0.2
    """Back among its peers is a device at less than this above their median,"""
    back_windows: Count = 10
    """in so many windows on end: 20 minutes under load."""

    def __post_init__(self) -> None:
        if self.back_ratio >= self.excess_ratio:
            raise ValueError("back_ratio must be less than excess_ratio")

"""Settings of the idle policy, their units and their reasons."""

import re

from thermogate.analytics.config.kinds import NotNegative, Positive, Share
from thermogate.core.config import Settings

_EXEMPT = re.compile(r"(manager|user|job):.+")


class IdleSettings(Settings, frozen=True):
    """When a job does nothing with its GPUs. docs/policies.md says how the values were chosen."""

    start_s: Positive = 3600.0
    """HOLD when no device has worked for this long since the job began: loading data and compiling
    take minutes. Clusters that publish such a rule end a job after 1 to 2 h."""
    after_s: Positive = 1800.0
    """HOLD when none has worked for this long after some did: an evaluation on the CPU, a checkpoint
    to a slow store or a person who thinks takes less. The longest pause in 159 recordings is 253 s."""
    hung_s: Positive = 1200.0
    """HOLD when all wait in a collective for this long: twice the 10 min after which PyTorch's own
    watchdog ends a job that has one."""

    busy_util_ratio: Share = 0.05
    """A device works when it is busy for this share of the time or more, over `window_s`."""
    busy_power_ratio: Share = 0.35
    """It also works when it draws this share of its power limit or more, whatever its utilization says."""
    idle_power_ratio: Share = 0.2
    """A device without utilization (MIG) is idle below this share of its power limit: idle GPUs with a
    program on them draw 10 to 20 %. Between this and `busy_power_ratio` nothing is known of it."""
    window_s: Positive = 60.0
    """Utilization and power are smoothed over this time, so that one busy second in an hour is no work."""

    spin_util_ratio: Share = 0.9
    """A device spins when it says that it is busy for this share of the time,"""
    spin_power_ratio: Share = 0.3
    """draws less than this share of its power limit (H100s that wait in a collective: 0.21 to 0.23),"""
    spin_spread_ratio: Share = 0.1
    """and its power stays within this share of its mean (standard deviation over `window_s`): a loop
    that waits draws the same all the time, small work does not."""

    stale_s: Positive = 120.0
    """A device without a sample for this long is not measured; a job with one such device is not judged."""
    checkpoint_s: NotNegative = 180.0
    """What a job does in this time after it was held is its checkpoint, and does not release it."""
    retry_s: NotNegative = 3600.0
    """A job that is held cannot show that it would work. So it may run again after this long, twice as
    long after every try in vain, eightfold at most. 0: never, it waits for its operator or its end."""
    probe_s: Positive = 900.0
    """It runs for this long on a try: a person who is back notices within it, a program loads again."""
    exempt: tuple[str, ...] = ("manager:unit", "manager:user")
    """Who is never held, with shell patterns: "user:alice", "manager:pod", "job:notebook-*". Services wait
    by their nature, and processes of a login were not scheduled by anybody who could resume them."""

    def __post_init__(self) -> None:
        for low, high in (
            ("idle_power_ratio", "busy_power_ratio"),
            ("spin_power_ratio", "busy_power_ratio"),
            ("busy_util_ratio", "spin_util_ratio"),
        ):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} must be less than {high}")
        for entry in self.exempt:
            if not _EXEMPT.fullmatch(entry):
                raise ValueError(f"exempt {entry!r}: expected manager:, user: or job: and a pattern")

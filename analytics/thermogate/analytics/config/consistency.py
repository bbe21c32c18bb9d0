"""Thresholds of the consistency policy, their units and their reasons."""

from thermogate.analytics.config.kinds import Positive, Share
from thermogate.core.config import Settings


class ConsistencySettings(Settings, frozen=True):
    """Thresholds of the consistency policy. docs/policies.md says what each contradiction means."""

    temp_least_c: float = 1.0
    """No die is colder than this in air that people work in; broken sensors say 0 or less."""
    temp_most_c: float = 130.0
    """None is hotter and answers: devices switch themselves off at 90 to 110 C."""
    range_s: Positive = 10.0
    """SYNC when the temperature is outside of these for this long on end; single readings happen."""

    jump_c: Positive = 35.0
    """A GPU's temperature does not change by more from one second to the next: 700 W on some 100 J/K (die,
    lid and base of the heat sink) are 7 C a second, and a die alone rises by 10 to 20 C at once."""
    jump_gap_s: Positive = 2.5
    """Only between samples this close together: over minutes everything is possible."""
    jump_stays_s: Positive = 10.0
    """and only if it stays on the other side of half of the jump for this long: a spike is one reading."""

    far_c: Positive = 30.0
    """SYNC when a device says that it slows down for heat at this or more below its limit, with memory that
    is not hot. Nearer, it is a matter of heat, and of the thermal policy (`thermal.slow_near_c`)."""
    far_memory_c: Positive = 90.0
    """Memory this hot slows a GPU down at any core temperature (`thermal.slow_memory_c`)."""
    far_s: Positive = 60.0
    """For this long on end."""

    over_ratio: Positive = 1.5
    """SYNC when the mean power is this many times the limit: regulation keeps it within a few per cent, and
    boards overshoot for less than a second."""
    over_s: Positive = 60.0
    """For this long on end: a limit that was just lowered is kept within seconds."""

    busy_util_ratio: Share = 0.98
    """SYNC when a GPU says that it is this busy,"""
    busy_power_ratio: Share = 0.15
    """while it draws less than this share of its limit (idle GPUs draw 5 to 17 %, one that only waits in a
    kernel 15 % or more)"""
    busy_clock_hz: Positive = 600e6
    """and its clock is this or less (idle ones are at 135 to 345 MHz, any work brings them above 1 GHz),"""
    busy_s: Positive = 300.0
    """for this long on end: between two kernels clocks fall for seconds."""

    stuck_s: Positive = 900.0
    """SYNC when the temperature has been the same to the last digit for this long,"""
    stuck_power_ratio: Share = 0.3
    """while power, smoothed over `stuck_smooth_s`, moved by this share of its limit: at the least resistance
    of any cooler (0.05 K/W) that is 10 C of a GPU of 700 W."""
    stuck_smooth_s: Positive = 60.0
    """The time constant of a heat sink: faster changes do not reach its temperature."""

    apart_s: Positive = 30.0
    """SYNC when stamps of devices in one message are this far apart: a node reads all within a second."""
    apart_for_s: Positive = 60.0
    """For this long on end."""

    release_s: Positive = 120.0
    """Released when the contradiction has been gone for this long on end."""
    jump_release_s: Positive = 600.0
    """After a jump: nobody knows which of the two values was right until the sensor has followed the load for
    some minutes."""
    stale_s: Positive = 600.0
    """A device that has sent nothing to judge it by for this long no longer counts."""

    def __post_init__(self) -> None:
        if self.temp_least_c >= self.temp_most_c:
            raise ValueError("temp_least_c must be less than temp_most_c")

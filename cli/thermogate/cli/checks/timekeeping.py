"""Is the clock of this node right? Samples carry its UTC, and a store joins nodes by it."""

import ctypes
import os

import msgspec

from thermogate.cli.checks.config import DoctorSettings
from thermogate.cli.checks.finding import Finding, absent, duration, ok, warn

_UNSYNCHRONIZED_S = 16.0
"""The kernel's largest error, at which it gives up. systemd takes the same for NTPSynchronized; STA_UNSYNC
alone means little, as chrony without rtcsync leaves it set."""

_CURE = (
    "timedatectl set-ntp true (or: systemctl enable --now chronyd); then look at `chronyc tracking`"
    " or `timedatectl timesync-status`"
)


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2) on 64-bit Linux; only its first fields are read."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


class Clock(msgspec.Struct, frozen=True):
    """What the kernel knows of its own clock, or why it does not say."""

    max_error_s: float | None = None
    estimated_error_s: float | None = None
    why_not: str = ""


def look() -> Clock:
    """Ask the kernel; changes nothing and needs no rights."""
    libc = ctypes.CDLL(None, use_errno=True)
    answer = _Timex()  # modes 0: only read
    if libc.adjtimex(ctypes.byref(answer)) < 0:
        return Clock(why_not=f"adjtimex: {os.strerror(ctypes.get_errno())}")
    return Clock(answer.maxerror / 1e6, answer.esterror / 1e6)


def judge(clock: Clock, jumps_s: tuple[float, ...], settings: DoctorSettings) -> list[Finding]:
    """Whether the clock is kept right; `jumps_s` are steps of UTC that the spool has seen."""
    return [_synchronized(clock, settings), *_jumped(jumps_s, settings)]


def _synchronized(clock: Clock, settings: DoctorSettings) -> Finding:
    check = "clock.offset"
    if clock.max_error_s is None:
        return absent(check, f"the kernel does not say whether its clock is right ({clock.why_not})")
    if clock.max_error_s >= _UNSYNCHRONIZED_S:
        cause = "nothing keeps this clock right: no time service has told the kernel the time"
        return warn(check, "not synchronized; how far it is off is unknown", cause, _CURE)
    text = f"synchronized; off by {duration(clock.max_error_s)} at most"
    if clock.estimated_error_s:
        text += f", by {duration(clock.estimated_error_s)} as the kernel estimates"
    if clock.max_error_s > settings.clock_error_s:
        cause = "the time service has not been heard for hours: samples may carry a wrong second"
        return warn(check, text, cause, _CURE)
    return ok(check, text)


def _jumped(jumps_s: tuple[float, ...], settings: DoctorSettings) -> list[Finding]:
    far = [jump_s for jump_s in jumps_s if abs(jump_s) >= settings.clock_jump_s]
    if not far:
        return []
    found = "UTC was set by " + ", ".join(f"{jump_s:+.1f} s" for jump_s in far[-3:]) + " while the agent ran"
    cause = (
        "somebody, or a time service that steps, set the clock: samples of that time overlap or have a gap"
    )
    return [
        warn("clock.jumps", found, cause, "let the clock be slewed, not stepped: chrony's `makestep 1 3`")
    ]

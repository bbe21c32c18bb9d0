"""What `thermogate run` was asked for."""

import signal
from typing import Literal

import msgspec

from thermogate.schedulers.standing import Target

OnHold = Literal["stop", "term", "wait"]


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gates`: held while any of them is."""

    command: tuple[str, ...]
    gates: tuple[Target, ...]
    on_hold: OnHold = "stop"
    """`stop`: SIGSTOP to all its processes, SIGCONT on release; `term`: SIGTERM; `wait`: it goes on, only a
    start waits."""
    checkpoint_signal: signal.Signals | None = signal.SIGUSR1
    """To whoever has a handler for it, before a stop; None: nobody is told."""
    checkpoint_s: float = 30.0
    """How long it is given for that."""
    kill_after_s: float = 30.0
    """After SIGTERM; then SIGKILL."""
    restart: bool = False
    """Start it again on release, if a hold ended it."""
    pace_env: bool = False
    """Write the pace into a file that THERMOGATE_PACE_FILE names."""
    hear_s: float = 5.0
    """How long to wait for the broker before the start; without it, work runs."""

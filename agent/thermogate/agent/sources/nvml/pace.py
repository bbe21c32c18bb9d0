"""What is done less often than every tick."""

from thermogate.core.clock import Clock

_EARLY_S = 0.1
"""Ticks jitter: one that is this much early counts, so that "every 5 s" is not sometimes every 6th tick."""


class Pace:
    """Says when something is due again; at first it is."""

    def __init__(self, clock: Clock, every_s: float) -> None:
        self._clock = clock
        self._every_s = every_s
        self._next_s: float | None = None

    def due(self) -> bool:
        """Whether it is time; if so the next time is `every_s` from now."""
        now_s = self._clock.steady_s()
        if self._next_s is not None and now_s < self._next_s - _EARLY_S:
            return False
        self._next_s = now_s + self._every_s
        return True

    def again(self) -> None:
        """It is due the next time that somebody asks."""
        self._next_s = None

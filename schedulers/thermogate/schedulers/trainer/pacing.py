"""A pace as a share of time: of every second, so much is computed and the rest is slept."""

_LONGEST_S = 10.0
"""Of one sleep: a hold, a release or Ctrl-C is seen within it."""
_MOST_DEBT_S = 60.0
"""A step that took longer (a checkpoint, an evaluation) is not paid for in full."""


class Pacer:
    """Says how long to sleep after each step. Pure: the caller tells the time and sleeps."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._debt_s = 0.0

    def begin(self, now_s: float) -> None:
        """Computing begins, or goes on after a wait, now: what was to be slept has been waited."""
        self._since_s = now_s
        self._debt_s = 0.0

    def rest_s(self, pace: float, now_s: float) -> float:
        """A step is done: how long to sleep now, at most 10 s, so that the share of computing is `pace`.

        What has been slept is to be told by `slept`; what was not is carried on.
        """
        busy_s = 0.0 if self._since_s is None else now_s - self._since_s
        self._since_s = now_s
        if pace >= 1.0:
            self._debt_s = 0.0
            return 0.0
        share = max(pace, 0.01)
        self._debt_s = min(self._debt_s + busy_s * (1.0 / share - 1.0), _MOST_DEBT_S)
        return min(max(self._debt_s, 0.0), _LONGEST_S)

    def slept(self, seconds: float, now_s: float) -> None:
        """It slept so long, which is never exactly what was asked for."""
        self._debt_s -= seconds
        self._since_s = now_s

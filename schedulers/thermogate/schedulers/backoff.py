"""Waits that grow with every failure."""


class Backoff:
    """From `least_s`, doubling, up to `most_s`."""

    def __init__(self, least_s: float, most_s: float) -> None:
        self._next_s = least_s
        self._most_s = most_s

    def next_s(self) -> float:
        """The wait after one more failure."""
        wait_s = min(self._next_s, self._most_s)
        self._next_s = wait_s * 2
        return wait_s

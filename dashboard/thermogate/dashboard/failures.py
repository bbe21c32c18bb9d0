"""Wrong tokens, counted by address, in bounded memory."""

from collections import OrderedDict

from thermogate.core.clock import Clock

_MOST_ADDRESSES = 4096
"""Addresses remembered; beyond it the one that failed longest ago is forgotten."""


class Failures:
    """Allows `most` failures of an address in `window_s`, given back one by one over it."""

    def __init__(self, clock: Clock, most: int, window_s: float) -> None:
        self._clock = clock
        self._most = most
        self._each_s = window_s / most
        self._free_s: OrderedDict[str, float] = OrderedDict()
        """When all failures of an address are forgotten, on the steady clock."""

    def note(self, address: str) -> float:
        """Count one more; for how many seconds its wrong tokens are put off, 0 when they are not yet."""
        now_s = self._clock.steady_s()
        free_s = max(now_s, self._free_s.pop(address, now_s))
        wait_s = free_s - now_s - (self._most - 1) * self._each_s
        if wait_s <= 0:
            free_s += self._each_s
        self._free_s[address] = free_s
        if len(self._free_s) > _MOST_ADDRESSES:
            self._free_s.popitem(last=False)
        return max(0.0, wait_s)

"""Stand-ins that implement the real protocols, for tests that need to hold time still."""

import asyncio
import heapq
import itertools


class FakeClock:
    """A clock that moves only when told to; sleepers wake in the order of their times."""

    def __init__(self, utc_ns: int = 1_763_712_000_000_000_000, steady_s: float = 1000.0) -> None:
        self._utc_ns = utc_ns
        self._steady_s = steady_s
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._order = itertools.count()

    def utc_ns(self) -> int:
        return self._utc_ns

    def steady_s(self) -> float:
        return self._steady_s

    async def sleep_until(self, steady_s: float) -> None:
        if steady_s <= self._steady_s:
            await asyncio.sleep(0)
            return
        event = asyncio.Event()
        heapq.heappush(self._sleepers, (steady_s, next(self._order), event))
        await event.wait()

    def jump_utc(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self._utc_ns += round(seconds * 1e9)

    def pass_time(self, seconds: float) -> None:
        """Time goes by while nobody looks: sleepers wake late, when the loop next runs."""
        self._steady_s += seconds
        self._utc_ns += round(seconds * 1e9)
        while self._sleepers and self._sleepers[0][0] <= self._steady_s:
            heapq.heappop(self._sleepers)[2].set()

    async def advance(self, seconds: float) -> None:
        """Let time go by with every sleeper woken at its own time."""
        end_s = self._steady_s + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            self.pass_time(self._sleepers[0][0] - self._steady_s)
            await settle()
        self.pass_time(end_s - self._steady_s)
        await settle()


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)

"""Time as the rest of thermogate sees it, so that tests can replace it."""

import asyncio
import time
from typing import Protocol

NS = 1_000_000_000


class Clock(Protocol):
    """UTC for stamps, a steady clock for intervals."""

    def utc_ns(self) -> int:
        """UTC in nanoseconds since 1970; it may jump when somebody sets it."""
        ...

    def steady_s(self) -> float:
        """Seconds that only go forward; only differences mean anything."""
        ...

    async def sleep_until(self, steady_s: float) -> None:
        """Return when `steady_s()` has reached the argument; at once if it has passed."""
        ...


class SystemClock:
    """The clock of the machine."""

    def utc_ns(self) -> int:
        """UTC in nanoseconds since 1970."""
        return time.time_ns()

    def steady_s(self) -> float:
        """The monotonic clock, in seconds."""
        return time.monotonic()

    async def sleep_until(self, steady_s: float) -> None:
        """Sleep on the event loop until the monotonic clock reads `steady_s`."""
        await asyncio.sleep(max(0.0, steady_s - time.monotonic()))

"""When a batch that VictoriaMetrics has answered with 204 is past any crash."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from thermogate.collector.store.base import Settling
from thermogate.collector.store.victoria_server import Reading
from thermogate.core.clock import Clock
from thermogate.core.errors import StoreError

_TURN_S = 1.0
"""Between two looks at the server: one costs it some milliseconds."""
_COUNTED_S = 2 * _TURN_S
"""Most that counts as lived through between two looks: a server that was frozen has flushed nothing."""
_YOUNG_S = 2.0
"""A process tells when it started in whole seconds: once it is older than this, the next one must differ."""


class _Pending:
    def __init__(self, process: float | None, now_s: float, settled: Settling) -> None:
        self.process = process
        self.seen_s = now_s
        self.lived_s = 0.0
        self.settled = settled

    def end(self, sound: bool) -> None:
        if not self.settled.done():
            self.settled.set_result(sound)


class Settler:
    """Waits `settle_s` past each write, and makes sure that one process lived through all of it.

    The server keeps what it has taken in memory and puts it on disk by its own timers; only a process
    that dies before loses any. So a batch is settled (True) when

    1. `before`, called before the write was sent, has read that process P runs, and
    2. after the answer to the write, looks at the server that were at most 2 s apart have answered for
       `settle_s` in all, the last one still from P.

    P then ran when the write was sent and runs now, and a process that has ended never runs again: it
    was P that took the batch, and P has had all that time, awake, to flush it. When a later look finds
    another process, or 1 could not tell (a process under 2 s of age might be taken for its successor,
    as both tell the second in which they began), the end is False: the batch may be lost or not. A
    restart that flushes ends False too; the batch is then sent again, which changes nothing. While the
    server does not answer nothing ends. All times are steady; a clock that is set changes nothing.
    """

    def __init__(self, look: Callable[[], Awaitable[Reading]], settle_s: float, clock: Clock) -> None:
        self._look_at = look
        self._settle_s = settle_s
        self._clock = clock
        self._process: float | None = None
        self._pending: deque[_Pending] = deque()
        self._sweeping: asyncio.Task[None] | None = None

    async def before(self) -> float | None:
        """Which process runs, to be asked before a write and given to `took`. Raises StoreError.

        An older look will do: a process that ran then and runs later has run all the time between.
        """
        if self._process is None:
            await self._look()
        return self._process

    def took(self, process: float | None) -> Settling:
        """The server has just answered a write with 204; `process` is what `before` said."""
        settled: Settling = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(process, self._clock.steady_s(), settled))
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep())
        return settled

    def doubt(self) -> None:
        """A write has failed: look anew before the next one."""
        self._process = None

    async def close(self) -> None:
        """What has not settled is cancelled: nobody will look any more."""
        for pending in self._pending:
            pending.settled.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])

    async def _sweep(self) -> None:
        try:
            while self._pending:
                await self._clock.sleep_until(self._clock.steady_s() + _TURN_S)
                try:
                    await self._look()
                except StoreError:
                    continue  # nothing is known until it answers
        finally:
            self._sweeping = None
            while self._pending:
                self._pending.popleft().end(False)

    async def _look(self) -> None:
        asked_s = self._clock.steady_s()
        reading = await self._look_at()
        self._process = reading.started_s if reading.uptime_s >= _YOUNG_S else None
        waiting: deque[_Pending] = deque()
        for pending in self._pending:
            if asked_s > pending.seen_s:  # else the look says nothing of the time after the write
                pending.lived_s += min(asked_s - pending.seen_s, _COUNTED_S)
                pending.seen_s = asked_s
                if pending.process != reading.started_s:
                    pending.end(False)
                    continue
                if pending.lived_s >= self._settle_s:
                    pending.end(True)
                    continue
            waiting.append(pending)
        self._pending = waiting

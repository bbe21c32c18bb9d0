"""Waiting for calls in other threads, with one wake-up of the event loop for all of them.

asyncio.wait over asyncio.wrap_future wakes the loop for each call: with four sources that was a
seventh of all processor time of the agent.
"""

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any


async def wait_all(calls: Sequence[Future[Any]], timeout_s: float) -> None:
    """Return once every call has returned or raised, or after `timeout_s`; the calls tell which."""
    if not calls:
        return
    countdown = _Countdown(len(calls))
    for call in calls:
        call.add_done_callback(countdown.one_less)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await countdown.over.wait()


class _Countdown:
    def __init__(self, count: int) -> None:
        self.over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._left = count
        self._lock = threading.Lock()

    def one_less(self, _call: Future[Any]) -> None:
        """Called in any thread."""
        with self._lock:
            self._left -= 1
            left = self._left
        if left == 0:
            with contextlib.suppress(RuntimeError):  # the loop closed while a call hung
                self._loop.call_soon_threadsafe(self.over.set)

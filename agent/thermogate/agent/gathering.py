"""Waiting for calls in other threads, with one wake-up of the event loop for all of them.

asyncio.wait over asyncio.wrap_future wakes the loop for each call: with four sources that was a
seventh of all processor time of the agent.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from thermogate.agent.sources.worker import Countdown


async def wait_all(calls: Sequence[Future[Any]], timeout_s: float) -> None:
    """Return once every call has returned or raised, or after `timeout_s`; the calls tell which."""
    if not calls:
        return
    over = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop closed while a call hung
            loop.call_soon_threadsafe(over.set)

    countdown = Countdown(len(calls), wake)
    for call in calls:
        call.add_done_callback(lambda _: countdown.one_less())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await over.wait()

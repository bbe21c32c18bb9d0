"""How a long-running command runs and stops: one task group, two signals, an exit status."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from thermogate.core.errors import ThermogateError

Main = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


def serve(main: Main, *, for_s: float | None = None) -> int:
    """Run `main(stop)`; SIGINT, SIGTERM or `for_s` seconds set `stop`. Exit status 0.

    The first failure ends everything; of a group, the first error that speaks to people is raised.
    """
    try:
        asyncio.run(_serve(main, for_s))
    except BaseExceptionGroup as group:
        raise first_cause(group) from group
    return 0


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first ThermogateError in the group, else its first error."""
    leaves = list(_leaves(group))
    return next((leaf for leaf in leaves if isinstance(leaf, ThermogateError)), leaves[0])


async def _serve(main: Main, for_s: float | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if for_s is not None:
        loop.call_later(for_s, stop.set)
    await main(stop)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for err in group.exceptions:
        found += _leaves(err) if isinstance(err, BaseExceptionGroup) else [err]
    return found


def say(text: str) -> None:
    """A line for a person, at once."""
    print(text, flush=True)


def report(what: str, text: str) -> None:
    """A line of the opening report."""
    say(f"  {what:<10} {text}")

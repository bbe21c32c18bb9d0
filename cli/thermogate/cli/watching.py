"""`--watch` and `--json`, the same for every command that shows a state."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from thermogate.cli import asking, render

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--watch` and `--json`."""
    parser.add_argument("--watch", action="store_true", help="show again every --interval seconds")
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds (default 1)")
    parser.add_argument("--json", action="store_true", help="JSON for programs")


async def watch(
    args: argparse.Namespace,
    ask: Callable[[asking.Asked], Awaitable[T]],
    text: Callable[[T], str],
) -> int:
    """Ask and show once, or until interrupted."""
    async with asking.answers(args) as answers:
        while True:
            answer = await ask(answers)
            shown = render.json_text(answer) if args.json else text(answer)
            if not args.watch:
                render.show(shown)
                return 0
            render.repaint(shown)
            await asyncio.sleep(args.interval)

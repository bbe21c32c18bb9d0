"""`thermogate events`: what began and ended, newest first."""

import argparse
import asyncio
from collections.abc import Sequence

from thermogate.cli import asking, render, watching
from thermogate.core.model import Event


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("events", help="show what began and ended")
    parser.add_argument("--node", help="of this node only")
    parser.add_argument("--limit", type=int, default=100, metavar="N")
    asking.add_range(parser, start="-24h")
    asking.add_arguments(parser)
    watching.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the events."""

    async def ask(answers: asking.Asked) -> list[Event]:
        start_ns, end_ns = asking.time_range(args)
        return await answers.events(start_ns=start_ns, end_ns=end_ns, node=args.node, limit=args.limit)

    return asyncio.run(watching.watch(args, ask, _text))


def _text(events: Sequence[Event]) -> str:
    if not events:
        return "no events in this range"
    return render.table(("TIME", "NODE", "EVENT", "WHAT"), [_cells(event) for event in events])


def _cells(event: Event) -> tuple[str, ...]:
    node = render.node(event.node, event.origin)
    return (render.local_time(event.time_ns), node, event.event, event.text)

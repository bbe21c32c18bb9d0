"""`thermogate top FIELD`: devices ranked by a field over a range."""

import argparse
import asyncio
from collections.abc import Sequence

from thermogate.cli import asking, render, watching
from thermogate.core.query import Ranked


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("top", help="rank devices by a field over time")
    parser.add_argument("field", help="such as temp_c, power_w or rle; docs/metrics.md has them all")
    parser.add_argument("--kind", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--by", choices=("mean", "min", "max"), default="mean")
    parser.add_argument("--smallest", action="store_true", help="smallest first")
    parser.add_argument("--limit", type=int, default=20, metavar="N")
    asking.add_range(parser, start="-1h")
    asking.add_arguments(parser)
    watching.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the ranking."""

    async def ask(answers: asking.Asked) -> list[Ranked]:
        start_ns, end_ns = asking.time_range(args)
        return await answers.top(
            args.kind,
            args.field,
            start_ns=start_ns,
            end_ns=end_ns,
            limit=args.limit,
            by=args.by,
            largest=not args.smallest,
        )

    def text(answer: Sequence[Ranked]) -> str:
        if not answer:
            return f"no {args.kind} sent {args.field} in this range"
        rows = [(r.device.node, f"{r.device.kind}{r.device.device}", f"{r.value:.4g}") for r in answer]
        return render.table(("NODE", "DEVICE", f"{args.by.upper()} {args.field}"), rows)

    return asyncio.run(watching.watch(args, ask, text))

"""`thermogate series NODE DEVICE FIELD...`: fields of a device over time."""

import argparse
import asyncio
from collections.abc import Sequence

from thermogate.cli import asking, render, watching
from thermogate.core.clock import NS
from thermogate.core.query import Series
from thermogate.dashboard.answers import parse_device


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("series", help="show fields of a device over time")
    parser.add_argument("node")
    parser.add_argument("device", help="such as gpu0")
    parser.add_argument(
        "fields",
        nargs="+",
        metavar="FIELD",
        help="such as power_w temp_c rle, or a signal such as volatility or overload; docs/metrics.md",
    )
    parser.add_argument(
        "--step", type=float, metavar="S", help="seconds a row (default: about 600 rows in all)"
    )
    asking.add_range(parser, start="-15m")
    asking.add_arguments(parser)
    watching.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print mean, min and max of each step."""
    device = parse_device(args.node, args.device)

    async def ask(answers: asking.Asked) -> list[Series]:
        start_ns, end_ns = asking.time_range(args)
        step_ns = None if args.step is None else max(1, round(args.step * NS))
        return await answers.series(
            device, tuple(args.fields), start_ns=start_ns, end_ns=end_ns, step_ns=step_ns
        )

    return asyncio.run(watching.watch(args, ask, _text))


def _text(answer: Sequence[Series]) -> str:
    if not answer:
        return "no samples of these fields in this range"
    rows = [
        (
            render.local_time(point.time_ns),
            series.field,
            f"{point.mean:.4g}",
            f"{point.min:.4g}",
            f"{point.max:.4g}",
            str(point.count),
        )
        for series in answer
        for point in series.points
    ]
    return render.table(("TIME", "FIELD", "MEAN", "MIN", "MAX", "SAMPLES"), rows)

"""`thermogate export`: every sample of a range as CSV."""

import argparse
import asyncio
import sys
from pathlib import Path

from thermogate.cli import asking


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("export", help="write samples as CSV")
    parser.add_argument("--node", help="of this node only")
    parser.add_argument("--device", help="of this device only, such as gpu0")
    parser.add_argument("--format", choices=("csv",), default="csv")
    parser.add_argument("--out", type=Path, help="a file (default: standard output)")
    asking.add_range(parser, start=None)
    asking.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write a header, then a row a sample, oldest first within each device."""
    asyncio.run(_export(args))
    return 0


async def _export(args: argparse.Namespace) -> None:
    start_ns, end_ns = asking.time_range(args)
    out = args.out.open("w", encoding="utf-8", newline="") if args.out else sys.stdout
    try:
        async with asking.answers(args) as answers:
            async for chunk in answers.export(
                node=args.node, device=args.device, start_ns=start_ns, end_ns=end_ns
            ):
                out.write(chunk)
    finally:
        out.flush()
        if args.out:
            out.close()

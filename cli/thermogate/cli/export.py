"""`thermogate export`: every sample of a range as CSV or Parquet."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TextIO

from thermogate.cli import asking
from thermogate.core.errors import ConfigError, UnavailableError


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("export", help="write samples as CSV or Parquet")
    parser.add_argument("--node", help="of this node only")
    parser.add_argument("--device", help="of this device only, such as gpu0")
    parser.add_argument(
        "--format", choices=("csv", "parquet"), help="default: parquet for a file named so, else csv"
    )
    parser.add_argument("--out", type=Path, help="a file (default: standard output; Parquet needs one)")
    asking.add_range(parser, start=None)
    asking.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write a row a sample, oldest first within each device."""
    named = "parquet" if args.out and args.out.suffix == ".parquet" else "csv"
    asyncio.run(_parquet(args) if (args.format or named) == "parquet" else _csv(args))
    return 0


async def _csv(args: argparse.Namespace) -> None:
    if not args.out:
        await _write(args, sys.stdout)
        return
    try:
        with args.out.open("w", encoding="utf-8", newline="") as out:
            await _write(args, out)
    except OSError as err:
        raise UnavailableError(f"{args.out}: cannot be written: {err.strerror}") from err


async def _write(args: argparse.Namespace, out: TextIO) -> None:
    try:
        async with asking.answers(args) as answers:
            async for chunk in _pieces(args, answers):
                out.write(chunk)
    finally:
        out.flush()


async def _parquet(args: argparse.Namespace) -> None:
    if args.out is None:
        raise ConfigError("--format parquet: name a file with --out")
    try:
        from thermogate.cli.parquet import ParquetWriter  # needs DuckDB, which a node that only asks lacks
    except ModuleNotFoundError as err:
        raise UnavailableError(
            f"Parquet needs the package {err.name}: pip install 'thermogate[collector]'"
        ) from err
    async with asking.answers(args) as answers:
        with ParquetWriter(args.out) as writer:
            async for chunk in _pieces(args, answers):
                writer.write(chunk)


def _pieces(args: argparse.Namespace, answers: asking.Asked) -> AsyncIterator[str]:
    start_ns, end_ns = asking.time_range(args)
    return answers.export(node=args.node, device=args.device, start_ns=start_ns, end_ns=end_ns)

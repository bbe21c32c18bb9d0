"""`thermogate collector setup`: databases, buckets and retention in the store, made or changed."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

from thermogate.cli import service, settings
from thermogate.collector.config import CollectorSettings
from thermogate.collector.store.setting_up import Wish
from thermogate.collector.store.setup import setup
from thermogate.core import logs
from thermogate.core.clock import SystemClock


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", stores: tuple[str, ...]
) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "setup",
        help="make databases, buckets and retention in the store",
        description="Makes what the store lacks, changes a retention that differs from collector.retention,"
        " and says so, a line each. Again, it finds everything there. Users and tokens are not made.",
    )
    # no defaults: they would replace what was given before the word `setup`
    given: dict[str, Any] = {"default": argparse.SUPPRESS}
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML", **given)
    parser.add_argument("--store", choices=stores, help="which store (default embedded)", **given)
    parser.add_argument("--influx", metavar="URL", help="InfluxDB; implies --store influx", **given)
    parser.add_argument(
        "--victoria", metavar="URL", help="VictoriaMetrics; implies --store victoria", **given
    )
    parser.add_argument("--set", action="append", dest="sets", metavar="KEY=VALUE", help="a setting", **given)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument(
        "--shrink", action="store_true", help="also shorten a retention, which deletes what is older"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """A line for each thing that the store needs; 0 also where one was left as it is."""
    loaded = settings.load(
        args,
        collector__store="victoria" if args.victoria else "influx" if args.influx else args.store,
        collector__influx__url=args.influx,
        collector__victoria__url=args.victoria,
    )
    logs.setup(loaded.log_level or "WARNING")
    asyncio.run(_main(loaded.collector, Wish(dry_run=args.dry_run, shrink=args.shrink)))
    return 0


async def _main(collector: CollectorSettings, wish: Wish) -> None:
    async for step in setup(collector, wish, SystemClock()):
        would = wish.dry_run and step.did in ("made", "changed")
        service.say(f"  {'would be ' + step.did if would else step.did:<17} {step.what}")

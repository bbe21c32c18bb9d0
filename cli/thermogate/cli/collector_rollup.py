"""`thermogate collector rollup`: windows of a time made anew."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

from thermogate.cli import service, settings
from thermogate.cli.settings import ThermogateSettings
from thermogate.collector.app import make_store
from thermogate.collector.rollup_hand import roll_up_again
from thermogate.collector.store.base import RollsUp
from thermogate.collector.store.resolution import kept_by
from thermogate.core import logs
from thermogate.core.clock import SystemClock
from thermogate.core.errors import ConfigError
from thermogate.dashboard.times import format_time, parse_time


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", stores: tuple[str, ...]
) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "rollup",
        help="make the windows of a time anew from its samples",
        description="Collectors do this by themselves. By hand it is for samples that were written past them,"
        " or after a power failure. It may be repeated, and run beside collectors that use the same InfluxDB;"
        " the embedded store is open in one process only, so its collector has to be stopped.",
    )
    # no defaults: they would replace what was given before the word `rollup`
    given: dict[str, Any] = {"default": argparse.SUPPRESS}
    parser.add_argument(
        "--from", dest="start", required=True, metavar="T", help="such as 2d or 2025-11-21T08:00Z"
    )
    parser.add_argument("--to", dest="end", default="now", metavar="T", help="default: now")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML", **given)
    parser.add_argument("--set", action="append", dest="sets", metavar="KEY=VALUE", help="a setting", **given)
    parser.add_argument("--store", choices=stores, help="which store (default embedded)", **given)
    parser.add_argument("--influx", metavar="URL", help="InfluxDB; implies --store influx", **given)
    parser.add_argument("--data-dir", metavar="DIR", help="of the embedded store's collector", **given)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """A line for each hour of minutes, and for each hour."""
    loaded = settings.load(
        args,
        collector__store="influx" if args.influx else args.store,
        collector__influx__url=args.influx,
    )
    logs.setup(loaded.log_level or "WARNING")
    now_ns = SystemClock().utc_ns()
    span = parse_time(args.start, now_ns), parse_time(args.end, now_ns)
    asyncio.run(_main(loaded, *span, now_ns))
    return 0


async def _main(loaded: ThermogateSettings, start_ns: int, end_ns: int, now_ns: int) -> None:
    collector = loaded.collector
    async with make_store(collector, settings.data_dir(loaded), SystemClock()) as store:
        if not isinstance(store, RollsUp):
            raise ConfigError(f"collector.store {collector.store} keeps no windows")
        kept = kept_by(collector.retention)
        async for resolution, (first_ns, last_ns) in roll_up_again(store, start_ns, end_ns, kept, now_ns):
            service.say(f"  {resolution}  {format_time(first_ns)[:16]} to {format_time(last_ns)[:16]} UTC")

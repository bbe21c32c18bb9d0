"""`thermogate collector`: what agents publish into a store, and answers from it over HTTP."""

import argparse
import asyncio
from pathlib import Path

from thermogate.cli import rundir, service, serving, settings
from thermogate.cli.settings import ThermogateSettings
from thermogate.collector.app import Collector, make_store
from thermogate.core import logs
from thermogate.core.clock import SystemClock
from thermogate.dashboard.app import Dashboard


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("collector", help="store what agents publish; serve queries and the page")
    settings.add_arguments(parser)
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    parser.add_argument("--store", choices=("embedded", "influx"), help="where to write (default embedded)")
    parser.add_argument("--influx", metavar="URL", help="InfluxDB, http://HOST:8086; implies --store influx")
    parser.add_argument("--listen", metavar="HOST:PORT", help="page and API (default 127.0.0.1:8420)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, Ctrl-C or --for."""
    loaded = settings.load(
        args,
        mqtt__url=args.broker,
        collector__store="influx" if args.influx else args.store,
        collector__influx__url=args.influx,
        dashboard__listen=args.listen,
    )
    logs.setup(loaded.log_level or "INFO")
    folder = settings.data_dir(loaded)
    with rundir.held(folder):
        return service.serve(lambda stop: _main(loaded, folder, stop), for_s=settings.for_s(args))


async def _main(loaded: ThermogateSettings, folder: Path, stop: asyncio.Event) -> None:
    clock = SystemClock()
    async with make_store(loaded.collector, folder, clock) as store:
        service.report("store", store.description)
        service.report("broker", loaded.mqtt.url)
        collector = Collector(store, loaded.collector, loaded.mqtt, folder, clock)
        answers = serving.answers(loaded, store, collector, loaded.mqtt, clock)
        async with Dashboard(answers, loaded.dashboard) as dashboard, asyncio.TaskGroup() as parts:
            rundir.announce(folder, dashboard.url, loaded.mqtt.url)
            service.report("page", dashboard.url)
            polling = parts.create_task(dashboard.run())
            await collector.run(stop)
            polling.cancel()

"""`thermogate collector`: what agents publish into a store, and answers from it over HTTP."""

import argparse
import asyncio
import faulthandler
import os
from pathlib import Path

from thermogate.cli import (
    collector_requeue,
    collector_rollup,
    collector_setup,
    notify,
    rundir,
    service,
    serving,
    settings,
)
from thermogate.cli.settings import ThermogateSettings
from thermogate.collector.app import Collector, make_store
from thermogate.core import __version__, logs
from thermogate.core.clock import SystemClock
from thermogate.dashboard.app import Dashboard

_BEAT_S = 1.0
"""Between two signs of life to systemd."""


STORES = ("embedded", "influx", "victoria")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("collector", help="store what agents publish; serve queries and the page")
    settings.add_arguments(parser)
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    parser.add_argument("--store", choices=STORES, help="where to write (default embedded)")
    parser.add_argument("--influx", metavar="URL", help="InfluxDB, http://HOST:8086; implies --store influx")
    parser.add_argument(
        "--victoria", metavar="URL", help="VictoriaMetrics, http://HOST:8428; implies --store victoria"
    )
    parser.add_argument("--listen", metavar="HOST:PORT", help="page and API (default 127.0.0.1:8420)")
    parser.set_defaults(run=run)
    commands = parser.add_subparsers(metavar="", title="before and beside the running collector")
    collector_setup.add_parser(commands, STORES)
    collector_requeue.add_parsers(commands)
    collector_rollup.add_parser(commands, STORES)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, Ctrl-C or --for."""
    loaded = settings.load(
        args,
        mqtt__url=args.broker,
        collector__store="victoria" if args.victoria else "influx" if args.influx else args.store,
        collector__influx__url=args.influx,
        collector__victoria__url=args.victoria,
        dashboard__listen=args.listen,
    )
    logs.setup(loaded.log_level or "INFO", journal=notify.to_journal(os.environ))
    faulthandler.enable()  # where every thread is, when the watchdog ends a process that hangs
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
            systemd = notify.SystemdNotifier(
                os.environ, clock, status=lambda: _doing(collector), period_s=_BEAT_S
            )
            polling = parts.create_task(dashboard.run())
            pushing = parts.create_task(serving.push_metrics(loaded, answers))
            beating = parts.create_task(systemd.beat())
            telling = parts.create_task(systemd.stopping_at(stop, "storing what has come"))
            await collector.run(stop)
            beating.cancel()
            telling.cancel()
            polling.cancel()
            pushing.cancel()


def _doing(collector: Collector) -> str:
    """One line for `systemctl status`."""
    counters = collector.counters
    parts = [f"{counters.samples:,} samples stored"]
    if counters.quarantined:
        parts.append(f"{counters.quarantined:,} messages refused")
    if counters.flooding:
        parts.append(f"{counters.flooding} nodes send too many messages")
    return f"{__version__}: " + "; ".join((*parts, *collector.problems))

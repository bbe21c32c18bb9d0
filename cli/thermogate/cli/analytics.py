"""`thermogate analytics`: gate decisions from what agents publish."""

import argparse
import asyncio
import faulthandler
import os

from thermogate.analytics.app import Analytics
from thermogate.cli import gating, notify, service, settings
from thermogate.cli.past import RemotePast
from thermogate.cli.remote import Remote
from thermogate.cli.settings import ThermogateSettings
from thermogate.core import __version__, logs
from thermogate.core.clock import Clock, SystemClock
from thermogate.core.config import first_line

_BEAT_S = 1.0
"""Between two signs of life to systemd."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("analytics", help="decide what schedulers should do")
    settings.add_arguments(parser)
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, Ctrl-C or --for."""
    loaded = settings.load(args, mqtt__url=args.broker)
    logs.setup(loaded.log_level or "INFO", journal=notify.to_journal(os.environ))
    faulthandler.enable()  # where every thread is, when the watchdog ends a process that hangs
    service.report("broker", loaded.mqtt.url)
    shard = f", shard {loaded.analytics.shard}" if loaded.analytics.part[1] > 1 else ""
    service.report("gate", f"{gating.modes(loaded)}{shard}")
    folder = settings.data_dir(loaded)
    clock = SystemClock()
    with gating.analytics(loaded, loaded.mqtt, folder, _past(loaded), clock) as gate:
        return service.serve(lambda stop: _main(loaded, gate, clock, stop), for_s=settings.for_s(args))


def _past(loaded: ThermogateSettings) -> RemotePast | None:
    recall = loaded.analytics.recall
    if not recall.url:
        return None
    token = first_line(recall.token_file, "analytics.recall.token_file") if recall.token_file else None
    return RemotePast(Remote(recall.url, token, recall.ca_file or None))


async def _main(loaded: ThermogateSettings, analytics: Analytics, clock: Clock, stop: asyncio.Event) -> None:
    systemd = notify.SystemdNotifier(
        os.environ, clock, status=lambda: _doing(loaded, analytics), period_s=_BEAT_S
    )
    async with asyncio.TaskGroup() as parts:
        beating = parts.create_task(systemd.beat())
        telling = parts.create_task(systemd.stopping_at(stop, "its decisions stay until they expire"))
        await analytics.run(stop)
        beating.cancel()
        telling.cancel()


def _doing(loaded: ThermogateSettings, analytics: Analytics) -> str:
    """One line for `systemctl status`."""
    settings, counters = loaded.analytics, analytics.counters
    parts = [f"shard {settings.shard}", f"{analytics.node_count} nodes", f"{analytics.held_count} held"]
    parts.append(f"{counters['decision_count']} decisions")
    return f"{__version__}: " + "; ".join((*parts, *analytics.problems))

"""`thermogate agent`: this node's sensors to a broker, through a spool on disk."""

import argparse
import asyncio
import faulthandler
import os
from collections import Counter
from pathlib import Path

from thermogate.agent.app import Agent
from thermogate.agent.feed import Feed
from thermogate.agent.jobs import Jobs
from thermogate.agent.spool import Spool
from thermogate.cli import installing, live, notify, rundir, service, settings
from thermogate.cli.settings import ThermogateSettings
from thermogate.core import __version__, logs
from thermogate.core.clock import SystemClock


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("agent", help="sample this node's sensors and publish them")
    settings.add_arguments(parser)
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    parser.add_argument("--node", help="name of this node (default: its host name)")
    parser.set_defaults(run=run)
    installing.add_parsers(parser.add_subparsers(metavar="", title="as a service of this machine"))


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, Ctrl-C or --for."""
    loaded = settings.load(args, mqtt__url=args.broker, agent__node=args.node)
    logs.setup(loaded.log_level or "INFO", journal=notify.to_journal(os.environ))
    faulthandler.enable()  # where every thread is, when the watchdog ends a process that hangs
    folder = settings.data_dir(loaded)
    with rundir.held(folder):
        return service.serve(lambda stop: _main(loaded, folder, stop), for_s=settings.for_s(args))


async def _main(loaded: ThermogateSettings, folder: Path, stop: asyncio.Event) -> None:
    clock = SystemClock()
    sensors = live.sampler(loaded.agent, clock)
    await sensors.open()
    for found in sensors.reports():
        service.report(found.source, found.text)
    service.report("broker", loaded.mqtt.url)
    with Spool(folder / "spool" / sensors.node, loaded.agent.spool, clock) as spool:
        systemd = notify.SystemdNotifier(
            os.environ, clock, status=lambda: _doing(sensors, agent), period_s=loaded.agent.period_s
        )
        file = folder / "jobs" / f"{sensors.node}.json"
        jobs = Jobs(sensors.node, loaded.agent.jobs, loaded.agent.host, file, clock)
        agent = Agent(
            sensors,
            spool,
            loaded.agent,
            loaded.mqtt,
            clock,
            jobs=jobs,
            budget=loaded.agent.budget,
            heartbeat=systemd.alive,
        )
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(systemd.stopping_at(stop))
            await agent.run(stop)
            telling.cancel()


def _doing(feed: Feed, agent: Agent) -> str:
    """One line for `systemctl status`."""
    counts = Counter(device.kind for device in feed.devices())
    devices = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "no device"
    waiting = f"{agent.spool_depth} in the spool"
    return f"{__version__}: " + "; ".join((f"sampling {devices}", waiting, *agent.problems))

"""`thermogate agent`: this node's sensors to a broker, through a spool on disk."""

import argparse
import asyncio
from pathlib import Path

from thermogate.agent.app import Agent
from thermogate.agent.spool import Spool
from thermogate.cli import live, rundir, service, settings
from thermogate.cli.settings import ThermogateSettings
from thermogate.core import logs
from thermogate.core.clock import SystemClock


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("agent", help="sample this node's sensors and publish them")
    settings.add_arguments(parser)
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    parser.add_argument("--node", help="name of this node (default: its host name)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, Ctrl-C or --for."""
    loaded = settings.load(args, mqtt__url=args.broker, agent__node=args.node)
    logs.setup(loaded.log_level or "INFO")
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
        await Agent(sensors, spool, loaded.agent, loaded.mqtt, clock).run(stop)

"""`thermogate power-cap`: the gate's pace for this node as a power limit of its GPUs."""

import argparse
import asyncio
import faulthandler
import os
import socket

from thermogate.cli import notify, rundir, service, settings
from thermogate.cli.settings import ThermogateSettings
from thermogate.core import __version__, logs
from thermogate.core.clock import SystemClock
from thermogate.core.wire import to_name
from thermogate.schedulers.power_caps.app import PowerCapApp

_BEAT_S = 1.0
"""Between two signs of life to systemd."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("power-cap", help="the gate's pace as a power limit of this node's GPUs")
    settings.add_arguments(parser)
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    parser.add_argument("--node", help="name of this node (default: agent.node, else its host name)")
    parser.set_defaults(run=run)
    more = parser.add_subparsers(metavar="")
    restore = more.add_parser("restore", help="restore what a run that was killed has left, and end")
    settings.add_arguments(restore, runs=False)
    restore.set_defaults(run=_restore, broker=None, node=None)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, Ctrl-C or --for; then restore every limit."""
    loaded = settings.load(args, mqtt__url=args.broker, schedulers__power_caps__node=args.node)
    logs.setup(loaded.log_level or "INFO", journal=notify.to_journal(os.environ))
    faulthandler.enable()  # where every thread is, when the watchdog ends a process that hangs
    folder = settings.data_dir(loaded)
    with rundir.held(folder):
        return service.serve(lambda stop: _main(loaded, stop), for_s=settings.for_s(args))


def _restore(args: argparse.Namespace) -> int:
    os.environ.pop("CREDENTIALS_DIRECTORY", None)  # systemd has taken them away when this runs after a kill
    loaded = settings.load(args)
    logs.setup(loaded.log_level or "INFO", journal=notify.to_journal(os.environ))
    with rundir.held(settings.data_dir(loaded)):
        service.say(asyncio.run(_app(loaded).restore()))
    return 0


def _app(loaded: ThermogateSettings) -> PowerCapApp:
    return PowerCapApp(
        loaded.schedulers.power_caps,
        loaded.schedulers.watch,
        loaded.mqtt,
        _node(loaded),
        settings.data_dir(loaded),
        SystemClock(),
        dry_run=loaded.schedulers.dry_run,
    )


def _node(loaded: ThermogateSettings) -> str:
    """As the agent of this machine is called, if it is not said otherwise."""
    return to_name(loaded.schedulers.power_caps.node or loaded.agent.node or socket.gethostname())


async def _main(loaded: ThermogateSettings, stop: asyncio.Event) -> None:
    clock = SystemClock()
    app = _app(loaded)
    service.report("node", _node(loaded))
    service.report("broker", loaded.mqtt.url)
    service.report(
        "power cap", "dry run: says what it would set" if loaded.schedulers.dry_run else "sets limits"
    )
    for text in await app.report():
        service.report("gpus", text)
    systemd = notify.SystemdNotifier(os.environ, clock, status=lambda: _doing(loaded, app), period_s=_BEAT_S)
    async with asyncio.TaskGroup() as parts:
        beating = parts.create_task(systemd.beat())
        telling = parts.create_task(systemd.stopping_at(stop, "restoring power limits"))
        await app.run(stop)
        beating.cancel()
        telling.cancel()


def _doing(loaded: ThermogateSettings, app: PowerCapApp) -> str:
    """One line for `systemctl status`."""
    mode = "dry run" if loaded.schedulers.dry_run else "sets limits"
    capped = f"{app.capped_count} GPUs capped" if app.capped_count else "no GPU capped"
    return f"{__version__}: " + "; ".join(filter(None, (mode, capped, app.problem)))

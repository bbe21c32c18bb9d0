"""`thermogate slurm`: Slurm obeys the gate, nodes are drained and jobs held; and how to undo all of it."""

import argparse
import asyncio
import faulthandler
import os

from thermogate.cli import notify, service, settings
from thermogate.cli.settings import ThermogateSettings
from thermogate.core import __version__, logs
from thermogate.core.clock import SystemClock
from thermogate.schedulers.slurm.app import SlurmApp

_BEAT_S = 1.0
"""Between two signs of life to systemd."""
_UNDO_S = 120.0
"""How long --undo-all waits for jobs that are on their way back into the queue, and for the controller."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("slurm", help="have Slurm obey the gate: drain nodes, hold jobs")
    settings.add_arguments(parser)
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    parser.add_argument(
        "--enforce",
        action="store_true",
        help="act; without it, and in a dry run, only say what would be done",
    )
    parser.add_argument(
        "--undo-all",
        action="store_true",
        help="give back every drain, hold and suspension that thermogate has set, and exit",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, Ctrl-C or --for; or undo everything once."""
    dry_run = "false" if args.enforce else None
    loaded = settings.load(args, mqtt__url=args.broker, schedulers__dry_run=dry_run)
    logs.setup(loaded.log_level or "INFO", journal=notify.to_journal(os.environ))
    if args.undo_all:
        return _undo_all(loaded)
    faulthandler.enable()  # where every thread is, when the watchdog ends a process that hangs
    service.report("broker", loaded.mqtt.url)
    doing = "dry run: nothing is changed" if loaded.schedulers.dry_run else "decisions are obeyed"
    service.report("slurm", f"{loaded.schedulers.slurm.conf or 'its own slurm.conf'}, {doing}")
    return service.serve(lambda stop: _main(loaded, stop), for_s=settings.for_s(args))


def _undo_all(loaded: ThermogateSettings) -> int:
    done = asyncio.run(_app(loaded).undo_all(_UNDO_S))
    for command in done:
        service.say(command)
    service.say(f"undone: {len(done)} commands" if done else "nothing of thermogate's is set in Slurm")
    return 0


async def _main(loaded: ThermogateSettings, stop: asyncio.Event) -> None:
    app = _app(loaded)
    clock = SystemClock()
    systemd = notify.SystemdNotifier(os.environ, clock, status=lambda: _doing(loaded, app), period_s=_BEAT_S)
    goodbye = "what is held stays held until it starts again, or until `thermogate slurm --undo-all`"
    async with asyncio.TaskGroup() as parts:
        beating = parts.create_task(systemd.beat())
        telling = parts.create_task(systemd.stopping_at(stop, goodbye))
        await app.run(stop)
        beating.cancel()
        telling.cancel()


def _app(loaded: ThermogateSettings) -> SlurmApp:
    asked = loaded.schedulers
    return SlurmApp(
        asked.slurm,
        asked.watch,
        asked.obey,
        loaded.mqtt,
        settings.data_dir(loaded),
        SystemClock(),
        dry_run=asked.dry_run,
    )


def _doing(loaded: ThermogateSettings, app: SlurmApp) -> str:
    """One line for `systemctl status`."""
    mode = "dry run" if loaded.schedulers.dry_run else "enforce"
    parts = [mode, f"{app.target_count} targets with something of ours"]
    return f"{__version__}: " + "; ".join((*parts, app.problem) if app.problem else parts)

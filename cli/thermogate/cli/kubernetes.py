"""`thermogate kubernetes`: nodes are tainted and jobs suspended as the gate decides."""

import argparse
import asyncio
import faulthandler
import os

from thermogate.cli import notify, rundir, service, settings
from thermogate.cli.settings import ThermogateSettings
from thermogate.core import __version__, logs
from thermogate.core.clock import SystemClock
from thermogate.schedulers.kubernetes.app import KubernetesApp

_BEAT_S = 1.0
"""Between two signs of life to systemd."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("kubernetes", help="taint nodes and suspend jobs as the gate decides")
    settings.add_arguments(parser)
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    parser.add_argument("--kubeconfig", metavar="FILE", help="default: the service account of this pod")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, Ctrl-C or --for; what is set stays set over a restart."""
    given = {"mqtt__url": args.broker, "schedulers__kubernetes__kubeconfig": args.kubeconfig}
    loaded = settings.load(args, **given)
    logs.setup(loaded.log_level or "INFO", journal=notify.to_journal(os.environ))
    faulthandler.enable()  # where every thread is, when the watchdog ends a process that hangs
    with rundir.held(settings.data_dir(loaded)):
        return service.serve(lambda stop: _main(loaded, stop), for_s=settings.for_s(args))


async def _main(loaded: ThermogateSettings, stop: asyncio.Event) -> None:
    clock = SystemClock()
    parts = loaded.schedulers
    app = KubernetesApp(
        parts.kubernetes,
        parts.watch,
        parts.obey,
        loaded.mqtt,
        settings.data_dir(loaded),
        clock,
        dry_run=parts.dry_run,
    )
    service.report("api server", app.open())
    service.report("broker", loaded.mqtt.url)
    service.report("kubernetes", "dry run: says what it would do" if parts.dry_run else "obeys")
    systemd = notify.SystemdNotifier(os.environ, clock, status=lambda: _doing(loaded, app), period_s=_BEAT_S)
    async with asyncio.TaskGroup() as group:
        beating = group.create_task(systemd.beat())
        telling = group.create_task(systemd.stopping_at(stop, "what it has set stays set"))
        await app.run(stop)
        beating.cancel()
        telling.cancel()


def _doing(loaded: ThermogateSettings, app: KubernetesApp) -> str:
    """One line for `systemctl status`."""
    mode = "dry run" if loaded.schedulers.dry_run else "obeys"
    return f"{__version__}: " + "; ".join(filter(None, (mode, f"{app.held_count} held", app.problem)))

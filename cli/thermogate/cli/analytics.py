"""`thermogate analytics`: gate decisions from what agents publish."""

import argparse

from thermogate.analytics.app import Analytics
from thermogate.cli import service, settings
from thermogate.core import logs
from thermogate.core.clock import SystemClock


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("analytics", help="decide what schedulers should do")
    settings.add_arguments(parser)
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, Ctrl-C or --for."""
    loaded = settings.load(args, mqtt__url=args.broker)
    logs.setup(loaded.log_level or "INFO")
    service.report("broker", loaded.mqtt.url)
    service.report("gate", f"policy thermal, {loaded.analytics.gate.mode}")
    analytics = Analytics(loaded.analytics, loaded.mqtt, SystemClock())
    return service.serve(analytics.run, for_s=settings.for_s(args))

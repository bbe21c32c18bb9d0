"""`thermogate`: one command, whose parts are imported only when they are asked for.

A node that installs only the agent has no web framework, so nothing here may import one.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from thermogate.core import __version__
from thermogate.core.errors import ConfigError, ThermogateError

EXIT_OK, EXIT_FAILED, EXIT_CONFIG = 0, 1, 78

COMMANDS = {
    "up": "run everything on this machine: broker, agent, collector, analytics, page",
    "agent": "sample this node's sensors and publish them",
    "collector": "store what agents publish; serve queries and the page",
    "analytics": "decide what schedulers should do, from what agents publish",
    "slurm": "have Slurm obey the gate: drain nodes, hold jobs",
    "kubernetes": "taint nodes and suspend jobs as the gate decides",
    "power-cap": "the gate's pace as a power limit of this node's GPUs",
    "fleet": "show every device now, what needs a person first",
    "series": "show fields of a device over time",
    "top": "rank devices by a field over time",
    "events": "show what began and ended",
    "jobs": "show what jobs used and how their devices fared",
    "gates": "show gate decisions with their reasons",
    "gate": "say what the gate has to decide: hold, repair, run, maintain; with a reason and an end",
    "explain": "show why a target is held, or is not, and what releases it",
    "export": "write samples as CSV or Parquet",
    "audit": "check the log of every decision, and make decisions again from their inputs",
    "keys": "keys that sign decisions and overrides: make, trust, rotate, revoke",
    "tokens": "who may ask the HTTP API: create, list, revoke",
    "sub": "show what passes on the broker",
    "run": "run a program that waits, checkpoints and stops as the gate says",
    "replay": "compute RLE of a recorded session, row by row",
    "simulate": "play recorded traces as a fleet of nodes",
    "verify": "compare what a simulated fleet generated with what is stored, sample by sample",
    "doctor": "check this node's agent, and say cause and cure",
}


_EXTRAS = {
    "agent": "agent",
    "doctor": "agent",
    "collector": "collector,dashboard",
    "tokens": "collector,dashboard",
    "analytics": "analytics",
    "audit": "analytics",
    "gate": "analytics",
    "keys": "analytics",
    "run": "schedulers",
    "slurm": "schedulers",
    "kubernetes": "schedulers,kubernetes",
    "power-cap": "schedulers,power-cap",
}
"""What to install for a command whose packages are missing; for the others it is `up`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit status: 0 ok, 1 failed, 78 bad configuration."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = _parser(arguments).parse_args(arguments)
    try:
        return int(args.run(args))
    except ConfigError as err:
        return _fail(err, EXIT_CONFIG)
    except ThermogateError as err:
        return _fail(err, EXIT_FAILED)
    except BrokenPipeError:  # the reader of our output, such as head, has had enough
        sys.stderr.close()
        return EXIT_OK
    except KeyboardInterrupt:
        return 130


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thermogate",
        description="Thermal telemetry at 1 Hz for training clusters, and gate decisions from it.",
    )
    parser.add_argument("--version", action="version", version=f"thermogate {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, what in COMMANDS.items():
        if name == asked:
            _import(name).add_parser(commands)
        else:
            commands.add_parser(name, help=what)
    return parser


def _import(command: str) -> ModuleType:
    try:
        return importlib.import_module(f"thermogate.cli.{command.replace('-', '')}")
    except ModuleNotFoundError as err:
        if (err.name or "").startswith("thermogate."):
            raise
        extra = _EXTRAS.get(command, "up")
        print(
            f"thermogate {command}: needs the package {err.name}: pip install 'thermogate[{extra}]'",
            file=sys.stderr,
        )
        raise SystemExit(EXIT_FAILED) from err


def _fail(err: ThermogateError, code: int) -> int:
    print(f"thermogate: {err}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

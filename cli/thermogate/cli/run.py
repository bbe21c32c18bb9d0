"""`thermogate run`: run a program that waits, checkpoints and stops as the gate says."""

import argparse
import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import get_args

import msgspec

from thermogate.cli import credentials, rundir
from thermogate.core import logs
from thermogate.core.clock import SystemClock
from thermogate.core.errors import ConfigError
from thermogate.core.mqtt import MqttSettings
from thermogate.schedulers import configured
from thermogate.schedulers.configured import Configured
from thermogate.schedulers.process.options import OnHold, RunOptions
from thermogate.schedulers.process.runner import Runner
from thermogate.schedulers.standing import parse_target
from thermogate.schedulers.watch import GateWatch

_DEFAULTS = RunOptions(command=(), gates=())


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser(
        "run",
        help="run a program that waits, checkpoints and stops as the gate says",
        usage="thermogate run --gate job/NAME [--gate node/NAME] [options] -- COMMAND [ARGUMENT ...]",
        description="Its exit code is the program's, or 128 and the number of the signal that ended it; 127: "
        "there is no such program; 126: it cannot be executed.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="sets",
        metavar="KEY=VALUE",
        help="a setting, such as schedulers.watch.trust_file=FILE",
    )
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    parser.add_argument(
        "--gate",
        action="append",
        required=True,
        metavar="KIND/NAME",
        help="whose decisions to obey; may come again",
    )
    parser.add_argument(
        "--on-hold",
        choices=get_args(OnHold),
        default=_DEFAULTS.on_hold,
        help="stop: SIGSTOP, and SIGCONT on release; term: SIGTERM; wait: what runs goes on (default: stop)",
    )
    parser.add_argument(
        "--checkpoint-signal",
        default="USR1",
        metavar="NAME",
        help="told before, to processes that handle it; none: nobody (default: USR1)",
    )
    parser.add_argument(
        "--checkpoint-s",
        type=float,
        default=_DEFAULTS.checkpoint_s,
        metavar="S",
        help="time for the checkpoint (default: %(default)g)",
    )
    parser.add_argument(
        "--kill-after-s",
        type=float,
        default=_DEFAULTS.kill_after_s,
        metavar="S",
        help="from SIGTERM to SIGKILL (default: %(default)g)",
    )
    parser.add_argument(
        "--restart", action="store_true", help="with --on-hold term: start it again on release"
    )
    parser.add_argument(
        "--pace-env",
        action="store_true",
        help="tell the pace in the JSON file that THERMOGATE_PACE_FILE names",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it; its exit code."""
    options = _options(args)
    return asyncio.run(_main(args, options))


def _options(args: argparse.Namespace) -> RunOptions:
    command = tuple(args.command[1:] if args.command[:1] == ["--"] else args.command)
    if not command:
        raise ConfigError("run: no program is given: thermogate run --gate job/NAME -- COMMAND")
    if args.restart and args.on_hold != "term":
        raise ConfigError("--restart needs --on-hold term: nothing else ends the program")
    if args.checkpoint_s < 0 or args.kill_after_s < 0:
        raise ConfigError("--checkpoint-s and --kill-after-s are seconds, 0 or more")
    return RunOptions(
        command=command,
        gates=tuple(parse_target(gate) for gate in args.gate),
        on_hold=args.on_hold,
        checkpoint_signal=_signal(args.checkpoint_signal),
        checkpoint_s=args.checkpoint_s,
        kill_after_s=args.kill_after_s,
        restart=args.restart,
        pace_env=args.pace_env,
    )


def _signal(name: str) -> signal.Signals | None:
    if name.lower() == "none":
        return None
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError as err:
        raise ConfigError(f"--checkpoint-signal {name}: no such signal") from err


async def _main(args: argparse.Namespace, options: RunOptions) -> int:
    loaded, data_dir = _loaded(args)
    logs.setup(loaded.log_level or "WARNING")
    clock, host = SystemClock(), socket.gethostname()
    watch = GateWatch(
        loaded.mqtt,
        msgspec.structs.replace(loaded.schedulers.watch, state_file=""),  # that is a service's
        clock,
        client_id=f"thermogate-run-{host}-{os.getpid()}",
        targets=options.gates,
        data_dir=data_dir,
    )
    async with watch:
        return await Runner(options, watch, clock, host, os.environ).run()


def _loaded(args: argparse.Namespace) -> tuple[Configured, Path]:
    """Settings and data folder. A broker that nobody has named is that of a running `thermogate up`."""
    sets = [*credentials.as_sets(os.environ), *args.sets]
    sets += [f"mqtt.url={args.broker}"] if args.broker else []
    loaded = configured.load(args.config, os.environ, sets)
    data_dir = Path(loaded.data_dir).expanduser() if loaded.data_dir else rundir.default_data_dir()
    if loaded.mqtt == MqttSettings() and (up := rundir.running(data_dir)) is not None:
        loaded = msgspec.structs.replace(loaded, mqtt=MqttSettings(url=up.broker_url))
    return loaded, data_dir

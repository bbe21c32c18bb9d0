"""`thermogate simulate`: a fleet made of recorded traces, as real MQTT clients that count what they send."""

import argparse
import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from thermogate.agent.simulated import Fleet
from thermogate.agent.simulated_feed import Jump
from thermogate.cli import rundir, service, settings, simulate_fleet, simulate_parts
from thermogate.cli.settings import ThermogateSettings
from thermogate.cli.simulate_run import Jumps, Progress, Runner, sentence, together
from thermogate.core import logs
from thermogate.core.clock import NS
from thermogate.core.errors import ConfigError
from thermogate.core.wire import is_name
from thermogate.dashboard.times import parse_duration

_MAX_NODES = 100_000
_MAX_GPUS = 64
"""A message of so many still fits (core.wire)."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("simulate", help="play recorded traces as a fleet of nodes")
    settings.add_arguments(parser)
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    parser.add_argument("--nodes", type=int, default=10, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--gpus", type=int, default=8, metavar="N", help="of each node (default: %(default)s)"
    )
    parser.add_argument(
        "--from",
        dest="sources",
        type=Path,
        nargs="+",
        default=[],
        metavar="RECORDING",
        help="CSV files or folders of them (default: those that come with thermogate)",
    )
    parser.add_argument("--prefix", default="sim", help="of the nodes' names (default: sim-0001 ...)")
    parser.add_argument("--period", metavar="TIME", help="between samples (default: agent.period_s, 1 s)")
    parser.add_argument(
        "--drain",
        metavar="TIME",
        help="at the end wait so long for acknowledgements (default: 60s after --for, 6s after Ctrl-C)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="what was generated, for `thermogate verify`")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="share the nodes out to N")
    parser.add_argument(
        "--clock-jump",
        action="append",
        default=[],
        metavar="NODES,AT,BY",
        help="set the clock of nodes, AT from the start, BY so much: 'sim-000*,30s,-1h'",
    )
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until Ctrl-C, SIGTERM or --for. 0, or 1 when something was not stored in time, or dropped."""
    loaded = settings.load(args, mqtt__url=args.broker, agent__period_s=_period(args.period))
    logs.setup(loaded.log_level or "ERROR")  # a fleet that complains at once is no help
    jumps = [_jumps(text) for text in args.clock_jump]
    if args.part is not None:
        return _run_part(args, loaded, jumps)
    fleet = _fleet(args, loaded)
    folder: Path = args.out or settings.data_dir(loaded) / "simulate" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    with rundir.held(folder):
        simulate_fleet.make(folder, fleet)
        if not args.json:
            _announce(fleet, folder, loaded)
        began_s = time.monotonic()
        done = _run_all(args, loaded, folder, jumps)
    _tell(args, folder, done, time.monotonic() - began_s)
    return 1 if done.waiting or done.dropped or done.lost else 0


def _run_all(
    args: argparse.Namespace, loaded: ThermogateSettings, folder: Path, jumps: list[Jumps]
) -> Progress:
    """Here, or in processes of its own."""
    if args.processes > 1:
        parts = simulate_parts.run(_words(args, folder), args.processes, folder, quiet=args.json)
        return together(parts)
    return _run_here(args, Runner(folder, loaded, 0, 1, jumps), quiet=args.json)


def _run_here(args: argparse.Namespace, runner: Runner, *, quiet: bool) -> Progress:
    done: list[Progress] = []

    async def main(stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            telling = None if quiet else group.create_task(simulate_parts.tell(lambda: [runner.latest]))
            done.append(await runner.run(stop, settings.for_s(args), _drain_s(args)))
            if telling:
                telling.cancel()

    service.serve(main)
    return done[0]


def _run_part(args: argparse.Namespace, loaded: ThermogateSettings, jumps: list[Jumps]) -> int:
    """As one of several processes, for as long as the first one lives."""
    part, of = map(int, args.part.split("/"))
    runner = Runner(args.out, loaded, part, of, jumps)

    async def main(stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()

        def left() -> None:
            loop.remove_reader(sys.stdin.fileno())
            stop.set()

        loop.add_reader(sys.stdin.fileno(), left)  # its end: the first process has ended, or was killed
        await runner.run(stop, settings.for_s(args), _drain_s(args))

    return service.serve(main)


def _words(args: argparse.Namespace, folder: Path) -> list[str]:
    """The command line of a part, but for which part: what the fleet is stands in the folder."""
    given = {
        "--config": args.config,
        "--broker": args.broker,
        "--period": args.period,
        "--for": args.for_s,
        "--drain": args.drain,
        "--out": folder,
    }
    words = [f"{name}={value}" for name, value in given.items() if value is not None]
    words += [f"--set={text}" for text in args.sets]
    return ["simulate", *words, *(f"--clock-jump={text}" for text in args.clock_jump)]


def _fleet(args: argparse.Namespace, loaded: ThermogateSettings) -> Fleet:
    if not 1 <= args.nodes <= _MAX_NODES:
        raise ConfigError(f"--nodes {args.nodes}: expected 1 to {_MAX_NODES}")
    if not 1 <= args.gpus <= _MAX_GPUS:
        raise ConfigError(f"--gpus {args.gpus}: expected 1 to {_MAX_GPUS}")
    if not 1 <= args.processes <= args.nodes:
        raise ConfigError(f"--processes {args.processes}: expected 1 to the number of nodes")
    if not is_name(f"{args.prefix}-{args.nodes:04}"):
        raise ConfigError(f"--prefix {args.prefix!r} is not made of [A-Za-z0-9._-]")
    return Fleet(
        prefix=args.prefix,
        nodes=args.nodes,
        gpus=args.gpus,
        period_s=loaded.agent.period_s,
        traces=simulate_fleet.traces(args.sources, loaded.agent.rle),
    )


def _period(text: str | None) -> str | None:
    if text is None:
        return None
    period_ns = parse_duration(text)
    if period_ns < NS // 100:
        raise ConfigError(f"--period {text}: expected 10ms or more")
    return repr(period_ns / NS)


def _drain_s(args: argparse.Namespace) -> float | None:
    return None if args.drain is None else parse_duration(args.drain) / NS


def _jumps(text: str) -> Jumps:
    """Raises ConfigError."""
    pattern, _, rest = text.partition(",")
    at, _, by = rest.partition(",")
    try:
        by_s = parse_duration(by.removeprefix("-").removeprefix("+")) / NS
        return Jumps(pattern, Jump(parse_duration(at) / NS, -by_s if by.startswith("-") else by_s))
    except ConfigError as err:
        raise ConfigError(
            f"--clock-jump {text}: expected NODES,AT,BY such as 'sim-000*,30s,-1h': {err}"
        ) from err


def _announce(fleet: Fleet, folder: Path, loaded: ThermogateSettings) -> None:
    first, last = fleet.name(0), fleet.name(fleet.nodes - 1)
    service.say(f"simulating {fleet.nodes} nodes of {fleet.gpus} GPUs, {first} to {last}: Ctrl-C ends it")
    service.report("traces", f"{len(fleet.traces)} recorded devices, a row every {fleet.period_s:g} s")
    service.report("broker", loaded.mqtt.url)
    service.report("generated", f"{folder}, for thermogate verify --manifest")


def _tell(args: argparse.Namespace, folder: Path, done: Progress, seconds: float) -> None:
    cpu_ms = 1e3 * done.cpu_s / done.node_s if done.node_s else 0.0
    if args.json:
        rest = {"seconds": round(seconds, 1), "cpu_ms_per_node_s": round(cpu_ms, 3), "manifest": str(folder)}
        print(msgspec.json.encode(msgspec.to_builtins(done) | rest).decode(), flush=True)
        return
    service.say(f"ended after {seconds:.0f} s: {sentence(done)}")
    service.say(f"{cpu_ms:.2f} ms of processor time a node and second")
    if done.waiting:
        service.say(f"not acknowledged: {done.waiting:,} messages; the same command sends them with --for 0s")

"""`thermogate verify`: is in the store what a simulated fleet has generated, each sample once?"""

import argparse
import asyncio
import csv
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from thermogate.agent.simulated import Fleet
from thermogate.agent.simulated_journal import Generated, read
from thermogate.cli import render, rundir, service, settings, simulate_fleet
from thermogate.cli.asking import TOKEN_VARIABLE
from thermogate.cli.remote import Remote
from thermogate.cli.settings import ThermogateSettings
from thermogate.cli.verify_compare import NodeCheck, Verdict
from thermogate.core.clock import SystemClock
from thermogate.core.config import first_line
from thermogate.core.errors import ConfigError, UnavailableError
from thermogate.core.query import Query
from thermogate.core.wire import Point
from thermogate.dashboard.times import parse_time

_MS = 1_000_000
_LINES = 5000
"""Rows of CSV that are compared at a time."""

Samples = Callable[[str, int, int], AsyncIterator[list[Point]]]
"""What is stored of a node in [start_ns, end_ns)."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("verify", help="compare what was simulated with what is stored")
    settings.add_arguments(parser, runs=False)
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="DIR", help="--out of `thermogate simulate`"
    )
    parser.add_argument(
        "--store", choices=("embedded", "influx", "victoria"), help="default: collector.store"
    )
    parser.add_argument("--influx", metavar="URL", help="InfluxDB, http://HOST:8086; implies --store influx")
    parser.add_argument(
        "--victoria", metavar="URL", help="VictoriaMetrics, http://HOST:8428; implies --store victoria"
    )
    parser.add_argument("--url", help="ask the HTTP API of a running collector")
    parser.add_argument("--token-file", metavar="FILE", help="with --url: the token to ask with")
    parser.add_argument("--ca-file", metavar="FILE", help="with --url: authorities to trust with https")
    parser.add_argument("--ms", action="store_true", help="with --url: its store keeps milliseconds only")
    parser.add_argument("--json", action="store_true", help="print what was found as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 when every sample is stored once as it was generated, else 1."""
    fleet = simulate_fleet.load(args.manifest)
    loaded = settings.load(
        args,
        collector__store="victoria" if args.victoria else "influx" if args.influx else args.store,
        collector__influx__url=args.influx,
        collector__victoria__url=args.victoria,
    )
    verdict = asyncio.run(_verify(args, loaded, fleet))
    if args.json:
        print(msgspec.json.encode(verdict).decode(), flush=True)
    else:
        _tell(verdict)
    return 0 if verdict.sound else 1


async def _verify(args: argparse.Namespace, loaded: ThermogateSettings, fleet: Fleet) -> Verdict:
    async with AsyncExitStack() as stack:
        samples, resolution_ns = await _source(args, loaded, stack)
        return await verify(args.manifest, fleet, samples, resolution_ns)


async def verify(folder: Path, fleet: Fleet, samples: Samples, resolution_ns: int = 1) -> Verdict:
    """Compare node by node, so that no more than one node's samples are held.

    Raises StoreError or UnavailableError when the store does not answer.
    """
    verdict = Verdict()
    for index in range(fleet.nodes):
        name = fleet.name(index)
        generated = _generated(simulate_fleet.journal(folder, name))
        check = NodeCheck(fleet, index, generated, verdict, resolution_ns)
        if generated:
            start_ns = min(one.time_ns for one in generated) - resolution_ns
            end_ns = max(one.time_ns for one in generated) + resolution_ns
            async for points in samples(name, start_ns, end_ns):
                check.take(points)
        check.finish()
    return verdict


def samples_of(store: Query) -> Samples:
    """What an open store answers."""

    def samples(node: str, start_ns: int, end_ns: int) -> AsyncIterator[list[Point]]:
        return store.samples(start_ns=start_ns, end_ns=end_ns, node=node)

    return samples


async def _source(
    args: argparse.Namespace, loaded: ThermogateSettings, stack: AsyncExitStack
) -> tuple[Samples, int]:
    """Where the samples come from, and how fine its stamps are."""
    folder, kind = settings.data_dir(loaded), loaded.collector.store
    holder = rundir.running(folder) if kind == "embedded" else None  # who holds the file answers for it
    url = args.url or (holder.url if holder else None)
    if url:
        token = (
            first_line(args.token_file, "--token-file") if args.token_file else os.environ.get(TOKEN_VARIABLE)
        )
        return over_http(Remote(url, token, args.ca_file)), _MS if args.ms else 1
    from thermogate.collector.app import make_store  # needs the store's package
    from thermogate.collector.store.embedded import EmbeddedStore

    if kind == "embedded":
        store: Query = await stack.enter_async_context(
            EmbeddedStore(folder, loaded.collector.embedded, SystemClock(), read_only=True)
        )
    else:
        store = await stack.enter_async_context(make_store(loaded.collector, folder, SystemClock()))
    return samples_of(store), _MS if kind == "victoria" else 1


def over_http(remote: Remote) -> Samples:
    """What the HTTP API exports."""

    async def samples(node: str, start_ns: int, end_ns: int) -> AsyncIterator[list[Point]]:
        lines = _lines(remote.export(node=node, start_ns=start_ns, end_ns=end_ns))
        header: list[str] = []
        async for text in lines:
            rows = list(csv.reader(text))
            if not header:
                header = rows.pop(0)
            yield [_point(dict(zip(header, row, strict=True))) for row in rows]

    return samples


async def _lines(chunks: AsyncIterator[str]) -> AsyncIterator[list[str]]:
    """Whole lines, some thousand at a time."""
    rest, lines = "", list[str]()
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split("\n")
        lines += whole
        if len(lines) >= _LINES:
            yield lines
            lines = []
    if rest:
        raise UnavailableError(f"the answer ended in the middle of a line: {rest[:80]!r}")
    if lines:
        yield lines


def _point(row: dict[str, str]) -> Point:
    time_ns = parse_time(row.pop("time"), 0)
    kind, node, device, model, origin = (
        row.pop(name) for name in ("kind", "node", "device", "model", "origin")
    )
    fields = {name: float(value) for name, value in row.items() if value}
    return Point(kind, node, device, model, origin, fields, time_ns)


def _generated(path: Path) -> list[Generated]:
    try:
        return list(read(path))
    except FileNotFoundError:  # it was killed before its first tick
        return []
    except OSError as err:
        raise ConfigError(f"{path}: {err.strerror}") from err


def _tell(verdict: Verdict) -> None:
    service.say(
        f"{verdict.nodes} nodes, {verdict.sent:,} samples generated: {verdict.stored:,} stored, "
        f"{verdict.missing:,} missing, {verdict.double:,} double, {verdict.differing:,} differing, "
        f"{verdict.foreign:,} foreign"
    )
    if verdict.unsure:
        service.say(
            f"{verdict.unsure:,} of the last moment of a simulation that runs or was killed: not counted"
        )
    rows = [(one.what, one.node, one.device, str(one.time_ns), one.text) for one in verdict.examples]
    if rows:
        service.say(render.table(("what", "node", "device", "time_ns", ""), rows))

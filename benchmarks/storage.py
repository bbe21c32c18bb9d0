"""How many bytes a sample takes on disk, in each store, once the store has compacted it.

    make bench NAME=storage                                   4 nodes, 6 hours: a day of a node in all
    make bench NAME=storage ARGS="--nodes 1 --hours 24 --store influx"

Nodes with 8 GPUs and 2 CPUs, every field of the schema (node_messages.py: a recorded training session), at
1 Hz, interleaved as a fleet sends them. Real servers, each with its files in a folder of its own, that are
told to compact at once. A sample is a line, one device at one second; a value is one field of it. Windows of
a minute are made from all of it where the store keeps them, and measured by what the folder has grown; those
of an hour have the same fields, so they are taken to be as big: a fill this short has too few to be measured.
Prints a table and, as the last line, one JSON object.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.node_messages import messages  # noqa: E402
from tests import servers  # noqa: E402
from thermogate.collector.config import EmbeddedSettings, InfluxSettings, VictoriaSettings  # noqa: E402
from thermogate.collector.store.base import Batch, RollsUp, Store  # noqa: E402
from thermogate.collector.store.duck import Database  # noqa: E402
from thermogate.collector.store.embedded import FILE_NAME, EmbeddedStore  # noqa: E402
from thermogate.collector.store.influx import InfluxStore  # noqa: E402
from thermogate.collector.store.resolution import Window  # noqa: E402
from thermogate.collector.store.victoria import VictoriaStore  # noqa: E402
from thermogate.core.clock import NS, SystemClock  # noqa: E402
from thermogate.core.wire import format_header  # noqa: E402

STORES = ("embedded", "influx", "victoria")
_HOUR_NS = 3600 * NS
_YEAR_H = 8766
_SECONDS_A_BATCH = 60
_STILL_S = 12.0
_LONGEST_S = 150.0


class Filled(NamedTuple):
    """What was written."""

    messages: int
    samples: int
    values: int
    wire_bytes: int


class Server(NamedTuple):
    """A store, how big its files are, and how to have it compact them."""

    open: Callable[[], Store]
    size: Callable[[], int]
    compact: Callable[[], None]


def prepare(file: Path, nodes: int, hours: float, end_ns: int) -> None:
    """Make the fleet's messages once for all stores, as lengths and bytes."""
    with file.open("wb") as out:
        for payload in _payloads(nodes, hours, end_ns):
            out.write(len(payload).to_bytes(4, "big") + payload)


def batches(file: Path, nodes: int) -> Iterator[Batch]:
    """A minute of the fleet at a time."""
    payloads: list[bytes] = []
    with file.open("rb") as found:
        while length := found.read(4):
            payloads.append(found.read(int.from_bytes(length, "big")))
            if len(payloads) == nodes * _SECONDS_A_BATCH:
                yield Batch(telemetry=tuple(payloads))
                payloads = []
    if payloads:
        yield Batch(telemetry=tuple(payloads))


def _payloads(nodes: int, hours: float, end_ns: int) -> Iterator[bytes]:
    count = round(hours * 3600)
    begin_ns = end_ns - count * NS
    streams = [(f"n{n}", messages(f"n{n}", begin_ns, count, seed=n + 1)) for n in range(nodes)]
    for second in range(count):
        for name, stream in streams:
            yield format_header(name, "3f2a", second) + next(stream)


async def fill(store: Store, found: Iterator[Batch]) -> Filled:
    counts = [0, 0, 0, 0]
    async with store:
        settling = None
        for batch in found:
            settling = await store.write(batch)
            for payload in batch.telemetry:
                counts[0] += 1
                counts[1] += payload.count(b"\n") - 1
                counts[2] += _values(payload)
                counts[3] += len(payload)
        if settling is not None:
            assert await settling
    return Filled(*counts)


def _values(payload: bytes) -> int:
    """Fields of all lines: every pair but those of the tags and of the header."""
    keys = b"".join(line.partition(b" ")[0] for line in payload.splitlines()[1:])
    return payload.count(b"=") - keys.count(b"=") - 3


async def roll_up(store: Store, begin_ns: int, end_ns: int) -> bool:
    """Whether the store keeps windows; then those of a minute are made."""
    async with store:
        if not isinstance(store, RollsUp):
            return False
        for start_ns in range(begin_ns, end_ns, _HOUR_NS):
            await store.roll_up("1m", [Window(start_ns, min(start_ns + _HOUR_NS, end_ns))])
    return True


def size(folder: Path) -> int:
    """Bytes that all files take; InfluxDB's series file has holes, which take none."""
    found = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            found += file.stat().st_blocks * 512 if file.is_file() else 0
    return found


def used(file: Path) -> int:
    """Bytes of DuckDB's file that are in use; blocks that are free are written to again."""
    database = Database(file, EmbeddedSettings(), read_only=True)
    database.open()
    try:
        with database.cursor() as cursor:
            asked = "select database_name, block_size * used_blocks from pragma_database_size()"
            return dict(cursor.execute(asked).fetchall())[file.stem]
    finally:
        database.close()


def settled(server: Server) -> int:
    """The size once nothing changes any more."""
    server.compact()
    began_s = still_s = time.monotonic()
    last = server.size()
    while time.monotonic() - still_s < _STILL_S and time.monotonic() - began_s < _LONGEST_S:
        time.sleep(1)
        now = server.size()
        if now != last:
            last, still_s = now, time.monotonic()
    return last


@contextlib.contextmanager
def server(name: str, folder: Path) -> Iterator[Server]:
    if name == "embedded":
        settings = EmbeddedSettings()
        file = folder / FILE_NAME
        yield Server(lambda: EmbeddedStore(folder, settings, SystemClock()), lambda: used(file), lambda: None)
    elif name == "influx":
        # for influxd: compact in full what nothing was written to for this long, and not for 4 h
        os.environ["INFLUXDB_DATA_COMPACT_FULL_WRITE_COLD_DURATION"] = "2s"
        os.environ["INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION"] = "2s"
        with servers.influxdb(folder) as url:
            home = folder / "influxdb"
            yield Server(
                lambda: InfluxStore(InfluxSettings(url=url), SystemClock()), lambda: size(home), lambda: None
            )
    else:
        with servers.victoria(folder) as url:
            victoria = VictoriaSettings(url=url)
            home = folder / "victoria"
            yield Server(
                lambda: VictoriaStore(victoria, SystemClock()), lambda: size(home), lambda: _merge(url)
            )


def _merge(url: str) -> None:
    for what in ("force_flush", "force_merge"):
        with urllib.request.urlopen(f"{url}/internal/{what}", timeout=60):
            pass


def measure(name: str, prepared: Path, nodes: int, hours: float, end_ns: int) -> dict[str, Any]:
    begin_ns = end_ns - round(hours * 3600) * NS
    with tempfile.TemporaryDirectory() as tmp, server(name, Path(tmp)) as one:
        asyncio.run(fill(one.open(), iter(())))
        empty = settled(one)
        began_s = time.monotonic()
        filled = asyncio.run(fill(one.open(), batches(prepared, nodes)))
        wrote_s = time.monotonic() - began_s
        raw = settled(one) - empty
        rolled = 0
        if asyncio.run(roll_up(one.open(), begin_ns, end_ns)):
            rolled = settled(one) - empty - raw
    node_hours = nodes * hours
    row: dict[str, Any] = {
        "store": name,
        "wrote_s": round(wrote_s, 1),
        "samples": filled.samples,
        "values_a_sample": round(filled.values / filled.samples, 1),
        "wire_bytes_a_message": round(filled.wire_bytes / filled.messages),
        "wire_bytes_a_sample": round(filled.wire_bytes / filled.samples, 1),
        "bytes_a_sample": round(raw / filled.samples, 2),
        "bytes_a_value": round(raw / filled.values, 3),
        "node_day_mb": round(raw / node_hours * 24 / 1e6, 2),
        "node_year_gb": round(raw / node_hours * _YEAR_H / 1e9, 2),
    }
    if rolled:
        window = rolled / (node_hours * 60)
        row["bytes_a_node_and_window"] = round(window)
        row["node_year_1m_mb"] = round(window * 60 * _YEAR_H / 1e6)
        row["node_year_1h_mb"] = round(window * _YEAR_H / 1e6)
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--store", choices=STORES, action="append")
    args = parser.parse_args()
    end_ns = time.time_ns() // _HOUR_NS * _HOUR_NS
    with tempfile.TemporaryDirectory() as tmp:
        prepared = Path(tmp) / "messages"
        prepare(prepared, args.nodes, args.hours, end_ns)
        rows = [measure(name, prepared, args.nodes, args.hours, end_ns) for name in args.store or STORES]
    for key in dict.fromkeys(key for row in rows for key in row):
        print(f"{key:<24}" + "".join(f"{row.get(key, '-')!s:>14}" for row in rows))
    print(json.dumps({"nodes": args.nodes, "hours": args.hours, "stores": rows}))


if __name__ == "__main__":
    main()

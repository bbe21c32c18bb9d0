"""The embedded store: how fast it takes what a fleet sends, and how long its answers take.

    make bench NAME=store ARGS="--nodes 100 --seconds 600"

Each batch is one second of the whole fleet: a message a node with 8 GPUs of 14 fields and the agent's own
line. Prints a table and, as the last line, one JSON object.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from thermogate.collector.config import EmbeddedSettings
from thermogate.collector.store.base import Batch
from thermogate.collector.store.embedded import FILE_NAME, EmbeddedStore
from thermogate.collector.store.rows import RowParser
from thermogate.core.clock import NS, SystemClock
from thermogate.core.query import Device
from thermogate.core.schema import MEASUREMENTS
from thermogate.core.wire import format_header, format_line

GPUS = 8
FIELDS = [field.name for field in MEASUREMENTS["gpu"].fields if not field.integer][:14]
ROWS_A_MESSAGE = GPUS + 1


def make_message(node: str, seq: int, time_ns: int) -> bytes:
    lines = [
        format_line(
            "gpu",
            node,
            str(gpu),
            "H100-SXM",
            None,
            {field: round(random.uniform(0, 100), 2) for field in FIELDS},
            time_ns,
        )
        for gpu in range(GPUS)
    ]
    lines.append(
        format_line("agent", node, "", "", None, {"cpu_s": seq / 100, "rss_bytes": 26 << 20}, time_ns)
    )
    return format_header(node, "3f2a", seq) + "".join(lines).encode()


def make_batch(nodes: int, second: int, begin_ns: int) -> Batch:
    time_ns = begin_ns + second * NS
    return Batch(telemetry=tuple(make_message(f"n{node}", second, time_ns) for node in range(nodes)))


async def timed(work: Callable[[], Awaitable[Any]], times: int = 1) -> list[float]:
    """Milliseconds of each call."""
    found = []
    for _ in range(times):
        began_s = time.perf_counter()
        await work()
        found.append((time.perf_counter() - began_s) * 1e3)
    return found


async def measure(folder: Path, nodes: int, seconds: int) -> dict[str, float]:
    begin_ns = time.time_ns() // NS * NS - seconds * NS
    end_ns = begin_ns + seconds * NS
    found: dict[str, float] = {}
    async with EmbeddedStore(folder, EmbeddedSettings(), SystemClock()) as store:
        writes, cpu_s = [], 0.0
        for second in range(seconds):
            batch = make_batch(nodes, second, begin_ns)
            before_s = time.process_time()
            writes += await timed(lambda batch=batch: store.write(batch))  # type: ignore[misc]
            cpu_s += time.process_time() - before_s
        messages = nodes * seconds
        rows = messages * ROWS_A_MESSAGE
        found["write_rows_per_s"] = rows / (sum(writes) / 1e3)
        found["write_us_per_message"] = sum(writes) * 1e3 / messages
        found["write_cpu_us_per_message"] = cpu_s * 1e6 / messages
        found["write_batch_p50_ms"] = statistics.median(writes)
        found["write_batch_p99_ms"] = statistics.quantiles(writes, n=100)[98]
        again = make_batch(nodes, seconds // 2, begin_ns)
        found["write_batch_again_ms"] = statistics.median(await timed(lambda: store.write(again), 20))
        found["parse_us_per_message"] = parse_us(batch)
        span: dict[str, Any] = {"start_ns": begin_ns, "end_ns": end_ns}
        device, fields = Device("n1", "gpu", "3"), ("temp_c", "power_w")
        asked: dict[str, Callable[[], Awaitable[Any]]] = {
            "latest_ms": store.latest,
            "series_2_fields_ms": lambda: store.series(device, fields, **span, step_ns=2 * NS),
            "top_10_ms": lambda: store.top("gpu", "temp_c", **span, limit=10),
        }
        for name, work in asked.items():
            found[name] = statistics.median(await timed(work, 10))
        began_s, exported = time.perf_counter(), 0
        async for chunk in store.samples(**span):
            exported += len(chunk)
        assert exported == rows, f"{exported} of {rows} rows came back"
        found["export_rows_per_s"] = rows / (time.perf_counter() - began_s)
    found["bytes_per_row"] = (folder / FILE_NAME).stat().st_size / rows
    return {"nodes": nodes, "rows": rows, **found}


def parse_us(batch: Batch) -> float:
    """Processor time of turning payloads into rows, part of writing them."""
    parser, began_s = RowParser(), time.process_time()
    for _ in range(20):
        parser.parse(batch.telemetry)
    return (time.process_time() - began_s) / 20 / len(batch.telemetry) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=600)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), args.nodes, args.seconds))
    for name, value in found.items():
        print(f"{name:24} {value:14,.1f}")
    print(json.dumps({name: round(value, 2) for name, value in found.items()}))


if __name__ == "__main__":
    main()

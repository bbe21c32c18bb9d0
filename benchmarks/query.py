"""How long the questions of a fleet take: its newest samples, a device's day, the hottest of an hour, a job.

    make bench NAME=query ARGS="--nodes 1000 --store embedded"

Each question is asked of windows and samples together, as it is in use, and of samples alone ("raw").
The answer of the API is timed by another process, over HTTP. Prints a table and, as the last line, one
JSON object. What is stored: `benchmarks/query_fill.py`.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from thermogate.collector.config import EmbeddedSettings, InfluxSettings, VictoriaSettings
from thermogate.collector.store.base import Batch, RollsUp, Store
from thermogate.collector.store.embedded import FILE_NAME, EmbeddedStore
from thermogate.collector.store.influx import InfluxStore
from thermogate.collector.store.resolution import STEP_NS, Window, ceil, floor
from thermogate.collector.store.victoria import VictoriaStore
from thermogate.core.clock import NS, SystemClock
from thermogate.core.query import Device, DeviceTime
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.app import Dashboard
from thermogate.dashboard.settings import DashboardSettings

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.query_fill import DAY_S, Plan, fill, fill_embedded, name, statuses, tick  # noqa: E402
from tests import servers  # noqa: E402

LIMITS_MS = {
    "latest_ms": 200,
    "http_fleet_ms": 200,
    "series_day_ms": 200,
    "top_hour_ms": 1000,
    "top_hour_max_ms": 1000,
}
_GET = (
    "import sys, time, urllib.request as u\n"
    "began = time.perf_counter()\n"
    "body = u.urlopen(sys.argv[1]).read()\n"
    "print((time.perf_counter() - began) * 1e3, len(body))"
)


async def measure(store: Store, plan: Plan, found: dict[str, float]) -> None:
    """Everything asked, with windows and without; without only where the store has none."""
    if isinstance(store, RollsUp):
        await questions(store, plan, found, "_raw_ms")
        await roll_up(store, plan, found)
    await latest(store, plan, found)
    await questions(store, plan, found, "_ms")


async def questions(store: Store, plan: Plan, found: dict[str, float], end: str) -> None:
    """Of a day and of an hour."""
    now_ns = plan.end_ns
    device, fields = Device(name(1), "gpu", "3"), ("temp_c", "power_w")
    job = [DeviceTime(one, plan.day_ns + 17 * NS, now_ns - 23 * NS) for one in plan.job()]
    hour: dict[str, Any] = {"start_ns": plan.hour_ns + 17 * NS, "end_ns": now_ns - 23 * NS}
    day: dict[str, Any] = {"start_ns": plan.day_ns + 17 * NS, "end_ns": now_ns - 23 * NS}
    asked: dict[str, Callable[[], Awaitable[Any]]] = {
        "series_day": lambda: store.series(device, fields, **day, step_ns=60 * NS),
        "top_hour": lambda: store.top("gpu", "temp_c", **hour, limit=20),
        "top_hour_max": lambda: store.top("gpu", "power_w", **hour, limit=20, by="max"),
        "usage_job_day": lambda: store.usage(job),
    }
    for what, work in asked.items():
        found[what + end] = await timed(work, 1 if "raw" in end else 5)


async def timed(work: Callable[[], Awaitable[Any]], times: int) -> float:
    """Milliseconds, the median of some calls."""
    took = []
    for _ in range(times):
        began_s = time.perf_counter()
        answer = await work()
        took.append((time.perf_counter() - began_s) * 1e3)
        assert answer, "no answer"
    return statistics.median(took)


async def roll_up(store: RollsUp, plan: Plan, found: dict[str, float]) -> None:
    """Windows of what there are samples of, minutes first."""
    job = tuple(name(n) for n in range(plan.job_nodes))
    began_s = time.perf_counter()
    await store.roll_up("1m", [Window(plan.end_ns - 60 * NS, plan.end_ns)])
    found["roll_up_minute_s"] = time.perf_counter() - began_s
    await store.roll_up(
        "1m", [Window(plan.hour_ns, plan.end_ns - 60 * NS), Window(plan.day_ns, plan.hour_ns, job)]
    )
    found["roll_up_all_s"] = time.perf_counter() - began_s
    hour_ns = STEP_NS["1h"]
    first_ns, last_ns = ceil(plan.day_ns, hour_ns), floor(plan.end_ns, hour_ns)
    await store.roll_up("1h", [Window(first_ns, last_ns)])
    await store.cover("1m", plan.day_ns, plan.end_ns)
    await store.cover("1h", first_ns, last_ns)


async def latest(store: Store, plan: Plan, found: dict[str, float]) -> None:
    """The whole fleet, each time after every node has sent a sample, as it is in use."""
    await store.write(Batch(statuses=statuses(plan)))
    answers = Answers(store, SystemClock(), DashboardSettings(listen="127.0.0.1:0"))
    took: dict[str, list[float]] = {"write_tick_ms": [], "latest_ms": [], "http_fleet_ms": []}
    async with Dashboard(answers, DashboardSettings(listen="127.0.0.1:0")) as dashboard:
        for _ in range(7):
            for what in ("latest_ms", "http_fleet_ms"):
                batch = tick(plan, time.time_ns())
                took["write_tick_ms"].append(await timed(lambda batch=batch: write(store, batch), 1))  # type: ignore[misc]
                if what == "latest_ms":
                    took[what].append(await timed(store.latest, 1))
                else:
                    ms, size = await get(dashboard.url + "api/v1/fleet")
                    took[what].append(ms)
                    found["http_fleet_bytes"] = size
    found |= {what: statistics.median(some) for what, some in took.items()}


async def write(store: Store, batch: Any) -> bool:
    await store.write(batch)
    return True


async def get(url: str) -> tuple[float, float]:
    """Milliseconds and bytes of an answer, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _GET, url, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    ms, size = said.split()
    return float(ms), float(size)


@contextlib.asynccontextmanager
async def embedded(folder: Path, plan: Plan, found: dict[str, float]) -> AsyncIterator[Store]:
    began_s = time.perf_counter()
    found["samples"] = await asyncio.to_thread(fill_embedded, folder, plan)
    found["fill_s"] = time.perf_counter() - began_s
    found["file_bytes"] = (folder / FILE_NAME).stat().st_size
    async with EmbeddedStore(folder, EmbeddedSettings(), SystemClock()) as store:
        yield store


@contextlib.asynccontextmanager
async def influx(folder: Path, plan: Plan, found: dict[str, float]) -> AsyncIterator[Store]:
    with servers.influxdb(folder) as url:
        async with InfluxStore(InfluxSettings(url=url, timeout_s=170), SystemClock()) as store:
            began_s = time.perf_counter()
            found["samples"] = await fill(store, plan)
            found["fill_s"] = time.perf_counter() - began_s
            yield store


@contextlib.asynccontextmanager
async def victoria(folder: Path, plan: Plan, found: dict[str, float]) -> AsyncIterator[Store]:
    with servers.victoria(folder) as url:
        async with VictoriaStore(VictoriaSettings(url=url, timeout_s=170), SystemClock()) as store:
            began_s = time.perf_counter()
            found["samples"] = await fill(store, plan)
            found["fill_s"] = time.perf_counter() - began_s
            yield store


STORES = {"embedded": embedded, "influx": influx, "victoria": victoria}


async def run(store_name: str, nodes: int, job_nodes: int, spacing_s: int) -> Mapping[str, float]:
    plan = Plan(nodes, min(job_nodes, nodes), floor(time.time_ns(), 60 * NS), spacing_s)
    found: dict[str, float] = {"nodes": nodes, "job_gpus": 8 * plan.job_nodes}
    with tempfile.TemporaryDirectory() as folder:
        async with STORES[store_name](Path(folder), plan, found) as store:
            await measure(store, plan, found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", choices=[*STORES, "all"], default="all")
    parser.add_argument("--nodes", type=int, default=1000, help="of 8 GPUs, with an hour of samples")
    parser.add_argument("--job-nodes", type=int, default=16, help="of them, with a day")
    parser.add_argument("--spacing", type=int, default=30, help="seconds from sample to sample in servers")
    args = parser.parse_args()
    found = {}
    for store_name in STORES if args.store == "all" else [args.store]:
        found[store_name] = asyncio.run(run(store_name, args.nodes, args.job_nodes, args.spacing))
        print(f"\n{store_name}, {args.nodes} nodes x 8 GPUs, a day of {DAY_S // 3600} h")
        for what, value in found[store_name].items():
            limit = f"   goal <= {LIMITS_MS[what]:,}" if what in LIMITS_MS else ""
            print(f"{what:24} {value:16,.1f}{limit}")
    rounded = {
        store: {what: round(value, 2) for what, value in some.items()} for store, some in found.items()
    }
    print(json.dumps(rounded))


if __name__ == "__main__":
    main()

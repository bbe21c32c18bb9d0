"""`make bench NAME=scrape`: what a scrape of /metrics and a push over OTLP cost, by the size of the fleet.

Each fleet is of nodes with 8 GPUs and a CPU, every field there, in memory; the scrape is over HTTP, from a
client in a process of its own. "stall" is the longest that the event loop, in which the collector also
ingests, was kept from its work. Beside it what prometheus-client takes for the same families.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import time
import zlib
from collections.abc import Iterator
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from thermogate.core.clock import SystemClock
from thermogate.core.decision import GateDecision
from thermogate.core.model import DeviceInfo, Status
from thermogate.core.schema import MEASUREMENTS
from thermogate.core.wire import Point
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.app import Dashboard
from thermogate.dashboard.otlp_metrics import requests
from thermogate.dashboard.prometheus_families import families
from thermogate.dashboard.prometheus_text import text
from thermogate.dashboard.settings import DashboardSettings

_MODEL = "NVIDIA-H100-80GB-HBM3"
_SETTINGS = DashboardSettings(listen="127.0.0.1:0", stale_after_s=3600)


class Fleet:
    """A store that knows the newest sample of every device of `nodes` nodes."""

    def __init__(self, nodes: int) -> None:
        made, now_ns = random.Random(1), time.time_ns()
        names = [f"node-{number:04}" for number in range(nodes)]
        self._points = [point for name in names for point in _points(name, made, now_ns)]
        self._statuses = [_status(name, now_ns) for name in names]

    async def latest(self) -> list[Point]:
        return self._points

    async def statuses(self) -> list[Status]:
        return self._statuses

    async def gates(self) -> list[GateDecision]:
        return []


def _points(node: str, made: random.Random, now_ns: int) -> Iterator[Point]:
    devices = [("gpu", str(n), _MODEL) for n in range(8)] + [("cpu", "0", "Xeon-8480")]
    for kind, device, model in [*devices, ("node", "", ""), ("agent", "", "")]:
        fields = {
            field.name: float(made.randrange(2)) if field.integer else round(made.random() * 100, 3)
            for field in MEASUREMENTS[kind].fields
        }
        yield Point(kind, node, device, model, "", fields, now_ns)


def _status(node: str, now_ns: int) -> Status:
    gpus = tuple(
        DeviceInfo(
            kind="gpu",
            device=str(number),
            model=_MODEL,
            name="NVIDIA H100 80GB HBM3",
            uuid=f"GPU-{node}-0000-0000-00000000000{number}",
            bus=f"00000000:{number:02X}:00.0",
        )
        for number in range(8)
    )
    return Status(node=node, online=True, time_ns=now_ns, version="1", devices=gpus)


async def measured(nodes: int, rounds: int) -> dict[str, Any]:
    """Of one fleet, the median of `rounds`."""
    answers = Answers(Fleet(nodes), SystemClock(), _SETTINGS)  # type: ignore[arg-type]
    async with Dashboard(answers, _SETTINGS) as dashboard:
        scrapes = [await _scraped(f"{dashboard.url}metrics") for _ in range(rounds)]
    scrape = sorted(scrapes, key=lambda one: one["cpu_s"])[rounds // 2]
    present = await answers.present()
    body = b"".join(text(families(present, answers.info(), dcgm_names=True)))
    began_s = time.process_time()
    pushed = sum(map(len, requests(present)))
    otlp_s = time.process_time() - began_s
    return {
        "gpus": nodes * 8,
        **scrape,
        "bytes": len(body),
        "values": sum(not line.startswith(b"#") for line in body.splitlines()),
        "prometheus_client_cpu_s": _library_s(body),
        "otlp_cpu_s": otlp_s,
        "otlp_sent_bytes": pushed,
    }


async def _scraped(url: str) -> dict[str, float]:
    stall = asyncio.create_task(_longest_stall_s())
    pipe, theirs = multiprocessing.get_context("spawn").Pipe()
    client = multiprocessing.get_context("spawn").Process(target=_get, args=(url, theirs))
    client.start()
    await asyncio.to_thread(pipe.recv)  # it is up
    began_s = time.process_time()
    pipe.send(None)
    took_s, sent = await asyncio.to_thread(pipe.recv)
    cpu_s = time.process_time() - began_s
    client.join()
    stall.cancel()
    return {"took_s": took_s, "cpu_s": cpu_s, "stall_s": await stall, "sent_bytes": sent}


def _get(url: str, pipe: Any) -> None:
    async def get() -> tuple[float, int]:
        headers = {"Accept-Encoding": "gzip"}
        async with aiohttp.ClientSession(auto_decompress=False) as client:
            pipe.send(None)
            await asyncio.to_thread(pipe.recv)
            began_s = time.perf_counter()
            async with client.get(url, headers=headers) as response:
                sent = len(await response.read())
            return time.perf_counter() - began_s, sent

    pipe.send(asyncio.run(get()))


async def _longest_stall_s() -> float:
    longest_s = 0.0
    try:
        while True:
            due_s = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            longest_s = max(longest_s, time.perf_counter() - due_s)
    except asyncio.CancelledError:
        return longest_s


class _Made:
    """The same families, as prometheus-client holds them."""

    def __init__(self, body: bytes) -> None:
        self._families = list(text_string_to_metric_families(body.decode()))

    def collect(self) -> list[Metric]:
        return self._families


def _library_s(body: bytes) -> float:
    registry = CollectorRegistry()
    registry.register(_Made(body))  # type: ignore[arg-type]
    began_s = time.process_time()
    zlib.compress(generate_latest(registry))
    return time.process_time() - began_s


def main() -> None:
    """A table, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rows = [asyncio.run(measured(nodes, given.rounds)) for nodes in given.nodes]
    print(f"{'GPUs':>6} {'values':>8} {'took':>7} {'CPU':>7} {'stall':>7} {'text':>8} {'sent':>8}", end=" ")
    print(f"{'prometheus-client':>18} {'OTLP CPU':>9} {'sent':>8}")
    for row in rows:
        print(
            f"{row['gpus']:>6} {row['values']:>8} {row['took_s']:>5.2f} s {row['cpu_s']:>5.2f} s "
            f"{row['stall_s'] * 1000:>4.0f} ms {row['bytes'] / 1e6:>5.1f} MB "
            f"{row['sent_bytes'] / 1e6:>5.1f} MB {row['prometheus_client_cpu_s']:>16.2f} s "
            f"{row['otlp_cpu_s']:>7.2f} s {row['otlp_sent_bytes'] / 1e6:>5.1f} MB"
        )
    print(json.dumps({"scrapes": rows}))


if __name__ == "__main__":
    main()

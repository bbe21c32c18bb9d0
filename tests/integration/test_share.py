"""Two collectors share the load of a fleet, one is killed: nothing is lost and nothing is stored twice.

Real are Mosquitto, InfluxDB, both `thermogate collector` and each node's spool and uplink.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests import servers
from thermogate.agent.config import UplinkSettings
from thermogate.agent.spool import Record, Spool, SpoolSettings
from thermogate.agent.uplink import Uplink
from thermogate.core.clock import SystemClock
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import format_line, node_topic

pytestmark = pytest.mark.integration

_ROOT = Path(__file__).parents[2]
_NODES = 6
_PATIENCE_S = 60.0


class Collectors:
    """Processes by name; each with a folder and a page of its own."""

    def __init__(self, folder: Path, broker: str, influx: str) -> None:
        self._folder = folder
        self._common = ["--broker", broker, "--influx", influx]
        for setting in (
            "collector.share_group=fleet",
            "collector.ack_interval_s=0.5",
            "mqtt.reconnect_min_s=0.1",
        ):
            self._common += ["--set", setting]
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._pages: dict[str, int] = {}

    def start(self, name: str) -> None:
        self._pages[name] = servers.free_port()
        command = [sys.executable, "-m", "thermogate.cli.main", "collector", *self._common]
        command += ["--data-dir", str(self._folder / name), "--listen", f"127.0.0.1:{self._pages[name]}"]
        with (self._folder / f"{name}.log").open("ab") as log:
            environment = {**os.environ, "HOME": str(self._folder)}
            self._running[name] = subprocess.Popen(
                command, cwd=_ROOT, env=environment, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait(10)

    def end(self) -> None:
        for name in list(self._running):
            self.kill(name)

    async def messages(self, name: str) -> int:
        """How many it has received; 0 while it does not answer."""
        url = f"http://127.0.0.1:{self._pages[name]}/api/v1/info"
        with contextlib.suppress(OSError):
            return await asyncio.to_thread(
                lambda: json.load(urllib.request.urlopen(url))["counters"]["messages"]
            )
        return 0


@pytest.fixture
def collectors(tmp_path: Path, influx: str, broker: str) -> Iterator[Collectors]:
    made = Collectors(tmp_path, broker, influx)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def influx(tmp_path: Path) -> Iterator[str]:
    with servers.influxdb(tmp_path) as url:
        yield url


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with servers.mosquitto(tmp_path) as url:
        yield url


class Node:
    """A spool and its uplink; `beat` is one second's sample."""

    def __init__(self, name: str, spool: Spool, uplink: Uplink) -> None:
        self.name = name
        self.spool = spool
        self._uplink = uplink
        self.stamps: set[int] = set()

    def beat(self) -> None:
        stamp_ns = time.time_ns()
        self.stamps.add(stamp_ns)
        line = format_line("gpu", self.name, "0", "H100", None, {"temp_c": 60.0}, stamp_ns)
        seq = self.spool.append("telemetry", line.encode())
        self._uplink.offer(Record(seq, "telemetry", line.encode()))


@contextlib.asynccontextmanager
async def node(name: str, folder: Path, broker: str) -> AsyncIterator[Node]:
    settings = UplinkSettings(ack_timeout_s=3.0)
    with Spool(folder / name, SpoolSettings()) as spool:
        mqtt = MqttSettings(url=broker, reconnect_min_s=0.1)
        async with MqttClient(mqtt, client_id=name, subscribe=(node_topic(name, "ack"),)) as client:
            uplink = Uplink(client, name, spool, settings, SystemClock())
            tasks = [asyncio.create_task(work) for work in (uplink.run(), uplink.hear())]
            await client.wait_connected()
            try:
                yield Node(name, spool, uplink)
            finally:
                for task in tasks:
                    task.cancel()


def stored(influx: str) -> dict[str, list[int]]:
    """The stamps of each node's samples."""
    query = "db=thermogate&epoch=ns&q=SELECT+temp_c+FROM+gpu+GROUP+BY+node"
    answer = json.load(urllib.request.urlopen(f"{influx}/query?{query}"))
    series = answer["results"][0].get("series", [])
    return {each["tags"]["node"]: [row[0] for row in each["values"]] for each in series}


async def test_two_share_the_load_and_when_one_is_killed_nothing_is_lost_or_double(
    collectors: Collectors, broker: str, influx: str, tmp_path: Path
) -> None:
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(_PATIENCE_S):
        nodes = [await stack.enter_async_context(node(f"n{n}", tmp_path, broker)) for n in range(_NODES)]

        async def beat_until(names: tuple[str, ...], count: int) -> None:
            """Samples go on until each of these collectors has received so many messages more."""
            before = {name: await collectors.messages(name) for name in names}
            while min([await collectors.messages(name) - before[name] for name in names]) < count:
                for one in nodes:
                    one.beat()
                await asyncio.sleep(0.05)

        collectors.start("one")
        collectors.start("two")
        await beat_until(("one", "two"), 40)
        collectors.kill("one")
        await beat_until(("two",), 100)
        collectors.start("one")
        await beat_until(("one", "two"), 40)
        while any(one.spool.depth for one in nodes):
            await asyncio.sleep(0.1)
    found = stored(influx)
    assert {name: sorted(stamps) for name, stamps in found.items()} == {
        one.name: sorted(one.stamps) for one in nodes
    }

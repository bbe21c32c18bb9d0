"""VictoriaMetrics is killed while samples flow through a collector: nothing is lost, nothing is double.

Real are Mosquitto, VictoriaMetrics and the collector; `make faults` has agents with spools besides.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import servers
from tests.contract.making import stored
from thermogate.collector.app import Collector, make_store
from thermogate.collector.config import CollectorSettings, VictoriaSettings
from thermogate.collector.store.base import Store
from thermogate.core.clock import SystemClock
from thermogate.core.model import Ack
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import decode, format_header, format_line, node_topic

pytestmark = pytest.mark.integration

MS = 1_000_000
NODES = 4
SETTLE_S = 12.0
"""A second more than the server takes to put on disk what it has taken."""
AGAIN_S = 2.5
"""Sooner than anything settles: everything is sent several times."""
PATIENCE_S = 120.0


class Node:
    """What an agent does about acknowledgements, in a hurry: sends again what it has not heard of.

    `stamps_ms` is what is to be found in the end.
    """

    def __init__(self, name: str, client: MqttClient) -> None:
        self.name = name
        self.stamps_ms: set[int] = set()
        self.waiting: dict[int, bytes] = {}
        self._client = client

    async def beat(self) -> None:
        stamp_ns = time.time_ns()
        self.stamps_ms.add(stamp_ns // MS)
        seq = len(self.stamps_ms)
        line = format_line("gpu", self.name, "0", "H100", None, {"temp_c": 60.0}, stamp_ns)
        self.waiting[seq] = format_header(self.name, "3f2a", seq) + line.encode()
        await self._client.publish(node_topic(self.name, "telemetry"), self.waiting[seq])

    async def send_again(self) -> None:
        while True:
            await asyncio.sleep(AGAIN_S)
            for payload in list(self.waiting.values()):
                await self._client.publish(node_topic(self.name, "telemetry"), payload)

    async def hear(self) -> None:
        while True:
            for heard in await self._client.receive(100):
                for first, last in decode(heard.payload, Ack).stored:
                    for seq in range(first, last + 1):
                        self.waiting.pop(seq, None)


@contextlib.asynccontextmanager
async def node(name: str, broker: str) -> AsyncIterator[Node]:
    mqtt = MqttSettings(url=broker, reconnect_min_s=0.1)
    async with MqttClient(mqtt, client_id=name, subscribe=(node_topic(name, "ack"),)) as client:
        await client.wait_connected()
        one = Node(name, client)
        tasks = [asyncio.create_task(work) for work in (one.hear(), one.send_again())]
        try:
            yield one
        finally:
            for task in tasks:
                task.cancel()


@contextlib.asynccontextmanager
async def collecting(broker: str, folder: Path, victoria: str) -> AsyncIterator[tuple[Collector, Store]]:
    settings = CollectorSettings(
        store="victoria",
        victoria=VictoriaSettings(url=victoria, settle_s=SETTLE_S),
        ack_interval_s=0.5,
        retry_min_s=0.1,
        retry_max_s=0.5,
    )
    stop = asyncio.Event()
    mqtt = MqttSettings(url=broker, reconnect_min_s=0.1)
    async with make_store(settings, folder, SystemClock()) as store, asyncio.TaskGroup() as group:
        collector = Collector(store, settings, mqtt, folder, SystemClock())
        group.create_task(collector.run(stop))
        await collector.connected()
        yield collector, store
        stop.set()


async def beat(nodes: list[Node], for_s: float) -> None:
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        for one in nodes:
            await one.beat()
        await asyncio.sleep(0.2)


async def test_kill_9_of_the_server_loses_nothing_and_stores_nothing_twice(tmp_path: Path) -> None:
    port = servers.free_port()
    url = f"http://127.0.0.1:{port}"
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(PATIENCE_S):
        broker = stack.enter_context(servers.mosquitto(tmp_path))
        with servers.victoria(tmp_path, port=port):  # which kills it at the end
            await asyncio.sleep(3)  # older than 2 s: what it takes may settle
            collector, store = await stack.enter_async_context(collecting(broker, tmp_path, url))
            nodes = [await stack.enter_async_context(node(f"n{n}", broker)) for n in range(NODES)]
            await beat(nodes, 5)
        await beat(nodes, 1)
        with servers.victoria(tmp_path, port=port):
            await beat(nodes, 2)
            while any(one.waiting for one in nodes):
                await asyncio.sleep(0.1)
            assert collector.counters.unsettled > 0, "the kill cost nothing, and so shows nothing"
            await asyncio.sleep(3)  # what was written last can be seen
            found = Counter((point.node, point.time_ns // MS) for point in await stored(store))
    assert set(found) == {(one.name, stamp_ms) for one in nodes for stamp_ms in one.stamps_ms}
    assert set(found.values()) == {1}

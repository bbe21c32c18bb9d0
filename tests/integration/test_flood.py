"""One node floods a real broker; the others are stored and acknowledged as before, and it is told."""

import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.contract.making import message, sample, stored
from tests.integration.flooding import NODE
from thermogate.collector.app import Collector
from thermogate.collector.config import CollectorSettings, EmbeddedSettings, LimitSettings
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.core.clock import SystemClock
from thermogate.core.model import Ack
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import decode, node_topic

pytestmark = pytest.mark.integration

MESSAGES = 30
BURST = 200
RATE = 20.0
PATIENCE_S = 60.0


class Node:
    """Sends again what has not been acknowledged, as an agent does."""

    def __init__(self, name: str, url: str) -> None:
        self._name = name
        self._client = MqttClient(MqttSettings(url=url), client_id=name, subscribe=(node_topic(name, "ack"),))
        self._left = set(range(1, MESSAGES + 1))

    async def run(self) -> None:
        async with self._client, asyncio.TaskGroup() as group:
            await self._client.wait_connected()
            hearing = group.create_task(self._hear())
            while self._left:
                for seq in sorted(self._left):
                    one = sample(3600 - seq, node=self._name, temp_c=seq)
                    payload = message(one, seq=seq, ack=seq % 10 == 0)
                    await self._client.publish(node_topic(self._name, "telemetry"), payload)
                    await asyncio.sleep(0.02)
                await asyncio.sleep(1)
            hearing.cancel()

    async def _hear(self) -> None:
        while True:
            for heard in await self._client.receive(100):
                for first, last in decode(heard.payload, Ack).stored:
                    self._left -= set(range(first, last + 1))


@contextlib.contextmanager
def flooding(url: str) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.integration.flooding", url]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as process:
        try:
            yield
        finally:
            process.kill()


@contextlib.asynccontextmanager
async def collecting(url: str, folder: Path) -> AsyncIterator[tuple[Collector, EmbeddedStore]]:
    limits = LimitSettings(node_msgs_per_s=RATE, node_burst_msgs=BURST)
    settings = CollectorSettings(ack_interval_s=0.2, embedded=EmbeddedSettings(threads=1), limits=limits)
    stop = asyncio.Event()
    async with EmbeddedStore(folder, settings.embedded, SystemClock()) as store, asyncio.TaskGroup() as group:
        collector = Collector(store, settings, MqttSettings(url=url), folder, SystemClock())
        group.create_task(collector.run(stop))
        await collector.connected()
        yield collector, store
        stop.set()


async def test_nine_honest_nodes_are_stored_and_acknowledged_while_a_tenth_floods(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    honest = [f"n{number}" for number in range(1, 10)]
    with servers.mosquitto(tmp_path) as url:
        async with collecting(url, tmp_path) as (collector, store):
            with flooding(url):
                async with asyncio.timeout(PATIENCE_S):
                    while collector.counters.throttled < 2000:
                        await asyncio.sleep(0.05)
                    async with asyncio.TaskGroup() as group:
                        for name in honest:
                            group.create_task(Node(name, url).run())
            counts = Counter(point.node for point in await stored(store))
    assert {name: counts[name] for name in honest} == dict.fromkeys(honest, MESSAGES)
    assert BURST <= counts[NODE] < collector.counters.throttled
    assert collector.counters.flooding == 1
    assert collector.counters.quarantined == 0
    told = [text for text in caplog.messages if "sends more than" in text]
    assert told == [
        f"node {NODE} sends more than {RATE:g} messages a second (collector.limits.node_msgs_per_s):"
        " the rest is dropped unacknowledged, and its spool keeps it"
    ]

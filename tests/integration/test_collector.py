"""A collector between a real broker and a real store, as an agent sees it."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.contract.making import NOW_NS, decision, event, message, sample, status, stored
from thermogate.cli.broker import embedded
from thermogate.collector.app import Collector, make_store
from thermogate.collector.config import CollectorSettings, EmbeddedSettings
from thermogate.collector.store.base import Store
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.core.clock import NS, SystemClock
from thermogate.core.decision import State
from thermogate.core.gate_messages import Applied, DeviceSignals, Report, Signals
from thermogate.core.model import Ack
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import (
    Point,
    applied_topic,
    decode,
    encode,
    gate_topic,
    node_topic,
    request_topic,
    signal_topic,
)

pytestmark = pytest.mark.integration

_ROOT = Path(__file__).parents[2]
_PATIENCE_S = 20.0


@pytest.fixture(params=["mosquitto", "embedded"])
async def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "mosquitto":
        with servers.mosquitto(tmp_path) as url:
            yield url
    else:
        async with embedded("127.0.0.1", 0) as broker:
            yield broker.url


class Node:
    """What an agent does about acknowledgements: sends again what the store does not have."""

    def __init__(self, client: MqttClient) -> None:
        self.client = client
        self.unacknowledged: dict[int, bytes] = {}
        self.heard = 0

    async def send(self, seq: int, payload: bytes) -> None:
        self.unacknowledged[seq] = payload
        await self.client.publish(node_topic("n1", "telemetry"), payload)

    async def send_again(self) -> None:
        for seq, payload in list(self.unacknowledged.items()):
            await self.send(seq, payload)

    async def hear(self, patience_s: float) -> None:
        """Take acknowledgements until there are none to wait for, or patience ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self.unacknowledged:
                    for heard in await self.client.receive(100):
                        for first, last in decode(heard.payload, Ack).stored:
                            for seq in range(first, last + 1):
                                self.heard += self.unacknowledged.pop(seq, None) is not None


@contextlib.asynccontextmanager
async def node(url: str) -> AsyncIterator[Node]:
    settings = MqttSettings(url=url, reconnect_min_s=0.05)
    async with MqttClient(settings, client_id="n1", subscribe=(node_topic("n1", "ack"),)) as client:
        await client.wait_connected()
        yield Node(client)


@contextlib.asynccontextmanager
async def collecting(url: str, folder: Path) -> AsyncIterator[tuple[Collector, Store]]:
    settings = CollectorSettings(ack_interval_s=0.2, embedded=EmbeddedSettings(threads=1))
    mqtt = MqttSettings(url=url, reconnect_min_s=0.05)
    stop = asyncio.Event()
    async with make_store(settings, folder, SystemClock()) as store, asyncio.TaskGroup() as group:
        collector = Collector(store, settings, mqtt, folder, SystemClock())
        group.create_task(collector.run(stop))
        await collector.connected()
        await asyncio.sleep(0.2)  # the subscription has no other sign that it stands
        yield collector, store
        stop.set()


def numbered(seq: int, *, ack: bool = False) -> bytes:
    lines = (sample(3600 - seq, device=device, temp_c=seq) for device in ("0", "1"))
    return message(*lines, seq=seq, ack=ack)


async def test_signals_and_what_was_applied_are_stored_and_reports_of_trainers_are_left_alone(
    broker_url: str, tmp_path: Path
) -> None:
    signals = Signals(node="n1", time_ns=NOW_NS, devices=(DeviceSignals(device="gpu0", overload=0.5),))
    done = Applied(
        scheduler="slurm",
        host="head",
        kind="job",
        target="j1",
        decision="D1",
        seq=1,
        state=State.HOLD,
        mode="enforce",
        outcome="done",
        time_ns=NOW_NS,
        text="held",
    )
    report = Report(kind="job", target="j1", time_ns=NOW_NS, step=1, metrics={"loss": 1.0})
    async with collecting(broker_url, tmp_path) as (collector, store), node(broker_url) as agent:
        for _ in range(2):
            await agent.client.publish(request_topic("job", "j1"), encode(report))
            await agent.client.publish(signal_topic("node", "n1"), encode(signals))
            await agent.client.publish(applied_topic("job", "j1"), encode(done))
        async with asyncio.timeout(_PATIENCE_S):
            while collector.counters.events < 2:
                await asyncio.sleep(0.02)
        point = Point("signal", "n1", "gpu0", "", "", {"overload": 0.5}, NOW_NS)
        assert await store.latest() == [point]
        (event,) = await store.events(start_ns=0, end_ns=2**62)
        assert (event.node, event.event, event.text) == ("head", "gate_applied", "held")
        assert collector.counters.quarantined == 0
        assert collector.counters.messages == 4


async def test_node_hears_what_the_store_has(broker_url: str, tmp_path: Path) -> None:
    async with collecting(broker_url, tmp_path) as (collector, store), node(broker_url) as agent:
        await agent.client.publish(node_topic("n1", "status"), encode(status()), retain=True)
        await agent.client.publish(gate_topic("node", "n1"), encode(decision(1)), retain=True)
        for seq in range(300):  # more than any broker's window
            await agent.send(seq, numbered(seq))
        agent.unacknowledged[300] = b""
        await agent.client.publish(node_topic("n1", "event"), encode(event(spool="3f2a", seq=300)))
        await agent.hear(_PATIENCE_S)
        assert agent.unacknowledged == {}
        assert len(await stored(store)) == 600
        assert [one.seq for one in await store.events(start_ns=0, end_ns=2**62)] == [300]
        assert await store.statuses() == [status()]
        assert await store.gates() == [decision(1)]
        assert collector.counters.samples == 600
        assert collector.counters.quarantined == 0


async def test_node_that_asks_hears_at_once(broker_url: str, tmp_path: Path) -> None:
    async with collecting(broker_url, tmp_path), node(broker_url) as agent:
        began_s = time.monotonic()
        await agent.send(1, numbered(1, ack=True))
        await agent.hear(_PATIENCE_S)
        assert agent.unacknowledged == {}
        assert time.monotonic() - began_s < 2


async def test_stranger_on_the_broker_neither_stops_nor_enters_the_store(
    broker_url: str, tmp_path: Path
) -> None:
    async with collecting(broker_url, tmp_path) as (collector, store), node(broker_url) as agent:
        for leaf in ("telemetry", "event", "status"):
            for rubbish in (b"\x00\xff", b"{}", b"x" * 10_000, numbered(1).replace(b"n1", b"n2")):
                await agent.client.publish(node_topic("n1", leaf), rubbish)
        await agent.send(5, numbered(5, ack=True))
        await agent.hear(_PATIENCE_S)
        assert agent.unacknowledged == {}
        assert len(await stored(store)) == 2
        assert collector.counters.quarantined == 12
        assert len(list((tmp_path / "quarantine").iterdir())) == 1


async def test_no_broker_hangs_up_though_bad_messages_take_longer_than_good_ones(
    broker_url: str, tmp_path: Path
) -> None:
    async with collecting(broker_url, tmp_path) as (collector, _), node(broker_url) as agent:
        connection = collector._client._link.connection
        for seq in range(40):
            await agent.send(seq, numbered(seq))
            await agent.client.publish(node_topic("n1", "event"), b"rubbish")
        await agent.hear(_PATIENCE_S)
        assert agent.unacknowledged == {}
        assert collector.counters.quarantined == 40
        assert collector._client._link.connection is connection


async def test_stopping_stores_what_had_come_and_says_so(broker_url: str, tmp_path: Path) -> None:
    async with node(broker_url) as agent:
        async with collecting(broker_url, tmp_path):
            for seq in range(50):
                await agent.send(seq, numbered(seq))
            began_s = time.monotonic()
        assert time.monotonic() - began_s < 2
        await agent.hear(2)
        assert agent.unacknowledged == {}
    async with EmbeddedStore(tmp_path, EmbeddedSettings(), SystemClock(), read_only=True) as store:
        assert len(await stored(store)) == 100


@contextlib.contextmanager
def collector_process(url: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.integration.run_collector", url, str(folder)]
    with subprocess.Popen(command, cwd=_ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_kill_9_of_the_collector_loses_nothing_and_stores_nothing_twice(
    broker_url: str, tmp_path: Path
) -> None:
    seq = 0
    async with node(broker_url) as agent:
        for _ in range(2):
            with collector_process(broker_url, tmp_path):
                goal = agent.heard + 40
                while agent.heard < goal:
                    await agent.send(seq, numbered(seq, ack=seq % 25 == 0))
                    seq += 1
                    await agent.hear(0.01)
        with collector_process(broker_url, tmp_path):
            began_s = time.monotonic()
            while agent.unacknowledged and time.monotonic() < began_s + _PATIENCE_S:
                await agent.send_again()
                await agent.hear(1)
    assert agent.unacknowledged == {}
    async with EmbeddedStore(tmp_path, EmbeddedSettings(), SystemClock(), read_only=True) as store:
        counts = Counter((point.time_ns, point.device) for point in await stored(store))
    assert set(counts.values()) == {1}
    assert len(counts) == 2 * seq
    assert min(stamp for stamp, _ in counts) == NOW_NS - 3600 * NS

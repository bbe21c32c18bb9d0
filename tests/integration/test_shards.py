"""Two gates share a fleet behind a real Mosquitto: every node is decided about by exactly one."""

import asyncio
import time

import pytest

from tests.gates import FAST, gate
from tests.servers import free_port, mosquitto
from thermogate.analytics.shard import Shard
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision
from thermogate.core.model import Status
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import decode, encode, format_header, format_line, gate_topic, node_topic

pytestmark = pytest.mark.integration

NODES = [f"n{number}" for number in range(12)]
PATIENCE_S = 30.0
START_NS = time.time_ns() - 3600 * NS


def shard(url, text, folder):
    return gate(url, folder / text.replace("/", "-of-"), shard=text)


def shard_of(fleet, index):
    return shard(fleet.url, f"{index}/2", fleet.folder)


class Fleet:
    """Nodes that say their status, and all of them the same samples."""

    def __init__(self, client):
        self._client = client
        self._second = 0
        self.held = {}

    async def say_status(self):
        for node in NODES:
            status = Status(node=node, online=True, time_ns=START_NS)
            await self._client.publish(node_topic(node, "status"), encode(status), retain=True)

    async def samples(self, count, **fields):
        for _ in range(count):
            self._second += 1
            given = {"util_ratio": 0.97, "temp_limit_c": 90.0, "temp_c": 80.0, "collapse": 0, **fields}
            for node in NODES:
                line = format_line("gpu", node, "0", "H100", None, given, START_NS + self._second * NS)
                payload = format_header(node, "ab", self._second) + line.encode()
                self._client.send(node_topic(node, "telemetry"), payload)
        await self._client.publish("thermogate/v1/done", b"1")

    async def collapse_three_times(self):
        for _ in range(3):
            await self.samples(20)
            await self.samples(5, collapse=1)

    async def hear(self):
        """Every decision, by its node."""
        while True:
            for message in await self._client.receive(100):
                decision = decode(message.payload, GateDecision)
                self.held.setdefault(decision.target, []).append(decision)


@pytest.fixture
async def fleet(tmp_path):
    with mosquitto(tmp_path, extra="max_queued_messages 0\n") as url:
        topics = (gate_topic("node", "+"),)
        async with MqttClient(MqttSettings(url=url, **FAST), client_id="fleet", subscribe=topics) as client:
            await client.wait_connected()
            side = Fleet(client)
            side.url = url
            side.folder = tmp_path
            hearing = asyncio.create_task(side.hear())
            yield side
            hearing.cancel()


async def until(true):
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.02)


def owned(index):
    return sum(Shard(index, 2).owns(node) for node in NODES)


async def test_every_node_is_decided_about_by_exactly_one_of_two_shards(fleet):
    await fleet.say_status()
    async with (
        shard(fleet.url, "0/2", fleet.folder) as first,
        shard(fleet.url, "1/2", fleet.folder) as second,
    ):
        await until(lambda: first.node_count == owned(0) and second.node_count == owned(1))
        await asyncio.sleep(0.5)  # the subscriptions have no other sign that they stand
        await fleet.collapse_three_times()
        await until(lambda: set(fleet.held) == set(NODES))
        await until(
            lambda: (
                (first.counters["telemetry_count"], second.counters["telemetry_count"])
                == (75 * owned(0), 75 * owned(1))
            )
        )
        for node, decisions in fleet.held.items():
            chain = [decision.supersedes for decision in decisions]
            assert chain == ["", *(decision.id for decision in decisions[:-1])], node
            assert {decision.state for decision in decisions} == {"HOLD"}
        made = first.counters["decision_count"] + second.counters["decision_count"]
        await until(lambda: sum(map(len, fleet.held.values())) == made)


async def test_a_shard_that_restarts_goes_on_with_its_own_nodes_and_the_other_does_not_notice(fleet):
    await fleet.say_status()
    async with shard(fleet.url, "1/2", fleet.folder) as second:
        async with shard(fleet.url, "0/2", fleet.folder) as first:
            await until(lambda: first.node_count == owned(0) and second.node_count == owned(1))
            await asyncio.sleep(0.5)
            await fleet.collapse_three_times()
            await until(lambda: set(fleet.held) == set(NODES))
        before = {node: decisions[-1].id for node, decisions in fleet.held.items()}
        async with shard(fleet.url, "0/2", fleet.folder) as first:
            await until(lambda: first.node_count == owned(0))
            await asyncio.sleep(1.0)  # past the renewal
            fleet.held.clear()
            await fleet.samples(1)
            await until(lambda: set(fleet.held) == set(NODES))
            assert first.counters["telemetry_count"] == owned(0)
            for node, decisions in fleet.held.items():
                assert decisions[0].state == "HOLD"
                assert decisions[0].supersedes == before[node] or not Shard(0, 2).owns(node)


async def test_a_node_that_comes_later_is_taken_by_its_shard_and_by_no_other(fleet):
    async with (
        shard(fleet.url, "0/2", fleet.folder) as first,
        shard(fleet.url, "1/2", fleet.folder) as second,
    ):
        await asyncio.sleep(0.5)
        await fleet.say_status()
        await until(lambda: first.node_count + second.node_count == len(NODES))
        assert (first.node_count, second.node_count) == (owned(0), owned(1))


async def test_a_shard_asks_again_for_its_nodes_at_a_broker_that_has_forgotten_everything(tmp_path):
    port = free_port()
    async with MqttClient(MqttSettings(url=f"mqtt://127.0.0.1:{port}", **FAST), client_id="fleet") as client:
        fleet = Fleet(client)
        async with shard(client.settings.url, "0/2", tmp_path) as first:
            with mosquitto(tmp_path, port=port):
                await client.wait_connected()
                await fleet.say_status()
                await until(lambda: first.node_count == owned(0))
            await until(lambda: not client.connected and first.problems)
            with mosquitto(tmp_path, port=port):
                await client.wait_connected()
                await until(lambda: not first.problems)
                await asyncio.sleep(0.5)
                await fleet.samples(3)
                await until(lambda: first.counters["telemetry_count"] == 3 * owned(0))

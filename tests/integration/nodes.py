"""A node's agent that samples 50 times a second, and a collector that keeps what it hears."""

import asyncio
import contextlib
import time

from thermogate.agent.app import Agent
from thermogate.agent.config import AgentSettings
from thermogate.agent.feed import Tick
from thermogate.agent.sources.base import Reading
from thermogate.agent.spool import Spool
from thermogate.core.clock import SystemClock
from thermogate.core.model import Ack
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import check_telemetry, encode, node_topic, split_topic

FAST = {"reconnect_min_s": 0.05, "reconnect_max_s": 0.2, "echo_s": 1.0}
PATIENCE_S = 30.0


class Beat:
    """A feed of one processor, 50 times a second, for ever."""

    origin = None

    def __init__(self, node):
        self.node = node

    def reports(self):
        return ()

    def devices(self):
        return ()

    def counters(self):
        return {}

    def economize(self, *, frugal):
        pass

    async def ticks(self):
        while True:
            reading = Reading("cpu", "0", {"util_ratio": 0.5})
            yield Tick(time.time_ns(), time.monotonic(), (reading,))
            await asyncio.sleep(0.02)

    async def close(self):
        pass


@contextlib.asynccontextmanager
async def agent(folder, node, **mqtt):
    """Yields the agent's spool and client while it runs; the spool outlives it in `folder`."""
    with Spool(folder, AgentSettings().spool) as spool:
        stop = asyncio.Event()
        running = Agent(Beat(node), spool, AgentSettings(), MqttSettings(**{**FAST, **mqtt}), SystemClock())
        task = asyncio.create_task(running.run(stop, drain_s=0.1))
        try:
            yield spool, running._client
        finally:
            stop.set()
            await asyncio.wait_for(task, PATIENCE_S)


@contextlib.asynccontextmanager
async def collector(**mqtt):
    """Acknowledges every sample; yields {node: sequence numbers}."""
    heard = {}
    settings = MqttSettings(**{**FAST, **mqtt})
    topics = (node_topic("+", "telemetry"),)
    async with MqttClient(settings, client_id="thermogate-collector", subscribe=topics) as client:
        task = asyncio.create_task(_keep(client, heard))
        await asyncio.wait_for(client.wait_connected(), PATIENCE_S)
        try:
            yield heard
        finally:
            task.cancel()


async def _keep(client, heard):
    while True:
        for message in await client.receive(100):
            _, node, _ = split_topic(message.topic)
            header = check_telemetry(node, message.payload)
            heard.setdefault(node, set()).add(header.seq)
            client.publish_soon(
                node_topic(node, "ack"), encode(Ack(header.spool, ((header.seq, header.seq),)))
            )


async def until(true):
    """Return when `true()` is."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.02)

"""The spool of a node that no longer samples here: sent to its end, and nothing said of the node."""

import asyncio

from thermogate.agent.config import UplinkSettings
from thermogate.agent.spool import Spool
from thermogate.agent.uplink import Uplink
from thermogate.core.clock import Clock
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import node_topic


async def send(
    node: str, spool: Spool, settings: UplinkSettings, mqtt: MqttSettings, clock: Clock, stop: asyncio.Event
) -> None:
    """Return when the store has everything, or at `stop`; what is left then stays in the spool."""
    if spool.depth == 0:
        return
    client = MqttClient(
        mqtt,
        client_id=f"thermogate-leftover-{node}",
        subscribe=(node_topic(node, "ack"),),
        on_connect=lambda: uplink.reconnected(),
    )
    uplink = Uplink(client, node, spool, settings, clock)
    async with client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(uplink.run()), group.create_task(uplink.hear())]
        waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(uplink.drain(None))]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, *waits):
            task.cancel()

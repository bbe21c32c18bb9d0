"""Messages that a collector finds sound, and of which the real InfluxDB refuses a line."""

import asyncio
import time
import urllib.request

from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import format_header, node_topic

_NODE = "poisoned"
_FIELD = "power_limit_w"
"""A field that recorded traces do not have."""


def poison(broker_url: str, database_url: str, *, count: int) -> int:
    """Make the field an integer in the database, then send it as the decimal number that it is; how often."""
    line = f"gpu,node={_NODE},device=0 {_FIELD}=1i {time.time_ns()}"
    request = urllib.request.Request(f"{database_url}/write?db=thermogate", data=line.encode())
    with urllib.request.urlopen(request, timeout=10):
        pass
    asyncio.run(_send(broker_url, count))
    return count


async def _send(broker_url: str, count: int) -> None:
    async with MqttClient(MqttSettings(url=broker_url), client_id=_NODE) as client:
        await client.wait_connected()
        for seq in range(1, count + 1):
            # the first line is good, the second is not
            lines = f"gpu,node={_NODE},device=1 temp_c=60.0 {time.time_ns()}\n"
            lines += f"gpu,node={_NODE},device=0 {_FIELD}=400.0 {time.time_ns()}\n"
            payload = format_header(_NODE, "0123abcd", seq) + lines.encode()
            await client.publish(node_topic(_NODE, "telemetry"), payload)
            await asyncio.sleep(1)

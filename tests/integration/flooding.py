"""A node that floods until it is killed: `python -m tests.integration.flooding URL`."""

import asyncio
import sys
from itertools import count

from tests.contract.making import NOW_NS
from thermogate.core.clock import NS
from thermogate.core.errors import NotConnectedError
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import format_header, node_topic

NODE = "bad"


def payload(seq: int) -> bytes:
    """Each message is another sample."""
    stamp = NOW_NS - 3600 * NS + seq
    return format_header(NODE, "3f2a", seq) + b"gpu,node=%b,device=0 temp_c=60 %d\n" % (NODE.encode(), stamp)


async def main(url: str) -> None:
    seqs = count(1)
    async with MqttClient(MqttSettings(url=url), client_id=NODE) as client:
        while True:
            await client.wait_connected()
            try:
                for seq, _ in zip(seqs, range(100), strict=False):
                    client.send(node_topic(NODE, "telemetry"), payload(seq))
                await client.publish(node_topic(NODE, "telemetry"), payload(next(seqs)))
            except NotConnectedError:  # the broker has had enough of it
                await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

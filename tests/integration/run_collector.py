"""A collector with the embedded store, to be killed: `python -m tests.integration.run_collector URL DIR`."""

import asyncio
import sys
from pathlib import Path

from thermogate.collector.app import Collector, make_store
from thermogate.collector.config import CollectorSettings
from thermogate.core.clock import SystemClock
from thermogate.core.mqtt import MqttSettings


async def main(url: str, folder: str) -> None:
    settings = CollectorSettings(ack_interval_s=0.2)
    mqtt = MqttSettings(url=url, reconnect_min_s=0.05)
    clock = SystemClock()
    async with make_store(settings, Path(folder), clock) as store:
        await Collector(store, settings, mqtt, Path(folder), clock).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

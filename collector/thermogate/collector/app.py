"""The composition root of the collector: broker -> ingest -> store, acknowledgements and quarantine."""

import asyncio
from pathlib import Path

from thermogate.collector.acks import Acker
from thermogate.collector.checking import SUBSCRIPTIONS
from thermogate.collector.config import CollectorSettings
from thermogate.collector.counters import Counters
from thermogate.collector.ingest import Ingest
from thermogate.collector.quarantine import Quarantine
from thermogate.collector.store.base import Store
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.collector.store.influx import InfluxStore
from thermogate.core.clock import Clock
from thermogate.core.mqtt import MqttClient, MqttSettings

_MIB = 1 << 20
_LAST_ACKS_S = 0.2
"""Kept of the time to stop for the last acknowledgements to reach the broker."""


def make_store(settings: CollectorSettings, data_dir: Path, clock: Clock) -> Store:
    """The store that the settings name, to be opened with `async with`."""
    if settings.store == "influx":
        return InfluxStore(settings.influx, clock)
    return EmbeddedStore(data_dir, settings.embedded, clock)


class Collector:
    """Stores what agents and analytics publish: `await Collector(...).run(stop)`.

    `store` is open for as long as it runs, and others may query it.
    """

    def __init__(
        self, store: Store, settings: CollectorSettings, mqtt: MqttSettings, data_dir: Path, clock: Clock
    ) -> None:
        self.counters = Counters()
        """What it has done; changes as it runs."""
        self._client = MqttClient(
            mqtt, client_id=settings.client_id, subscribe=SUBSCRIPTIONS, manual_ack=True
        )
        self._acker = Acker(self._client, settings.ack_interval_s, clock, self.counters)
        quarantine = Quarantine(data_dir / "quarantine", settings.quarantine_mb * _MIB, clock)
        self._ingest = Ingest(self._client, store, self._acker, quarantine, self.counters, settings, clock)

    async def connected(self) -> None:
        """Return once the broker has accepted this collector; what is published before may be missed
        and then comes again from the spools."""
        await self._client.wait_connected()

    async def run(self, stop: asyncio.Event, *, drain_s: float = 1.0) -> None:
        """Collect until `stop` is set; then, for up to `drain_s`, store and acknowledge what had come.

        What is not stored by then stays in the spools of its nodes. Raises ConfigError when the
        settings of the broker are wrong; a broker or store that fails is waited for.
        """
        async with self._client, asyncio.TaskGroup() as group:
            acking = group.create_task(self._acker.run())
            ingesting = group.create_task(self._ingest.run(stop))
            await stop.wait()
            until_s = asyncio.get_running_loop().time() + drain_s
            await asyncio.wait([ingesting], timeout=drain_s - _LAST_ACKS_S)
            ingesting.cancel()
            acking.cancel()
            await self._acker.flush(until_s - asyncio.get_running_loop().time())

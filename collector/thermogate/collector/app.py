"""The composition root of the collector: broker -> ingest -> store, acknowledgements and quarantine."""

import asyncio
import secrets
import socket
from pathlib import Path

from thermogate.collector.acks import Acker
from thermogate.collector.config import CollectorSettings
from thermogate.collector.counters import Counters
from thermogate.collector.ingest import Ingest
from thermogate.collector.quarantine import Quarantine
from thermogate.collector.requeue import Requeue
from thermogate.collector.rollup import Roller
from thermogate.collector.rollup_journal import Journal
from thermogate.collector.store.base import Batch, RollsUp, Store
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.collector.store.influx import InfluxStore
from thermogate.collector.store.resolution import kept_by
from thermogate.collector.store.victoria import VictoriaStore
from thermogate.collector.writing import Writer
from thermogate.core.clock import Clock
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import applied_topic, gate_topic, node_topic, signal_topic, to_name

_MIB = 1 << 20
_LAST_ACKS_S = 0.2
"""Kept of the time to stop for the last acknowledgements to reach the broker."""
_MOST_ACKS_S = 0.7
"""A broker that has not taken them by then hangs, and leaving it takes a second more."""


def make_store(settings: CollectorSettings, data_dir: Path, clock: Clock) -> Store:
    """The store that the settings name, to be opened with `async with`."""
    if settings.store == "influx":
        return InfluxStore(
            settings.influx, clock, retention=settings.retention, rolled=settings.rollup.fields
        )
    if settings.store == "victoria":
        return VictoriaStore(settings.victoria, clock)
    rolled = settings.rollup.fields
    return EmbeddedStore(data_dir, settings.embedded, clock, retention=settings.retention, rolled=rolled)


def subscriptions(share_group: str) -> tuple[str, ...]:
    """What a collector asks the broker for: of what nodes write at a rate only its share, if it has a group.

    Statuses and decisions go to every collector: a broker keeps them for who comes later, but not for a
    group. What was applied, too: no spool has it, and one collector may die. Written twice they are the same.
    """
    share = f"$share/{share_group}/" if share_group else ""
    return (
        share + node_topic("+", "telemetry"),
        share + node_topic("+", "event"),
        share + signal_topic("node", "+"),
        node_topic("+", "status"),
        gate_topic("+", "+"),
        applied_topic("+", "+"),
    )


def _client_id() -> str:
    return f"thermogate-collector-{to_name(socket.gethostname())[:32]}-{secrets.token_hex(4)}"


def _roller(
    store: Store, settings: CollectorSettings, data_dir: Path, counters: Counters, clock: Clock
) -> Roller | None:
    if not (settings.rollup.enabled and isinstance(store, RollsUp)):
        return None
    journal = Journal(data_dir / "rollup")
    return Roller(store, journal, settings.rollup, kept_by(settings.retention), counters, clock)


def _nobody(_: Batch) -> None: ...


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
            mqtt,
            client_id=settings.client_id or _client_id(),
            subscribe=subscriptions(settings.share_group),
            manual_ack=True,
            window=mqtt.receive_window,
        )
        self._acker = Acker(self._client, settings.ack_interval_s, clock, self.counters)
        quarantine = Quarantine(
            data_dir / "quarantine",
            settings.quarantine_mb * _MIB,
            clock,
            share=settings.limits.quarantine_node_share,
        )
        self._roller = _roller(store, settings, data_dir, self.counters, clock)
        tell = self._roller.stored if self._roller else _nobody
        self._ingest = Ingest(
            *(self._client, store, self._acker, quarantine, self.counters, settings, clock, tell)
        )
        self._requeue = Requeue(
            data_dir / "quarantine",
            store,
            Writer(store, self.counters, settings, clock, tell),
            self._ingest.guard,
            self.counters,
            clock,
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """Why nothing comes from the broker or goes into the store, if so; () when all is well."""
        return tuple(filter(None, (self._client.last_problem, self._ingest.problem)))

    async def connected(self) -> None:
        """Return once the broker has accepted this collector; what is published before may be missed
        and then comes again from the spools."""
        await self._client.wait_connected()

    async def run(self, stop: asyncio.Event, *, drain_s: float = 1.0) -> None:
        """Collect until `stop` is set; then, for up to `drain_s`, store and acknowledge what had come.

        What is not stored by then stays in the spools of its nodes. Raises ConfigError when the
        settings of the broker are wrong; a broker or store that fails is waited for.
        """
        if self._roller is not None:
            await self._roller.open()
        async with self._client, asyncio.TaskGroup() as group:
            rolling = group.create_task(self._roller.run()) if self._roller else None
            acking = group.create_task(self._acker.run())
            ingesting = group.create_task(self._ingest.run(stop))
            requeuing = group.create_task(self._requeue.run())
            await stop.wait()
            until_s = asyncio.get_running_loop().time() + drain_s
            await asyncio.wait([ingesting], timeout=drain_s - _LAST_ACKS_S)
            ingesting.cancel()
            requeuing.cancel()
            if rolling is not None:
                rolling.cancel()
            acking.cancel()
            await self._acker.flush(min(until_s - asyncio.get_running_loop().time(), _MOST_ACKS_S))

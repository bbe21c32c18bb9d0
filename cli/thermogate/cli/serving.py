"""Answers over the store that a collector writes: what `up` and `collector` serve."""

from thermogate.cli.settings import ThermogateSettings
from thermogate.collector.app import Collector
from thermogate.collector.store.base import Store
from thermogate.core.clock import Clock
from thermogate.core.mqtt import MqttSettings
from thermogate.dashboard.answers import Answers


def answers(
    loaded: ThermogateSettings, store: Store, collector: Collector, mqtt: MqttSettings, clock: Clock
) -> Answers:
    """With where the collector reads and writes, and what it has counted."""
    return Answers(
        store,
        clock,
        loaded.dashboard,
        broker_url=mqtt.url,
        store=store.description,
        counters=collector.counters.as_dict,
    )

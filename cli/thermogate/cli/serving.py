"""Answers over the store that a collector writes: what `up` and `collector` serve."""

from thermogate.analytics.config import HealthSettings
from thermogate.cli import service
from thermogate.cli.settings import ThermogateSettings
from thermogate.collector.app import Collector
from thermogate.collector.store.base import Store
from thermogate.core.clock import Clock
from thermogate.core.errors import ConfigError
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
        bounds=bounds(loaded.analytics.health),
    )


def bounds(health: HealthSettings) -> dict[str, float]:
    """Of the regulator's signals, by the name of their field: what the page and `explain` show beside them.

    They are of this process's configuration: give the collector the file that analytics have.
    """
    return {
        "overload": health.overload_bound,
        "incoherence": health.incoherence_bound,
        "repair_severity": health.severity_bound,
    }


async def push_metrics(loaded: ThermogateSettings, answers: Answers) -> None:
    """Push over OTLP until cancelled, where [otlp] has an endpoint. Raises ConfigError."""
    if not loaded.otlp.endpoint:
        return
    try:
        from thermogate.dashboard.otlp import Otlp
    except ModuleNotFoundError as err:
        raise ConfigError(f"otlp.endpoint needs {err.name}: pip install 'thermogate[otlp]'") from err
    async with Otlp(answers, loaded.otlp) as otlp:
        service.report("otlp", loaded.otlp.endpoint)
        await otlp.run()

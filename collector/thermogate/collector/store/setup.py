"""What `thermogate collector setup` does, whichever store the settings name."""

from collections.abc import AsyncIterator

from thermogate.collector.config import CollectorSettings
from thermogate.collector.store import influx_setup, victoria_setup
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.setting_up import Step, Wish
from thermogate.core.clock import Clock


async def setup(settings: CollectorSettings, wish: Wish, clock: Clock) -> AsyncIterator[Step]:
    """Who answers, then each thing that the store needs. Raises StoreError and ConfigError."""
    steps = {"embedded": _embedded, "influx": _influx, "victoria": _victoria}[settings.store]
    async for step in steps(settings, wish, clock):
        yield step


async def _embedded(settings: CollectorSettings, wish: Wish, clock: Clock) -> AsyncIterator[Step]:  # noqa: ARG001 - one form for all
    yield Step("there", "embedded store: the collector makes it when it starts, nothing is to be done")


async def _influx(settings: CollectorSettings, wish: Wish, clock: Clock) -> AsyncIterator[Step]:  # noqa: ARG001 - one form for all
    async with InfluxHttp(settings.influx) as http:
        server = await http.known()
        yield Step("there", f"{server.name} at {settings.influx.url}")
        async for step in influx_setup.setup(http, settings.retention, wish):
            yield step


async def _victoria(settings: CollectorSettings, wish: Wish, clock: Clock) -> AsyncIterator[Step]:  # noqa: ARG001 - one form for all
    async for step in victoria_setup.setup(settings.victoria, settings.retention):
        yield step

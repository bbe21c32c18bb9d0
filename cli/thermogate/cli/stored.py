"""Answers straight from a data folder that no process holds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from thermogate.analytics.config import HealthSettings
from thermogate.cli import serving
from thermogate.collector.config import EmbeddedSettings
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.core.clock import SystemClock
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.settings import DashboardSettings


@asynccontextmanager
async def answers(data_dir: Path) -> AsyncIterator[Answers]:
    """Read-only, with the defaults of every threshold. Raises UnavailableError when there is no store."""
    clock = SystemClock()
    async with EmbeddedStore(data_dir, EmbeddedSettings(), clock, read_only=True) as store:
        bounds = serving.bounds(HealthSettings())
        yield Answers(store, clock, DashboardSettings(), store=store.description, bounds=bounds)

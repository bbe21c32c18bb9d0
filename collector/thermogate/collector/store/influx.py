"""InfluxDB 1.x and 2.x as a store: line protocol in, InfluxQL out."""

import logging
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from thermogate.collector.config import InfluxSettings
from thermogate.collector.store.base import Batch
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_query import InfluxQuery
from thermogate.collector.store.influx_text import decision_line, event_line, identifier, status_line
from thermogate.core.clock import Clock
from thermogate.core.errors import StoreError

log = logging.getLogger(__name__)


class InfluxStore(InfluxQuery):
    """`Store` over HTTP. A server that is down when it is entered is waited for by the writes."""

    def __init__(self, settings: InfluxSettings, clock: Clock) -> None:
        super().__init__(InfluxHttp(settings), clock)
        self._settings = settings
        self._stack = AsyncExitStack()
        self._version = ""
        self._ready = False

    @property
    def description(self) -> str:
        """Which server, as far as known."""
        return f"InfluxDB {self._version}".strip() + f" at {self._settings.url}, {self._settings.database}"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._http)
            try:
                await self._prepare()
            except StoreError as err:
                log.warning("%s; trying again with every write", err)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def write(self, batch: Batch) -> None:
        """As `Store.write`. A device's second line for a stamp adds to the fields of the first."""
        if not self._ready:
            await self._prepare()
        now_ns = self._clock.utc_ns()
        lines = [
            *batch.telemetry,  # InfluxDB skips their comment lines
            *map(event_line, batch.events),
            *map(decision_line, batch.decisions),
            *(status_line(status, now_ns) for status in batch.statuses),
        ]
        try:
            await self._http.write(b"".join(lines))
        except StoreError:
            self._ready = False  # it may come back without our database
            raise

    async def _prepare(self) -> None:
        """Learn the version and, in 1.x, make the database when it is missing."""
        self._version = await self._http.version()
        if not self._http.is_v2:
            databases = await self._http.query("SHOW DATABASES")
            name = self._settings.database
            if [name] not in [row for series in databases for row in series.values]:
                hours = max(1, round(self._settings.retention_days * 24))  # an hour is the least it takes
                await self._http.query(f"CREATE DATABASE {identifier(name)} WITH DURATION {hours}h")
        self._ready = True

"""InfluxDB 1.x, 2.x and 3.x as a store: line protocol in, InfluxQL out."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

from thermogate.collector.config import InfluxSettings, RetentionSettings, RollupSettings
from thermogate.collector.store.base import Batch
from thermogate.collector.store.covers import having, remade
from thermogate.collector.store.influx_errors import missing
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_query import InfluxQuery
from thermogate.collector.store.influx_rollup import Rollup
from thermogate.collector.store.influx_setup import make_missing
from thermogate.collector.store.influx_text import decision_line, event_line, status_line
from thermogate.collector.store.resolution import Resolution, Span, Window, kept_by
from thermogate.core.clock import Clock
from thermogate.core.errors import RejectedError, StoreError

log = logging.getLogger(__name__)

_RETENTION = RetentionSettings()
_FIELDS = RollupSettings().fields


class InfluxStore(InfluxQuery):
    """`Store` that `RollsUp`, over HTTP. A server that is down when it is entered is waited for."""

    def __init__(
        self,
        settings: InfluxSettings,
        clock: Clock,
        *,
        retention: RetentionSettings = _RETENTION,
        rolled: Sequence[str] = _FIELDS,
    ) -> None:
        super().__init__(InfluxHttp(settings), kept_by(retention), clock)
        self._settings = settings
        self._retention = retention
        self._rollup = Rollup(self._http)
        self._rolled = frozenset(rolled)
        self._stack = AsyncExitStack()
        self._preparing = asyncio.Lock()
        self._ready = False

    @property
    def description(self) -> str:
        """Which server, as far as known."""
        name = self._http.server.name if self._http.server else "InfluxDB"
        return f"{name} at {self._settings.url}, {self._settings.database}"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._http)
            stack.push_async_callback(self._newest.close)
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
        await self._prepare()
        now_ns = self._clock.utc_ns()
        lines = [
            *batch.telemetry,  # InfluxDB skips their comment lines
            *map(event_line, batch.events),
            *map(decision_line, batch.decisions),
            *(status_line(status, now_ns) for status in batch.statuses),
        ]
        if not lines:
            return
        try:
            await self._http.write(b"".join(lines))
        except RejectedError:
            raise
        except StoreError:
            self._ready = False  # it may come back without our database
            raise
        self._newest.see(batch.telemetry)
        self._messages.see(batch.decisions, batch.statuses, now_ns)

    async def roll_up(self, resolution: Resolution, windows: Sequence[Window]) -> None:
        """As `RollsUp.roll_up`."""
        async with self._prepared():
            fields = remade(await self._coverage.covers(), resolution, windows, self._rolled)
            await self._rollup.make(resolution, windows, fields)

    async def cover(self, resolution: Resolution, start_ns: int, end_ns: int) -> None:
        """As `RollsUp.cover`."""
        async with self._prepared():
            await self._coverage.cover(resolution, (start_ns, end_ns), self._rolled)

    async def covered(self) -> Mapping[Resolution, tuple[Span, ...]]:
        """As `RollsUp.covered`."""
        async with self._prepared():
            return having(await self._coverage.covers(), self._rolled)

    @asynccontextmanager
    async def _prepared(self) -> AsyncIterator[None]:
        """For what needs the places of windows, which somebody may have dropped."""
        await self._prepare()
        try:
            yield
        except StoreError as err:
            if missing(str(err)):
                self._ready = False
                self._coverage.forget()
            raise

    async def _prepare(self) -> None:
        """Learn who answers and, in 1.x, make what is missing."""
        async with self._preparing:
            if self._ready:
                return
            await self._http.detect()
            if await make_missing(self._http, self._retention):
                self._newest.forget()
                self._messages.forget()
                self._coverage.forget()
            self._ready = True

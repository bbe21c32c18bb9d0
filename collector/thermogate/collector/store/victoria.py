"""VictoriaMetrics as a store: line protocol in, MetricsQL out (docs/decisions/0010-victoriametrics.md)."""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from thermogate.collector.config import VictoriaSettings
from thermogate.collector.store import victoria_server
from thermogate.collector.store.base import DAY_NS, Batch, Settling
from thermogate.collector.store.victoria_http import VictoriaHttp
from thermogate.collector.store.victoria_latest import NewestSamples, Tick
from thermogate.collector.store.victoria_messages import NewestMessages
from thermogate.collector.store.victoria_query import VictoriaQuery
from thermogate.collector.store.victoria_server import Reading
from thermogate.collector.store.victoria_settle import Settler
from thermogate.collector.store.victoria_setup import duplicates
from thermogate.collector.store.victoria_text import MS, decision_lines, event_line, status_lines
from thermogate.core.clock import NS, Clock
from thermogate.core.decision import GateDecision
from thermogate.core.errors import RejectedError, StoreError
from thermogate.core.model import Status
from thermogate.core.wire import Point

log = logging.getLogger(__name__)

_AHEAD_NS = 2 * DAY_NS
"""The server drops what is stamped further ahead of its clock."""
_MARGIN_NS = 600 * NS
"""Inside both of its bounds, as clocks differ."""
_MAX_NS = 2**63 - 1
_SAY_AGAIN_S = 60.0


class VictoriaStore(VictoriaQuery):
    """`Store` over HTTP. A server that is down when it is entered is waited for by the writes.

    Stamps are kept in whole milliseconds (the rest is cut off) and numbers to about 12 digits. Two
    samples of a device in one millisecond are one. What the server would drop without a word, because
    of its stamp, is refused here.
    """

    def __init__(self, settings: VictoriaSettings, clock: Clock) -> None:
        super().__init__(VictoriaHttp(settings), settings.database, clock)
        self._settings = settings
        self._stack = AsyncExitStack()
        self._settler = Settler(self._read, settings.settle_s, clock)
        self._messages = NewestMessages(self._http, settings.database, clock)
        self._samples = NewestSamples(self._http, settings.database, clock)
        self._reading: Reading | None = None
        self._version = ""
        self._ready = self._ready_once = False
        self._quiet_until_s = 0.0

    @property
    def description(self) -> str:
        """Which server, as far as known."""
        name = f"VictoriaMetrics {self._version}".strip()
        return f"{name} at {self._settings.url}, {self._settings.database}"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._http)
            stack.push_async_callback(self._settler.close)
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

    async def write(self, batch: Batch) -> Settling | None:
        """As `Store.write`: the server has it in memory, and `victoria_settle` tells when on disk."""
        if not self._ready:
            await self._prepare()
        ticks = [_tick(payload) for payload in batch.telemetry]
        self._refuse_dropped(batch, ticks)
        statuses = {status.node: status for status in batch.statuses}.values()  # the last of each node
        written_ms = self._messages.stamp()
        body = b"".join(
            (
                *batch.telemetry,  # the server skips their comment lines
                *map(event_line, batch.events),
                *(decision_lines(decision, written_ms) for decision in batch.decisions),
                *(status_lines(status, written_ms) for status in statuses),
            )
        )
        if not body:
            return None
        process = await self._settler.before()
        try:
            await self._http.write(body)
        except StoreError:
            self._settler.doubt()
            self._ready = False  # it may come back with another retention
            raise
        self._samples.see(ticks)
        self._messages.see(statuses, batch.decisions, written_ms)
        return self._settler.took(process)

    async def latest(self) -> list[Point]:
        """As `Query.latest`, from memory; of what other collectors write, up to 20 s late."""
        return await self._samples.latest()

    async def statuses(self) -> list[Status]:
        """As `Query.statuses`, from memory; what others have written is there after some seconds."""
        return await self._messages.statuses(self._retention_ns // MS)

    async def gates(self) -> list[GateDecision]:
        """As `Query.gates`, likewise."""
        return await self._messages.gates(self._retention_ns // MS)

    async def _prepare(self) -> None:
        """Learn the version and how long the server keeps what."""
        text = await self._http.metrics()
        try:
            victoria_server.reading(text)
            flags = victoria_server.flags(text)
            retention_s = victoria_server.retention_s(flags)
        except StoreError as err:
            raise StoreError(f"{self._settings.url}: {err}") from err
        if not self._ready_once and (wrong := duplicates(flags)):
            log.warning("%s: %s", self._settings.url, wrong)
        self._ready_once = True
        self._version = victoria_server.version(text)
        self._retention_ns = round(retention_s) * NS
        self._ready = True

    async def _read(self) -> Reading:
        """One look at the process; says when it has dropped anything since the last."""
        try:
            now = victoria_server.reading(await self._http.metrics())
        except StoreError as err:
            raise StoreError(f"{self._settings.url}: {err}") from err
        before, self._reading = self._reading, now
        dropped = victoria_server.grown(before, now) if before is not None else {}
        if dropped and self._clock.steady_s() >= self._quiet_until_s:
            self._quiet_until_s = self._clock.steady_s() + _SAY_AGAIN_S
            counts = ", ".join(f"{name} +{count}" for name, count in dropped.items())
            log.error("%s has dropped or cut what somebody wrote: %s", self._settings.url, counts)
        return now

    def _refuse_dropped(self, batch: Batch, ticks: Sequence[Tick]) -> None:
        """Raises RejectedError for what the server would drop without a word."""
        now_ns = self._clock.utc_ns()
        first_ns, last_ns = now_ns - self._retention_ns + _MARGIN_NS, now_ns + _AHEAD_NS - _MARGIN_NS
        stamps = [time_ns for _, its in ticks for time_ns in its]
        stamps += [event.time_ns for event in batch.events]
        stamps += [decision.issued_at_ns for decision in batch.decisions]
        for time_ns in (min(stamps, default=now_ns), max(stamps, default=now_ns)):
            if time_ns > _MAX_NS:
                raise RejectedError(f"a stamp of {time_ns} ns is no time", stored=False)
            if not first_ns <= time_ns <= last_ns:
                where = "past the server's -retentionPeriod" if time_ns < first_ns else "in the future"
                raise RejectedError(f"a stamp of {time_ns} ns is {where}", stored=False)


def _tick(payload: bytes) -> Tick:
    last = payload[payload.rindex(b" ") :]
    if payload.count(last) == payload.count(b"\n") - 1:  # nearly always: all lines are of one tick
        return payload, (int(last),)
    lines = payload.splitlines()[1:]
    return payload, tuple(int(line[line.rindex(b" ") :]) for line in lines if not line.startswith(b"#"))

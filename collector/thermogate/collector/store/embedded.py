"""The store inside the process: DuckDB in one file (docs/decisions/0002-embedded-store.md)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from thermogate.collector.config import EmbeddedSettings, RetentionSettings, RollupSettings
from thermogate.collector.store.base import DAY_NS, Batch
from thermogate.collector.store.covers import Covers, having
from thermogate.collector.store.duck import Database
from thermogate.collector.store.embedded_query import Reader
from thermogate.collector.store.embedded_rollup import Rollups
from thermogate.collector.store.embedded_write import Writer
from thermogate.collector.store.newest import Newest
from thermogate.collector.store.resolution import (
    STEP_NS,
    Kept,
    Piece,
    Resolution,
    Span,
    Window,
    ceil,
    floor,
    kept_by,
    pieces,
)
from thermogate.collector.store.tables import Tables
from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision
from thermogate.core.errors import StoreError, UnavailableError
from thermogate.core.model import Event, EventKind, Status
from thermogate.core.query import Device, DeviceTime, Ranked, Reduction, Series, Usage
from thermogate.core.schema import Kind
from thermogate.core.wire import Point

log = logging.getLogger(__name__)

FILE_NAME = "store.duckdb"
_PRUNE_INTERVAL_S = 600.0
"""Deleting holds up writes: ten minutes of 8000 devices, 5 million samples, for half a second."""
_READERS = 2
_RETENTION = RetentionSettings()
_FIELDS = RollupSettings().fields

T = TypeVar("T")


class EmbeddedStore:
    """`Store` in DIR/store.duckdb. One process at a time has it open, unless all are `read_only`.

    Entering raises UnavailableError: another process has it, the folder cannot be written, the file
    is damaged, or (read-only) there is none. One thread writes, others read.
    """

    def __init__(
        self,
        data_dir: Path,
        settings: EmbeddedSettings,
        clock: Clock,
        *,
        retention: RetentionSettings = _RETENTION,
        rolled: Sequence[str] = _FIELDS,
        read_only: bool = False,
    ) -> None:
        self._kept = kept_by(retention)
        self._clock = clock
        self._read_only = read_only
        self._database = Database(data_dir / FILE_NAME, settings, read_only=read_only)
        self._tables = Tables(settings.max_extra_fields)
        self._rolled = frozenset(rolled)
        self._rollups = Rollups(self._database, self._tables, rolled)
        self._reader = Reader(self._database, self._tables, self._pieces)
        self._writer = Writer(self._database, self._tables)
        self._newest = Newest()
        self._covers: Covers = {}
        self._prune_due_s = 0.0
        self._writing = ThreadPoolExecutor(1, "store-write")
        self._reading = ThreadPoolExecutor(_READERS, "store-read")

    @property
    def description(self) -> str:
        """Where the samples are."""
        return f"DuckDB in {self._database.file}"

    async def __aenter__(self) -> Self:
        try:
            await self._in_writer(self._open)
        except BaseException as err:
            await asyncio.to_thread(self._close)
            if isinstance(err, StoreError):  # such as a disk without room for the tables
                raise UnavailableError(str(err)) from err
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._close)

    async def write(self, batch: Batch) -> None:
        """As `Store.write`. Every ten minutes, what is past its retention goes."""
        rows = await self._in_writer(self._writer.write, batch)
        self._newest.see(rows, batch.decisions, batch.statuses)
        if self._clock.steady_s() >= self._prune_due_s:
            await self._in_writer(self._prune)
            self._newest.forget(self._day_ago_ns(), self._retained_ns())

    async def roll_up(self, resolution: Resolution, windows: Sequence[Window]) -> None:
        """As `RollsUp.roll_up`: live writes go on while the rows are made, and wait while they are put in."""
        for window in windows:
            made = self._rollups.make(resolution, window)
            while rows := await self._in_reader(_next, made):
                await self._in_writer(self._rollups.replace, resolution, rows)

    async def cover(self, resolution: Resolution, start_ns: int, end_ns: int) -> None:
        """As `RollsUp.cover`."""
        await self._in_writer(self._rollups.cover, resolution, (start_ns, end_ns))
        self._covers = await self._in_reader(self._rollups.covers)

    async def covered(self) -> Mapping[Resolution, tuple[Span, ...]]:
        """As `RollsUp.covered`."""
        return having(self._covers, self._rolled)

    async def oldest(self) -> int | None:
        """As `KnowsOldest.oldest`."""
        return await self._in_reader(self._reader.oldest)

    async def latest(self) -> list[Point]:
        """As `Query.latest`, from memory."""
        return await self._in_reader(self._newest.points, self._day_ago_ns())

    async def series(
        self, device: Device, fields: tuple[str, ...], *, start_ns: int, end_ns: int, step_ns: int
    ) -> list[Series]:
        """As `Query.series`."""
        return await self._in_reader(self._reader.series, device, fields, start_ns, end_ns, step_ns)

    async def top(
        self,
        kind: Kind,
        field: str,
        *,
        start_ns: int,
        end_ns: int,
        limit: int,
        by: Reduction = "mean",
        largest: bool = True,
    ) -> list[Ranked]:
        """As `Query.top`."""
        return await self._in_reader(self._reader.top, kind, field, start_ns, end_ns, limit, by, largest)

    async def usage(self, times: Sequence[DeviceTime]) -> list[Usage | None]:
        """As `Query.usage`."""
        return await self._in_reader(self._reader.usage, times)

    async def events(
        self,
        *,
        start_ns: int,
        end_ns: int,
        node: str | None = None,
        without: Sequence[str] = (),
        kinds: Sequence[EventKind] = (),
        limit: int = 1000,
    ) -> list[Event]:
        """As `Query.events`."""
        return await self._in_reader(self._reader.events, start_ns, end_ns, node, without, kinds, limit)

    async def gates(self) -> list[GateDecision]:
        """As `Query.gates`, from memory."""
        return self._newest.gates()

    async def decisions(
        self, *, start_ns: int, end_ns: int, target: str | None = None, limit: int = 1000
    ) -> list[GateDecision]:
        """As `Query.decisions`."""
        return await self._in_reader(self._reader.decisions, start_ns, end_ns, target, limit)

    async def statuses(self) -> list[Status]:
        """As `Query.statuses`, from memory."""
        return self._newest.statuses()

    async def samples(
        self, *, start_ns: int, end_ns: int, node: str | None = None, device: str | None = None
    ) -> AsyncIterator[list[Point]]:
        """As `Query.samples`; every device is read as it is when its turn comes."""
        chunks = self._reader.samples(start_ns, end_ns, node, device)
        while chunk := await self._in_reader(_next, chunks):
            yield chunk

    def _open(self) -> None:
        self._database.open()
        if not self._read_only:
            with self._database.transaction() as cursor:
                self._tables.create(cursor)
            self._prune()
        else:
            with self._database.cursor() as cursor:
                self._tables.load(cursor)
        self._covers = self._rollups.covers()
        if self._read_only:
            self._kept = self._kept_here()
        day_ago_ns = self._day_ago_ns()
        points = self._reader.latest(day_ago_ns)
        self._writer.start(points, day_ago_ns)
        self._newest.load(points, self._reader.gates(), self._reader.statuses())

    def _kept_here(self) -> Kept:
        """With every sample of the file: nobody deletes from one that is only read, such as an archive."""
        oldest_ns = self._reader.oldest()
        if oldest_ns is None:
            return self._kept
        # an hour of which some samples have gone is told by its windows, where there are any
        has_windows = any(
            spans[0][0] < oldest_ns for by_fields in self._covers.values() for spans in by_fields.values()
        )
        begin_ns = (ceil if has_windows else floor)(oldest_ns, STEP_NS["1h"])
        for_an_hour_ns = STEP_NS["1h"] - 1  # ages are told from a clock that goes on
        raw_ns = max(self._kept.raw_ns, self._clock.utc_ns() - begin_ns + for_an_hour_ns)
        return msgspec.structs.replace(self._kept, raw_ns=raw_ns)

    def _close(self) -> None:
        self._writing.shutdown()
        self._database.close()
        self._reading.shutdown(cancel_futures=True)

    def _prune(self) -> None:
        self._prune_due_s = self._clock.steady_s() + _PRUNE_INTERVAL_S
        self._writer.forget(self._day_ago_ns())
        try:
            self._writer.prune(self._kept, self._clock.utc_ns())
        except StoreError as err:  # what is too old may stay until the next time
            log.warning("samples past their retention were not deleted: %s", err)

    def _retained_ns(self) -> int:
        return self._clock.utc_ns() - self._kept.raw_ns

    def _pieces(
        self, fields: Collection[str], start_ns: int, end_ns: int, step_ns: int | None
    ) -> list[Piece]:
        now_ns, covered = self._clock.utc_ns(), having(self._covers, fields)
        return pieces(start_ns, end_ns, step_ns, kept=self._kept, now_ns=now_ns, covered=covered)

    def _day_ago_ns(self) -> int:
        return self._clock.utc_ns() - DAY_NS

    async def _in_writer(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, work, *args)

    async def _in_reader(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, work, *args)


def _next(chunks: Iterator[T]) -> T | None:
    return next(chunks, None)

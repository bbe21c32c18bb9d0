"""The read side of the embedded store: SQL for each question. Every function blocks."""
# ruff: noqa: S608 - names go through quoted() or come from the schema, values are parameters

from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from thermogate.collector.store import embedded_pieces, embedded_usage
from thermogate.collector.store.base import matching_kinds
from thermogate.collector.store.duck import Database, quoted
from thermogate.collector.store.resolution import Piece
from thermogate.collector.store.rows import TAGS
from thermogate.collector.store.tables import Tables
from thermogate.core.decision import GateDecision
from thermogate.core.errors import StoreError
from thermogate.core.model import Event, EventKind, Status
from thermogate.core.query import Device, DeviceTime, Ranked, Reduction, Series, SeriesPoint, Usage
from thermogate.core.schema import Kind
from thermogate.core.wire import Point

_CHUNK_ROWS = 5000
_SORTED_ROWS = 500_000
"""About 130 MB while they are sorted."""

_Key = tuple[str, str]
"""Node, device."""

T = TypeVar("T", bound=msgspec.Struct)


def _from_samples(_: Collection[str], start_ns: int, end_ns: int, _step_ns: int | None) -> list[Piece]:
    return [Piece(None, start_ns, end_ns)]


class Reader:
    """Answers from one database; a method may run in any thread, several at a time.

    `choose` says from which pieces a question about fields of some start, end and step is answered;
    `sorted_rows` bounds the samples of several devices that are sorted in one go.
    """

    def __init__(
        self,
        database: Database,
        tables: Tables,
        choose: embedded_usage.Choose = _from_samples,
        *,
        sorted_rows: int = _SORTED_ROWS,
    ) -> None:
        self._database = database
        self._tables = tables
        self._choose = choose
        self._sorted_rows = sorted_rows

    def latest(self, since_ns: int) -> list[Point]:
        """The newest sample of each device, of those since `since_ns`."""
        found = []
        for measurement in self._tables.measurements():
            names = self._tables.fields(measurement)
            sql = (
                f"select {_columns(names)} from {measurement} join ("
                f"select node, device, max(time_ns) as time_ns from {measurement} where time_ns >= ? "
                "group by node, device) using (time_ns, node, device)"
            )
            found += _points(measurement, names, self._rows(sql, since_ns))
        return found

    def oldest(self) -> int | None:
        """The stamp of the oldest sample; None when there is none."""
        tables = self._tables.measurements()
        times = [self._rows(f"select min(time_ns) from {table}")[0][0] for table in tables]
        return min((time_ns for time_ns in times if time_ns is not None), default=None)

    def series(
        self, device: Device, fields: tuple[str, ...], start_ns: int, end_ns: int, step_ns: int
    ) -> list[Series]:
        """As `Query.series`."""
        found = {}
        asked_of = (self._tables, self._choose, device.kind, fields)
        for source in embedded_pieces.sources(*asked_of, start_ns, end_ns, step_ns):
            sql, values = embedded_pieces.reduced(
                *(device.kind, source, f"time_ns // {step_ns} * {step_ns}", "node = ? and device = ?"),
                (device.node, device.device),
            )
            rows = self._rows(f"{sql} order by key", *values)
            for index, field in enumerate(source.fields):
                steps = ((row[0], *row[4 * index + 1 : 4 * index + 5]) for row in rows)
                found[field] = tuple(SeriesPoint(*step) for step in steps if step[4])
        asked = (field for field in dict.fromkeys(fields) if found.get(field))
        return [Series(device, field, found[field]) for field in asked]

    def top(
        self, kind: Kind, field: str, start_ns: int, end_ns: int, limit: int, by: Reduction, largest: bool
    ) -> list[Ranked]:
        """As `Query.top`."""
        asked_of = (self._tables, self._choose, kind, (field,))
        sources = embedded_pieces.sources(*asked_of, start_ns, end_ns, None)
        if not sources:
            return []
        sql, values = embedded_pieces.reduced(kind, sources[0], "(node, device)", "true", ())
        rows = self._rows(
            f"select key[1], key[2], {by}0 as value from ({sql}) where value is not null "
            f"order by value {'desc' if largest else 'asc'}, key limit ?",
            *(*values, limit),
        )
        return [Ranked(Device(node, kind, device), value) for node, device, value in rows]

    def usage(self, times: Sequence[DeviceTime]) -> list[Usage | None]:
        """As `Query.usage`."""
        return embedded_usage.usage(self._rows, self._tables, self._choose, times)

    def events(
        self,
        start_ns: int,
        end_ns: int,
        node: str | None,
        without: Sequence[str],
        kinds: Sequence[EventKind],
        limit: int,
    ) -> list[Event]:
        """As `Query.events`."""
        return self._messages(
            Event,
            "select json from events where time_ns >= ? and time_ns < ? and coalesce(node = ?, true) "
            "and not list_contains(?::varchar[], node) "
            "and (len(?::varchar[]) = 0 or list_contains(?::varchar[], event)) "
            "order by time_ns desc, node, device_kind, device, event limit ?",
            *(start_ns, end_ns, node, list(without), list(kinds), list(kinds), limit),
        )

    def gates(self) -> list[GateDecision]:
        """As `Query.gates`; slow with many decisions."""
        return self._messages(
            GateDecision,
            "select distinct on (kind, target) json from decisions "
            "order by kind, target, issued_at_ns desc, seq desc, id desc",
        )

    def decisions(self, start_ns: int, end_ns: int, target: str | None, limit: int) -> list[GateDecision]:
        """As `Query.decisions`."""
        return self._messages(
            GateDecision,
            "select json from decisions where issued_at_ns >= ? and issued_at_ns < ? "
            "and coalesce(target = ?, true) order by issued_at_ns desc, seq desc, id desc limit ?",
            *(start_ns, end_ns, target, limit),
        )

    def statuses(self) -> list[Status]:
        """As `Query.statuses`."""
        return self._messages(Status, "select json from statuses order by node")

    def samples(
        self, start_ns: int, end_ns: int, node: str | None, device: str | None
    ) -> Iterator[list[Point]]:
        """As `Query.samples`. Some devices at a time: sorting everything at once would spill to the disk."""
        for measurement, number in matching_kinds(device):
            if measurement not in self._tables.measurements():
                continue
            devices = self._rows(
                f"select node, device, count(*) from {measurement} where time_ns >= ? and time_ns < ? "
                "and coalesce(node = ?, true) and coalesce(device = ?, true) "
                "group by node, device order by node, device",
                *(start_ns, end_ns, node, number),
            )
            for first, last in _runs(devices, self._sorted_rows):
                yield from self._samples_of(measurement, first, last, number, start_ns, end_ns)

    def _samples_of(
        self, measurement: str, first: _Key, last: _Key, number: str | None, start_ns: int, end_ns: int
    ) -> Iterator[list[Point]]:
        """Of the devices from `first` to `last`, those called `number`."""
        names = self._tables.fields(measurement)
        with self._database.cursor() as cursor:
            cursor.execute(
                f"select {_columns(names)} from {measurement} where time_ns >= ? and time_ns < ? "
                "and node between ? and ? and (node > ? or device >= ?) and (node < ? or device <= ?) "
                "and coalesce(device = ?, true) order by node, device, time_ns",
                [start_ns, end_ns, first[0], last[0], *first, *last, number],
            )
            while rows := cursor.fetchmany(_CHUNK_ROWS):
                yield _points(measurement, names, rows)

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._database.cursor() as cursor:
            return cursor.execute(sql, values).fetchall()

    def _messages(self, of: type[T], sql: str, *values: Any) -> list[T]:
        try:
            return [msgspec.json.decode(row[0], type=of) for row in self._rows(sql, *values)]
        except msgspec.MsgspecError as err:
            raise StoreError(f"{self._database.file}: a stored {of.__name__} cannot be read: {err}") from err


def _columns(names: Sequence[str]) -> str:
    return ", ".join(map(quoted, (*TAGS, *names)))


def _points(measurement: str, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[Point]:
    points = []
    for time_ns, node, device, model, origin, *values in rows:
        fields = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        points.append(Point(measurement, node, device, model, origin, fields, time_ns))
    return points


def _runs(devices: Sequence[tuple[str, str, int]], most: int) -> Iterator[tuple[_Key, _Key]]:
    """First and last of runs of devices with up to `most` rows together, or of one that has more."""
    run: list[_Key] = []
    total = 0
    for node, device, count in devices:
        if run and total + count > most:
            yield run[0], run[-1]
            run, total = [], 0
        run.append((node, device))
        total += count
    if run:
        yield run[0], run[-1]

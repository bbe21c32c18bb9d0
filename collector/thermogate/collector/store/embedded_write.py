"""The write side of the embedded store. It blocks and is meant for one thread."""
# ruff: noqa: S608 - table names come from the schema, values are parameters

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from thermogate.collector.store.base import Batch
from thermogate.collector.store.duck import Cursor, Database, insert, insert_missing
from thermogate.collector.store.resolution import RESOLUTIONS, ROLLED_KINDS, Kept, rolled_name
from thermogate.collector.store.rows import KEY, Columns, Identity, Row, RowParser, columns, field_names
from thermogate.collector.store.tables import Tables
from thermogate.core.decision import GateDecision
from thermogate.core.model import Event, Status
from thermogate.core.wire import Point

_EVENT_KEY = ("time_ns", "node", "device_kind", "device", "event")
_DECISION_KEY = ("issued_at_ns", "id")
_SPAN_GAP_NS = 60_000_000_000
"""Late stamps further apart are looked up apart: the backlogs of two outages, not the time between."""
_MAX_SPANS = 8


class Writer:
    """Writes batches whole, each row once.

    What is newer than everything ever tried for its device cannot be stored already and is appended;
    only the rest is compared with what is stored.
    """

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables
        self._parser = RowParser()
        self._marks: dict[Identity, int] = {}
        self._none_after_ns = 2**63

    def start(self, newest: Iterable[Point], none_after_ns: int) -> None:
        """Learn the newest sample of each device; of a device not named, none is past `none_after_ns`."""
        self._marks = {(p.measurement, p.node, p.device): p.time_ns for p in newest}
        self._none_after_ns = none_after_ns

    def forget(self, before_ns: int) -> None:
        """Forget the devices that have sent nothing since `before_ns`."""
        self._none_after_ns = max(self._none_after_ns, before_ns)
        self._marks = {key: mark for key, mark in self._marks.items() if mark > before_ns}

    def write(self, batch: Batch) -> list[Row]:
        """Store the batch whole and return its telemetry. Raises StoreError or RejectedError."""
        rows = self._parser.parse(batch.telemetry)
        parts = _by_measurement(rows)
        added = {name: self._tables.unknown(name, field_names(part)) for name, part in parts.items()}
        with self._database.transaction() as cursor:
            for measurement, part in parts.items():
                self._tables.widen(cursor, measurement, added[measurement])
                self._write_rows(cursor, measurement, part)
            _write_events(cursor, batch.events)
            _write_decisions(cursor, batch.decisions)
            _write_statuses(cursor, batch.statuses)
        for measurement, names in added.items():
            self._tables.widened(measurement, names)
        return rows

    def prune(self, kept: Kept, now_ns: int) -> None:
        """Delete what is past its retention; its space is used again. Statuses stay: there is one a node.

        Events and decisions are kept as long as samples.
        """
        before_ns = now_ns - kept.raw_ns
        with self._database.transaction() as cursor:
            for table in self._tables.measurements():
                cursor.execute(f"delete from {table} where time_ns < ?", [before_ns])
            cursor.execute("delete from events where time_ns < ?", [before_ns])
            cursor.execute("delete from decisions where issued_at_ns < ?", [before_ns])
            for kind, resolution in itertools.product(ROLLED_KINDS, RESOLUTIONS):
                table, oldest_ns = rolled_name(kind, resolution), now_ns - kept.of(resolution)
                cursor.execute(f"delete from {table} where time_ns < ?", [oldest_ns])

    def _write_rows(self, cursor: Cursor, measurement: str, rows: Iterable[Row]) -> None:
        fresh, late = self._split(rows)
        if fresh:
            insert(cursor, measurement, columns(fresh))
        if late:
            table = columns(late)
            insert_missing(cursor, measurement, table, KEY, spans(row.time_ns for row in late))

    def _split(self, rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
        """Rows that are certainly not stored, and the others.

        The marks move before the transaction: should it fail half way, the same rows count as late.
        """
        fresh, late = [], []
        for row in rows:
            identity = row.tags.identity
            if row.time_ns > self._marks.get(identity, self._none_after_ns):
                self._marks[identity] = row.time_ns
                fresh.append(row)
            else:
                late.append(row)
        return fresh, late


def spans(stamps: Iterable[int]) -> list[tuple[int, int]]:
    """Few ranges that hold all the stamps: cut at the widest gaps of more than a minute."""
    ordered = sorted(stamps)
    gaps = [(b - a, index) for index, (a, b) in enumerate(itertools.pairwise(ordered), 1)]
    wide = sorted((gap for gap in gaps if gap[0] > _SPAN_GAP_NS), reverse=True)[: _MAX_SPANS - 1]
    cuts = [0, *sorted(index for _, index in wide), len(ordered)]
    return [(ordered[a], ordered[b - 1]) for a, b in itertools.pairwise(cuts)]


def _by_measurement(rows: Iterable[Row]) -> dict[str, list[Row]]:
    parts: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        parts[row.tags.identity[0]].append(row)
    return parts


def _write_events(cursor: Cursor, events: Sequence[Event]) -> None:
    if events:
        rows = _messages(events, _EVENT_KEY)
        insert_missing(cursor, "events", rows, _EVENT_KEY, spans(event.time_ns for event in events))


def _write_decisions(cursor: Cursor, decisions: Sequence[GateDecision]) -> None:
    if decisions:
        rows = _messages(decisions, (*_DECISION_KEY, "kind", "target", "seq"))
        stamps = spans(decision.issued_at_ns for decision in decisions)
        insert_missing(cursor, "decisions", rows, _DECISION_KEY, stamps)


def _write_statuses(cursor: Cursor, statuses: Sequence[Status]) -> None:
    newest = tuple({status.node: status for status in statuses}.values())
    if newest:
        marks = ",".join("?" * len(newest))
        cursor.execute(f"delete from statuses where node in ({marks})", [s.node for s in newest])
        insert(cursor, "statuses", _messages(newest, ("node",)))


def _messages(messages: Sequence[msgspec.Struct], names: tuple[str, ...]) -> Columns:
    """A column for each attribute named, and the whole message as JSON."""
    rows = {name: _column([getattr(message, name) for message in messages]) for name in names}
    rows["json"] = _column([msgspec.json.encode(message).decode() for message in messages])
    return rows


def _column(values: list[int] | list[str]) -> NDArray[Any]:
    return np.array(values, dtype=np.int64 if isinstance(values[0], int) else object)

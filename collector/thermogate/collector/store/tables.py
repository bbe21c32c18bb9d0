"""The tables of the embedded store: a wide one for each measurement, and one for each kind of message."""

import itertools

from thermogate.collector.store.duck import Cursor, quoted
from thermogate.collector.store.resolution import RESOLUTIONS, ROLLED_KINDS, rolled_fields, rolled_name
from thermogate.collector.store.rows import TAGS
from thermogate.core.errors import RejectedError
from thermogate.core.schema import MEASUREMENTS

_TAG_TYPES = (
    "time_ns bigint not null, node varchar not null, device varchar not null, model varchar, origin varchar"
)
_MESSAGES = {
    "events": (
        "time_ns bigint, node varchar, device_kind varchar, device varchar, event varchar, json varchar"
    ),
    "decisions": "issued_at_ns bigint, id varchar, kind varchar, target varchar, seq bigint, json varchar",
    "statuses": "node varchar, json varchar",
    "covered": "resolution varchar, start_ns bigint, end_ns bigint, fields varchar",
}
_WINDOW_TYPES = (
    "time_ns bigint not null, node varchar not null, device varchar not null, sample_count double, "
    "first_ns bigint, last_ns bigint"
)


class Tables:
    """Which fields each measurement's table has a column for.

    Stamps are UTC nanoseconds as BIGINT: a step is then one integer division, and no time zone is
    involved. Fields are DOUBLE, integers too (exact to 2^53), so that an agent may change its mind.
    """

    def __init__(self, max_extra_fields: int) -> None:
        self._max_extra_fields = max_extra_fields
        self._fields: dict[str, tuple[str, ...]] = {}
        self._columns: dict[str, set[str]] = {}

    def create(self, cursor: Cursor) -> None:
        """Make what is missing; a field that a newer version knows gets its column."""
        for name, types in _MESSAGES.items():
            cursor.execute(f"create table if not exists {name} ({types})")
        cursor.execute("alter table covered add column if not exists fields varchar")
        for name in MEASUREMENTS:
            cursor.execute(f"create table if not exists {name} ({_TAG_TYPES})")
        for kind, resolution in itertools.product(ROLLED_KINDS, RESOLUTIONS):
            types = "".join(f", {quoted(name)} double" for name in rolled_fields(kind))
            table = rolled_name(kind, resolution)
            cursor.execute(f"create table if not exists {table} ({_WINDOW_TYPES}{types})")
        self.load(cursor)
        for name, measurement in MEASUREMENTS.items():
            known = self.fields(name)
            self.widen(cursor, name, tuple(f.name for f in measurement.fields if f.name not in known))
        for kind, resolution in itertools.product(ROLLED_KINDS, RESOLUTIONS):
            table = rolled_name(kind, resolution)
            missing = (name for name in rolled_fields(kind) if not self.has(table, name))
            self.widen(cursor, table, tuple(missing))
        self.load(cursor)

    def load(self, cursor: Cursor) -> None:
        """Learn what the file has, which may have been written by another version."""
        rows = cursor.execute(
            "select table_name, column_name from duckdb_columns() where not internal order by column_index"
        ).fetchall()
        self._columns = {}
        for table, column in rows:
            self._columns.setdefault(table, set()).add(column)
        self._fields = {
            name: tuple(column for table, column in rows if table == name and column not in TAGS)
            for name in MEASUREMENTS
            if any(table == name for table, _ in rows)
        }

    def has(self, table: str, column: str | None = None) -> bool:
        """Whether the file has a table, and in it a column; one of an older version may lack some."""
        columns = self._columns.get(table)
        return columns is not None and (column is None or column in columns)

    def fields(self, measurement: str) -> tuple[str, ...]:
        """The fields that samples of `measurement` may have, in the order of their columns."""
        return self._fields.get(measurement, ())

    def measurements(self) -> tuple[str, ...]:
        """The measurements that the file has a table for."""
        return tuple(self._fields)

    def unknown(self, measurement: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `names` that need a new column. Raises RejectedError when there may be no more."""
        known = self.fields(measurement)
        fresh = tuple(name for name in names if name not in known)
        for name in fresh:
            if name in TAGS:
                raise RejectedError(f"{measurement} field {name} has the name of a tag", stored=False)
        room = len(MEASUREMENTS[measurement].fields) + self._max_extra_fields - len(known)
        if len(fresh) > room:
            raise RejectedError(
                f"{measurement} field {fresh[max(room, 0)]} is one more unknown field than "
                f"the {self._max_extra_fields} of embedded.max_extra_fields",
                stored=False,
            )
        return fresh

    def widen(self, cursor: Cursor, measurement: str, names: tuple[str, ...]) -> None:
        """Add columns, in the caller's transaction."""
        for name in names:
            cursor.execute(f"alter table {measurement} add column {quoted(name)} double")

    def widened(self, measurement: str, names: tuple[str, ...]) -> None:
        """Remember columns whose transaction is committed."""
        self._fields[measurement] = (*self.fields(measurement), *names)

"""The only module that imports DuckDB: one database file, its lock, its transactions and its errors."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
from duckdb import DuckDBPyConnection as Cursor

from thermogate.collector.config import EmbeddedSettings
from thermogate.collector.store.rows import Columns
from thermogate.core.errors import RejectedError, StoreError, UnavailableError

__all__ = ["Cursor", "Database"]

# After these the database object answers nothing any more; the file is sound and can be opened again.
_FATAL = (duckdb.FatalException, duckdb.InternalException)
_HEADERS_BYTES = 3 * 4096
"""What DuckDB writes and syncs before anything else: a shorter file has never held a row."""


class Database:
    """One file, open in this process alone unless read-only. Every method blocks and is thread-safe,
    but only one transaction may be open at a time.
    """

    def __init__(self, file: Path, settings: EmbeddedSettings, *, read_only: bool) -> None:
        self.file = file
        self.read_only = read_only
        self._settings = settings
        self._root: Cursor | None = None
        self._cursors: set[Cursor] = set()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Open or make the file, replaying what a crash left in its log. Raises UnavailableError."""
        config: Mapping[str, Any] = {
            "memory_limit": f"{self._settings.memory_mb}MiB",
            "threads": self._settings.threads,
            "autoinstall_known_extensions": False,  # nothing is fetched from the network
            "autoload_known_extensions": False,
        }
        try:
            if not self.read_only:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self._remove_stillborn()
            self._root = duckdb.connect(str(self.file), read_only=self.read_only, config=dict(config))
        except OSError as err:
            raise UnavailableError(f"data folder {self.file.parent}: {err.strerror}") from err
        except duckdb.Error as err:
            raise UnavailableError(self._why_not_open(err)) from err

    def _remove_stillborn(self) -> None:
        """What making the file on a full disk leaves behind would be no database for ever."""
        log = self.file.with_name(self.file.name + ".wal")
        if self.file.is_file() and self.file.stat().st_size < _HEADERS_BYTES and not log.exists():
            self.file.unlink()

    def close(self) -> None:
        """Interrupt what still runs and let go of the file."""
        with self._lock:
            root, self._root = self._root, None
            for cursor in self._cursors:
                cursor.interrupt()
        if root is not None:
            with contextlib.suppress(duckdb.Error):  # after a full disk: the log is replayed at next open
                root.close()

    @contextlib.contextmanager
    def cursor(self) -> Iterator[Cursor]:
        """For reading: sees what was committed. Raises StoreError when the database cannot answer."""
        try:
            with self._lock:
                if self._root is None:
                    raise StoreError(f"{self.file} is not open")
                cursor = self._root.cursor()
                self._cursors.add(cursor)
            try:
                yield cursor
            finally:
                with self._lock:
                    self._cursors.discard(cursor)
                cursor.close()
        except duckdb.Error as err:
            if isinstance(err, _FATAL):
                self.close()
            raise StoreError(f"{self.file}: {_first_line(err)}") from err

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """Everything inside is durable when the block ends, or it raises.

        StoreError: nothing of it was stored, or (a crash on the way) all of it. RejectedError: the
        values are such that it never will be.
        """
        if self._root is None:
            self._reopen()
        with self.cursor() as cursor:
            try:
                cursor.execute("begin")
                yield cursor
                cursor.execute("commit")
            except BaseException as err:
                with contextlib.suppress(duckdb.Error):  # a failed commit has rolled back by itself
                    cursor.execute("rollback")
                if isinstance(err, duckdb.DataError):
                    raise RejectedError(f"{self.file}: {_first_line(err)}", stored=False) from err
                raise

    def _reopen(self) -> None:
        try:
            self.open()
        except UnavailableError as err:
            raise StoreError(str(err)) from err

    def _why_not_open(self, err: duckdb.Error) -> str:
        text = _first_line(err)
        if "Could not set lock" in text:
            holder = text.partition("(")[2].partition(")")[0]
            return f"{self.file} is in use by another process ({holder or 'unknown'})"
        if self.read_only and not self.file.exists():
            return f"there is no store at {self.file}"
        return f"{self.file} cannot be opened: {text}"


def insert(cursor: Cursor, table: str, rows: Columns) -> None:
    """Append rows; columns of the table that `rows` lacks become NULL."""
    names = ",".join(map(quoted, rows))
    with _registered(cursor, rows):
        cursor.execute(f"insert into {quoted(table)} ({names}) select {names} from batch")  # noqa: S608


def insert_missing(
    cursor: Cursor, table: str, rows: Columns, key: tuple[str, ...], spans: list[tuple[int, int]]
) -> None:
    """Append the rows whose `key` the table lacks, the first of each key.

    `key` begins with the column of stamps; only stored rows within `spans`, inclusive, are looked at.
    """
    names, keys = ",".join(map(quoted, rows)), ",".join(map(quoted, key))
    within = " or ".join(f"{quoted(key[0])} between {first} and {last}" for first, last in spans)
    with _registered(cursor, rows):
        cursor.execute(
            f"insert into {quoted(table)} ({names}) "  # noqa: S608 - names are quoted, spans are integers
            f"select {names} from (select distinct on ({keys}) {names} from batch) "
            f"anti join (select {keys} from {quoted(table)} where {within}) using ({keys})"
        )


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@contextlib.contextmanager
def _registered(cursor: Cursor, rows: Columns) -> Iterator[None]:
    cursor.register("batch", rows)
    try:
        yield
    finally:
        cursor.unregister("batch")


def _first_line(err: BaseException) -> str:
    return str(err).partition("\n")[0]

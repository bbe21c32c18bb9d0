"""Samples as Parquet: the only module of the command line that imports DuckDB, which writes the file."""

import contextlib
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import IO, Self

import duckdb

from thermogate.cli import render
from thermogate.core.errors import UnavailableError
from thermogate.core.schema import INTEGER_FIELDS
from thermogate.dashboard.export import IDENTITY

_MEMORY = "512MiB"
_THREADS = 2
_CONFIG: dict[str, str | int | bool] = {
    "memory_limit": _MEMORY,
    "threads": _THREADS,
    "autoinstall_known_extensions": False,  # nothing is fetched from the network
    "autoload_known_extensions": False,
}
_COLUMN_RE = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_ROWS = 122_880
"""Rows of a group, which are held in memory until it is whole: about 60 MB with every field there."""


class ParquetWriter:
    """Takes the CSV of an export, piece by piece, and leaves a Parquet file when it is whole.

    `with ParquetWriter(file) as writer: writer.write(piece)`. A row a sample; `time` is TIMESTAMP_NS in
    UTC, counts and flags are BIGINT, other fields DOUBLE in the units of their names, NULL where nothing was
    measured. The CSV goes through a pipe to DuckDB, which reads and writes in one pass: memory does not
    grow with the range. Raises UnavailableError; the file is then as it was before.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stack = contextlib.ExitStack()
        self._folder = Path()
        self._pipe: IO[str] | None = None
        self._thread: threading.Thread | None = None
        self._problem = ""
        self._head = ""

    def __enter__(self) -> Self:
        try:
            folder = self._stack.enter_context(
                tempfile.TemporaryDirectory(prefix=f".{self._file.name}.", dir=self._file.parent)
            )
        except OSError as err:
            raise UnavailableError(f"{self._file}: cannot be written: {err.strerror}") from err
        self._folder = Path(folder)
        return self

    def write(self, piece: str) -> None:
        """The next piece; the first begins with the header."""
        if self._pipe is None:
            self._head, newline, piece = (self._head + piece).partition("\n")
            if not newline:
                return
            self._pipe = self._start(self._columns(self._head))
            piece = f"{self._head}\n{piece}"
        try:
            self._pipe.write(piece)
        except BrokenPipeError as err:
            self._end()
            raise UnavailableError(f"{self._file}: {self._problem or 'the writer ended'}") from err

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: object) -> None:
        with self._stack:
            self._end()
            if kind is not None:
                return
            if self._thread is None:
                self._problem = "there was nothing to write, not even a header"
            if self._problem:
                raise UnavailableError(f"{self._file}: {self._problem}")
            try:
                (self._folder / "out").replace(self._file)
            except OSError as cause:
                raise UnavailableError(f"{self._file}: cannot be written: {cause.strerror}") from cause

    def _columns(self, head: str) -> list[str]:
        """They go into SQL, and come from whoever answers at --url."""
        columns = head.split(",")
        if len(set(columns)) != len(columns) or not all(map(_COLUMN_RE.fullmatch, columns)):
            raise UnavailableError(
                f"{self._file}: what was answered is no export: {render.plain(head[:80])!r}"
            )
        return columns

    def _start(self, columns: list[str]) -> IO[str]:
        pipe = self._folder / "in"
        os.mkfifo(pipe, 0o600)
        self._thread = threading.Thread(target=self._convert, args=(pipe, columns), name="parquet")
        self._thread.start()
        return pipe.open("w", encoding="ascii", newline="")

    def _convert(self, pipe: Path, columns: list[str]) -> None:
        try:
            with duckdb.connect(config=dict(_CONFIG)) as database:
                database.execute(_sql(columns, pipe, self._folder / "out"))
        except duckdb.Error as err:
            self._problem = str(err).partition("\n")[0]
        finally:
            # Whoever still waits for a reader goes on, and sees the pipe broken.
            os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))

    def _end(self) -> None:
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                self._pipe.close()
        if self._thread is not None:
            self._thread.join()


def _sql(columns: list[str], source: Path, target: Path) -> str:
    types = ", ".join(f"'{name}': '{_type(name)}'" for name in columns)
    return (
        f"copy (select * from read_csv({_literal(source)}, auto_detect = false, header = true, "  # noqa: S608
        f"delim = ',', quote = '', escape = '', parallel = false, columns = {{{types}}})) "
        f"to {_literal(target)} (format parquet, compression zstd, row_group_size {_ROWS})"
    )


def _type(column: str) -> str:
    if column == "time":
        return "TIMESTAMP_NS"
    if column in IDENTITY:
        return "VARCHAR"
    return "BIGINT" if column in INTEGER_FIELDS else "DOUBLE"


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"

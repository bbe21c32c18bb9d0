"""What a simulated node has generated, on disk before any of it can be sent: 16 bytes a tick.

An entry is (number of the tick, UTC stamp in ns). A negative number says where a life of the process
begins or has ended well, so that of one that was killed it is known which tick may have got no further.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from thermogate.core.errors import UnavailableError

_ENTRY = struct.Struct("<qq")
_BEGUN, _ENDED = -1, -2


class Generated(NamedTuple):
    """One tick. `certain` is False of the last one before a kill: it may not have reached the spool."""

    tick: int
    time_ns: int
    certain: bool


class Journal:
    """Appends to the file at `path`: `with Journal(path)`. Every entry is one write, and so survives kill -9.

    Entering, and `note`, raise UnavailableError when the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.ticks = 0
        """Ticks in the file: the number that the next one gets."""
        self._path = path
        self._fd = -1

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            size = os.fstat(self._fd).st_size
            os.ftruncate(self._fd, size - size % _ENTRY.size)
        except OSError as err:
            raise self._error(err) from err
        self.ticks = 1 + max((entry.tick for entry in read(self._path)), default=-1)
        self._write(_BEGUN, 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write(_ENDED, 0)
        os.close(self._fd)

    def note(self, time_ns: int) -> int:
        """Keep a tick, before anything of it is spooled or sent; its number."""
        self._write(self.ticks, time_ns)
        self.ticks += 1
        return self.ticks - 1

    def _write(self, number: int, time_ns: int) -> None:
        try:
            if os.write(self._fd, _ENTRY.pack(number, time_ns)) != _ENTRY.size:
                raise UnavailableError(f"{self._path}: written in part only: the disk is full")
        except OSError as err:
            raise self._error(err) from err

    def _error(self, err: OSError) -> UnavailableError:
        return UnavailableError(f"cannot write {self._path}: {err.strerror}")


def read(path: Path) -> Iterator[Generated]:
    """Every tick in the file, in the order in which they were generated. Raises OSError."""
    data = path.read_bytes()
    entries = list(_ENTRY.iter_unpack(data[: len(data) - len(data) % _ENTRY.size]))
    followers = [number for number, _ in entries[1:]]
    for (number, time_ns), after in zip(entries, [*followers, _BEGUN], strict=False):
        if number >= 0:
            yield Generated(number, time_ns, certain=after != _BEGUN)

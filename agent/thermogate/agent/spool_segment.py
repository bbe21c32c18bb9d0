"""One file of the spool."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from thermogate.agent.spool_disk import Disk
from thermogate.agent.spool_format import Entry, scan
from thermogate.core.clock import NS

_SUFFIX = ".seg"
_CHUNK_BYTES = 64 * 1024
_MAX_BYTES = 32 * 1024 * 1024
"""More than any file has: 4 MiB (spool_log), or the longest opening and an entry. The rest is not read."""
_NUMBER = re.compile(r"[0-9]{1,20}")
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Waits for nobody, whatever was put in the place of a file."""


class Segment:
    """A file of entries, named by the first sequence number it may hold.

    `newest_s` and `opened_s` are on the steady clock of this boot, also for what an earlier boot wrote,
    whose entries are `shift_s` behind it.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path = path
        self.first = int(path.stem)
        self.size = size
        self.opened_s = 0.0
        self.newest_s = 0.0
        self.shift_s = 0.0
        self._fd = -1

    @staticmethod
    def at(directory: Path, first: int) -> "Segment":
        """The segment whose first number is `first`; its file need not exist."""
        return Segment(directory / f"{first:020d}{_SUFFIX}")

    @staticmethod
    def found_in(directory: Path) -> list["Segment"]:
        """The segments that lie in `directory`, oldest first; what is no file is none. Raises OSError."""
        paths = (path for path in directory.glob(f"*{_SUFFIX}") if _NUMBER.fullmatch(path.stem))
        found = [(path, path.stat(follow_symlinks=False)) for path in sorted(paths)]
        return [Segment(path, seen.st_size) for path, seen in found if stat.S_ISREG(seen.st_mode)]

    def create(self, disk: Disk, now_s: float) -> None:
        """Begin the file anew, to append to it. Raises OSError."""
        self._fd = disk.create(self.path)
        self.opened_s = self.newest_s = now_s

    def append(self, disk: Disk, data: bytes, now_s: float) -> None:
        """Write an entry by one write, whole or not at all. Raises OSError."""
        written = disk.write(self._fd, data)
        self.size += written
        if written < len(data):
            disk.truncate(self._fd, self.size - written)
            self.size -= written
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.newest_s = now_s

    def is_removed(self, disk: Disk) -> bool:
        """Whether somebody has deleted the file that is appended to. Raises OSError."""
        return disk.is_removed(self._fd)

    def at_s(self, entry: Entry) -> float:
        """When an entry of this file was written, on the steady clock of this boot."""
        return entry.at_ns / NS + self.shift_s

    def sync(self, disk: Disk) -> None:
        """Wait until the file is on the disk itself. Raises OSError."""
        disk.sync(self._fd)

    def seal(self) -> None:
        """Append no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def _readable(self) -> int:
        return min(self.size, _MAX_BYTES)

    def entries(self, offset: int = 0, chunk: int = _CHUNK_BYTES) -> Iterator[Entry]:
        """The sound entries from `offset` on, read as they are asked for.

        They end early where the disk cannot read the file or somebody has deleted it, and after 32 MiB,
        which no segment has. Raises OSError when something else is wrong, such as permissions.
        """
        try:
            fd = os.dup(self._fd) if self._fd >= 0 else os.open(self.path, _OPEN)
        except FileNotFoundError:
            return
        try:
            while data := _pread(fd, min(chunk, self._readable - offset), offset):
                end = offset
                for entry in scan(data, offset):
                    yield entry
                    end = entry.end
                if end == offset:
                    chunk *= 2  # one entry is longer, or all of this is damaged
                    if offset + len(data) >= self._readable:
                        return
                offset = end
        finally:
            os.close(fd)


def _pread(fd: int, size: int, offset: int) -> bytes:
    try:
        return os.pread(fd, size, offset)
    except OSError as err:
        if err.errno != errno.EIO:
            raise
        return b""

"""Disks and ends that a spool has to live with."""

import errno
import os
from pathlib import Path

from tests.fakes import FakeClock
from thermogate.agent.spool import Spool
from thermogate.agent.spool_disk import Disk


class MachineClock(FakeClock):
    """A clock whose steady part begins anew when the machine does."""

    def reboot(self) -> None:
        self._steady_s = 5.0


class Killed(BaseException):
    """kill -9: nothing that the process would have done after this is done."""


class FaultyDisk(Disk):
    """A real disk on which things go wrong, in a machine that may reboot.

    `room` bytes are left, None for plenty; `inodes` says whether files can be made; a disk that is
    `read_only` changes nothing, one that is `sticky` deletes nothing. The process is killed in call
    number `kill_in` from now on, and a write that is killed has written its first `torn` part.
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self.inodes = True
        self.read_only = False
        self.sticky = False
        self.boots = 1
        self.calls = 0
        self.synced = 0
        self._kill_at: int | None = None
        self._torn = 0.0

    @property
    def in_trouble(self) -> bool:
        return self.room is not None or self.read_only or not self.inodes

    def kill_in(self, calls: int | None, torn: float = 0.0) -> None:
        self._kill_at = None if calls is None else self.calls + calls
        self._torn = torn

    def make_folder(self, path: Path) -> None:
        if not path.is_dir():
            self._call()
            super().make_folder(path)

    def create(self, path: Path) -> int:
        self._call()
        if self.room == 0 or not (self.inodes or path.exists()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(path)

    def write(self, fd: int, data: bytes) -> int:
        if self._dies():
            super().write(fd, data[: int(self._torn * len(data))])
        self._call()
        if self.room is None:
            return super().write(fd, data)
        part = data[: self.room]
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(part)
        return super().write(fd, part)

    def truncate(self, fd: int, size: int) -> None:
        self._call()
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self._call()
        self.synced += 1
        super().sync(fd)

    def rename(self, old: Path, new: Path) -> None:
        self._call()
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self._call()
        if self.sticky:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        super().remove(path)

    def is_read_only(self, path: Path) -> bool:
        return self.read_only

    def boot_id(self) -> str:
        return f"boot-{self.boots}"

    def _call(self) -> None:
        if self._dies():
            raise Killed
        self.calls += 1
        if self.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def _dies(self) -> bool:
        return self._kill_at is not None and self.calls >= self._kill_at


def kill(spool: Spool) -> None:
    """The process ends without a word: descriptors are closed, and nothing else."""
    if spool._log._active is not None:
        spool._log._active.seal()
    os.close(spool._lock)


def held(spool: Spool) -> set[int]:
    """Numbers of the records in memory."""
    return {each.seq for each in spool._memory}


def segments(directory: Path) -> list[Path]:
    """The files of a spool, oldest first."""
    return sorted(directory.glob("*.seg"))


def flip_bit(path: Path, bit: int) -> None:
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)

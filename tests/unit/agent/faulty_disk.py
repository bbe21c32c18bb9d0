"""Disks and ends that a spool has to live with."""

import errno
import os
from pathlib import Path

from tests.fakes import FakeClock
from thermogate.agent.spool import Spool
from thermogate.agent.spool_segment import Disk


class MachineClock(FakeClock):
    """A clock whose steady part begins anew when the machine does."""

    def reboot(self) -> None:
        self._steady_s = 5.0


class FaultyDisk(Disk):
    """A real disk on which `room` bytes are left, None for plenty, in a machine that may reboot."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.boots = 1

    def create(self, path: Path) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(path)

    def write(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return super().write(fd, data)
        part = data[: self.room]
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(part)
        return super().write(fd, part)

    def boot_id(self) -> str:
        return f"boot-{self.boots}"


def kill(spool: Spool) -> None:
    """The process ends without a word: descriptors are closed, and nothing else."""
    if spool._log._active is not None:
        spool._log._active.seal()
    os.close(spool._lock)


def segments(directory: Path) -> list[Path]:
    """The files of a spool, oldest first."""
    return sorted(directory.glob("*.seg"))


def flip_bit(path: Path, bit: int) -> None:
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)

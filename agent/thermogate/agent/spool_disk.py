"""What the spool does to a disk, one system call a method."""

import os
from pathlib import Path

from thermogate.agent.sources.sysfs import boot_id


class Disk:
    """The disk of the machine, which may be full, read-only or emptied by somebody.

    Every change that the spool makes goes through here, so that tests can end it between any two.
    """

    def make_folder(self, path: Path) -> None:
        """A folder and those above it; one that is there is fine. Raises OSError."""
        path.mkdir(parents=True, exist_ok=True)

    def create(self, path: Path) -> int:
        """A descriptor of a new, empty file, to append to and read from. Raises OSError."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def write(self, fd: int, data: bytes) -> int:
        """How many bytes were written. Raises OSError."""
        return os.write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file. Raises OSError."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Wait until a file is on the disk itself. Raises OSError."""
        os.fdatasync(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Put one file in the place of another. Raises OSError."""
        old.replace(new)

    def remove(self, path: Path) -> None:
        """Delete a file; one that is gone already is fine. Raises OSError."""
        path.unlink(missing_ok=True)

    def is_removed(self, fd: int) -> bool:
        """Whether somebody has deleted an open file. Raises OSError."""
        return os.fstat(fd).st_nlink == 0

    def is_read_only(self, path: Path) -> bool:
        """Whether the file system takes no writes from anybody. Raises OSError."""
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)

    def boot_id(self) -> str:
        """Another for each boot of the machine; "" when it cannot be told."""
        return boot_id(Path("/proc"))

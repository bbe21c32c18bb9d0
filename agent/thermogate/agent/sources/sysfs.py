"""Reading the kernel's small files below /sys and /proc."""

import errno
import os
from pathlib import Path


def read_text(path: Path) -> str | None:
    """The stripped contents; None when the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def read_bytes(path: Path | str, most: int) -> bytes | None:
    """What one read of up to `most` bytes gives; None when the file cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, most)
    except OSError:
        return None
    finally:
        os.close(fd)


def read_int(path: Path | str) -> int | None:
    """The number in the file; None when there is none or it cannot be read."""
    try:
        return int(read_bytes(path, 64) or b"")
    except ValueError:
        return None


def boot_id(procfs: Path) -> str:
    """Another for each boot of the machine; "" when it cannot be told."""
    return read_text(procfs / "sys/kernel/random/boot_id") or ""


def numbered(directory: Path, prefix: str) -> list[Path]:
    """Entries named `prefix` and a number, in the order of the numbers; [] when there are none."""
    found = [path for path in directory.glob(f"{prefix}*") if path.name.removeprefix(prefix).isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix(prefix)))


class KernelFile:
    """A file of the kernel's, kept open: a read costs one system call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reading = f"reading {path.name}"
        """What a thread does that reads it, for a person."""
        self._fd = -1

    def open(self) -> None:
        """Raises OSError, PermissionError for one."""
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def contents(self, most: int) -> bytes:
        """The first `most` bytes as they are now. Raises OSError with what the driver says.

        A file whose device went, as a CPU that was taken offline, is opened again once it is back.
        """
        try:
            return os.pread(self._fd, most, 0)
        except OSError as err:
            if err.errno not in (errno.ENODEV, errno.EBADF):
                raise
            self.close()
            self.open()
            return os.pread(self._fd, most, 0)

    def close(self) -> None:
        """Close the file if it is open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def opened(path: Path) -> KernelFile | None:
    """The file, open; None when it cannot be opened."""
    file = KernelFile(path)
    try:
        file.open()
    except OSError:
        return None
    return file


class ValueFile(KernelFile):
    """A file of one number."""

    def ask(self) -> int:
        """The number now. Raises OSError with what the driver says, ValueError when it is no number."""
        return int(self.contents(64))

    def read(self) -> int | None:
        """The number now; None when the driver behind the file does not give one."""
        try:
            return self.ask()
        except (OSError, ValueError):
            return None

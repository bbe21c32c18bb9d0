"""Reading the kernel's one-value files."""

import os
from pathlib import Path


def read_text(path: Path) -> str | None:
    """The stripped contents; None when the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The number in the file; None when there is none or it cannot be read."""
    try:
        return int(read_text(path) or "")
    except ValueError:
        return None


def numbered(directory: Path, prefix: str) -> list[Path]:
    """Entries named `prefix` and a number, in the order of the numbers; [] when there are none."""
    found = [path for path in directory.glob(f"{prefix}*") if path.name.removeprefix(prefix).isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix(prefix)))


class ValueFile:
    """A file of one number, kept open: a read costs one system call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def open(self) -> None:
        """Raises OSError, PermissionError for one."""
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> int | None:
        """The number now; None when the driver behind the file does not give one."""
        try:
            return int(os.pread(self._fd, 64, 0))
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Close the file if it is open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

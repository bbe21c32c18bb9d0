"""The node's memory, from /proc/meminfo (Documentation/filesystems/proc.rst)."""

import re
from pathlib import Path

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.sysfs import KernelFile

_LINE = re.compile(rb"^(MemTotal|MemAvailable): +(\d+) kB$", re.MULTILINE)
_FIELDS = {b"MemTotal": "mem_total_bytes", b"MemAvailable": "mem_available_bytes"}


class MemoryReader:
    """`mem_total_bytes` and `mem_available_bytes`."""

    def __init__(self, procfs: Path) -> None:
        self._file = KernelFile(procfs / "meminfo")

    def open(self) -> str:
        """Find the file. What was found or why nothing was, for a person."""
        try:
            self._file.open()
        except OSError as err:
            return f"no memory: {self._file.path}: {err.strerror}"
        return "memory"

    def read(self) -> Fields:
        """What the kernel says now; {} when it says nothing."""
        try:
            text = self._file.contents(512)  # both stand in the first three lines
        except OSError:
            return {}
        return {_FIELDS[name]: int(kib) * 1024 for name, kib in _LINE.findall(text)}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

"""What thermogate itself has set, on disk before it is set: only that is ever undone."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from thermogate.core.errors import ConfigError, UnavailableError
from thermogate.schedulers.adapter import Mark, Marks
from thermogate.schedulers.standing import Target, parse_target


class _File(msgspec.Struct, frozen=True):
    scheduler: str
    marks: dict[str, dict[str, Mark]]


class Journal:
    """Marks of each target. Every change is on disk when its method returns. One process writes it.

    Methods raise UnavailableError where the disk will not take it: then nothing may be set.
    """

    def __init__(self, file: Path, scheduler: str) -> None:
        self._file = file
        self._scheduler = scheduler
        self._marks: dict[Target, dict[str, Mark]] = {}

    def open(self) -> None:
        """Read it. Raises ConfigError for one that is damaged or of another scheduler."""
        try:
            found = msgspec.json.decode(self._file.read_bytes(), type=_File)
            marks_of = {parse_target(name): marks for name, marks in found.marks.items()}
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, ConfigError) as err:
            raise ConfigError(
                f"{self._file}: the journal of what thermogate has set cannot be read ({err}). Look with the "
                "scheduler's own tools for what bears its name, and then move the file away"
            ) from err
        if found.scheduler != self._scheduler:
            raise ConfigError(f"{self._file}: the journal of {found.scheduler}, not of {self._scheduler}")
        self._marks = marks_of

    def targets(self) -> tuple[Target, ...]:
        """Those on which something is set."""
        return tuple(self._marks)

    def marks(self, target: Target) -> Marks:
        """What is set on it."""
        return dict(self._marks.get(target, {}))

    def set(self, target: Target, details: Mapping[str, str], *, done: bool) -> None:
        """Marks are about to be set (`done` False), or have been."""
        if details:
            marks = self._marks.setdefault(target, {})
            marks.update({name: Mark(detail, done) for name, detail in details.items()})
            self._write()

    def clear(self, target: Target, names: Iterable[str]) -> None:
        """They have been undone, or are no longer ours."""
        marks = self._marks.get(target, {})
        gone = [marks.pop(name) for name in names if name in marks]
        if not marks:
            self._marks.pop(target, None)
        if gone:
            self._write()

    def _write(self) -> None:
        names = {"/".join(target): marks for target, marks in self._marks.items()}
        write_atomically(self._file, msgspec.json.encode(_File(self._scheduler, names)))


def write_atomically(file: Path, content: bytes) -> None:
    """Old or new, never half, readable by its owner only. Raises UnavailableError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(fd, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(fd)
            Path(name).replace(file)
        except OSError:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as err:
        raise UnavailableError(f"{file}: cannot be written: {err.strerror}") from err

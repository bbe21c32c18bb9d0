"""The pace, in a file that the program may read as often as it likes."""

import shutil
import tempfile
from pathlib import Path

import msgspec

from thermogate.core.decision import State
from thermogate.schedulers.journal import write_atomically


class Pace(msgspec.Struct, frozen=True):
    """What the file says, as JSON: `{"state":"RUN","pace":0.8,"why":"..."}`."""

    state: State
    pace: float
    why: str


class PaceFile:
    """A file in a folder of its own, never half written, removed at the end."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._said: Pace | None = None

    def open(self) -> Path:
        """Make it; its path."""
        self._folder = Path(tempfile.mkdtemp(prefix="thermogate-run-"))
        self.write(Pace(State.RUN, 1.0, ""))
        return self._folder / "pace.json"

    def write(self, pace: Pace) -> None:
        """Renew it, if it is open and this is news. Raises UnavailableError."""
        if self._folder is not None and pace != self._said:
            write_atomically(self._folder / "pace.json", msgspec.json.encode(pace))
            self._said = pace

    def close(self) -> None:
        """Remove it."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

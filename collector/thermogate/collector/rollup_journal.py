"""Windows that have to be rolled up, on disk, so that a collector that was killed finds them again."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from thermogate.collector.rollup_windows import ALL, MANY, Nodes
from thermogate.collector.store.resolution import STEP_NS, Resolution
from thermogate.core.wire import is_name

log = logging.getLogger(__name__)

_SNAPSHOT = "state.json"
_NOTES = "notes-"
_MAX_NOTE_BYTES = 4 << 20
_MOST_DIGITS = 19

Windows = dict[int, list[str] | None]
"""Begin to nodes; None: all."""


class State(msgspec.Struct, frozen=True):
    """What is known at one time; what is before `until_ns` was rolled up once."""

    until_ns: dict[Resolution, int]
    dirty: dict[Resolution, Windows]


class Journal:
    """A folder with a snapshot of the state, and notes of what has come since.

    A note is in the system's hands when `note` returns, which a killed process does not take back; after
    a power failure the notes of the last half minute may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._notes: int | None = None
        self._bytes = 0
        self._failing = False
        self._cut = False
        self._kept_number = 0
        self._keeping = threading.Lock()

    def open(self) -> tuple[State | None, list[tuple[int, bytes]]]:
        """What was known, None at the first time, and the minutes of nodes noted since. Blocks."""
        found: list[tuple[int, bytes]] = []
        snapshot: State | None = None
        with self._saying("read"):
            self._folder.mkdir(parents=True, exist_ok=True)
            snapshot = _read_snapshot(self._folder / _SNAPSHOT)
            for number, file in _note_files(self._folder):
                self._number = max(self._number, number)
                found += _read_notes(file)
        return snapshot, found

    def close(self) -> None:
        """Let go of the file."""
        if self._notes is not None:
            os.close(self._notes)
            self._notes = None

    @property
    def is_full(self) -> bool:
        """Whether a snapshot would make the notes short again."""
        return self._bytes > _MAX_NOTE_BYTES

    def note(self, minutes: Iterable[tuple[int, bytes]]) -> None:
        """Keep that these minutes of nodes have to be rolled up. A disk that takes nothing is said once."""
        text = (b"\n" if self._cut else b"") + b"".join(b"%d %b\n" % minute for minute in minutes)
        with self._saying("written"):
            if self._notes is None:
                self._begin()
            if self._notes is not None:
                written = os.write(self._notes, text)
                self._bytes += written
                self._cut = written < len(text)  # a disk that is nearly full

    def rotate(self) -> int:
        """From now on notes go to another file. Returns the number that `keep` may forget up to."""
        self.close()
        with self._saying("written"):
            self._begin()
        return self._number - 1

    def keep(self, state: State, number: int) -> None:
        """Put this state in the place of the snapshot and of the notes up to `number`. Blocks, in any thread:
        a call that comes late, when a newer state has been kept, changes nothing.
        """
        with self._keeping, self._saying("written"):
            if number < self._kept_number:
                return
            self._kept_number = number
            part = self._folder / f"{_SNAPSHOT}.part"
            with part.open("wb") as out:
                out.write(msgspec.json.encode(state))
                out.flush()
                os.fsync(out.fileno())
            part.replace(self._folder / _SNAPSHOT)
            for one, file in _note_files(self._folder):
                if one <= number:
                    file.unlink()
            self._failing = False

    def _begin(self) -> None:
        self._number += 1
        file = self._folder / f"{_NOTES}{self._number:09}"
        self._notes = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._bytes = 0

    @contextlib.contextmanager
    def _saying(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            self._say(f"{self._folder} cannot be {what}: {err}")

    def _say(self, what: str) -> None:
        if not self._failing:
            self._failing = True
            log.error("%s; late samples are noted in memory only", what)


def _note_files(folder: Path) -> list[tuple[int, Path]]:
    """Number and file, the oldest first; what somebody else has put there is left alone."""
    named = ((file.name.removeprefix(_NOTES), file) for file in folder.glob(f"{_NOTES}*"))
    return sorted((int(number), file) for number, file in named if number.isascii() and number.isdigit())


def _read_notes(file: Path) -> list[tuple[int, bytes]]:
    """Whole lines only: one that was cut off was not acknowledged to its node."""
    *lines, _cut = file.read_bytes().split(b"\n")
    pairs = (line.split(b" ") for line in lines)
    return [(int(pair[0]), pair[1]) for pair in pairs if len(pair) == 2 and _is_note(*pair)]


def _is_note(start: bytes, node: bytes) -> bool:
    """A power failure leaves blocks of zeros, or of others, in what was not yet on disk."""
    sound = start.isdigit() and len(start) <= _MOST_DIGITS and int(start) % STEP_NS["1m"] == 0
    return sound and (node == ALL or is_name(node.decode("ascii", "replace")))


def _read_snapshot(file: Path) -> State | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as err:
        log.warning("%s is damaged (%s): what was not covered is rolled up again", file, err)
        return None


def listed(nodes: Nodes) -> list[str] | None:
    """Nodes as a snapshot has them."""
    return None if nodes is None or len(nodes) > MANY else sorted(node.decode() for node in nodes)

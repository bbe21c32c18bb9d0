"""Messages that cannot be stored, kept on disk with their reason for a person to look at.

Another process may list them and move whole files away to be tried again (`collector.requeue`), while
this one writes: both hold the folder's lock for the moment that they need.
"""

import base64
import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from thermogate.core.clock import Clock
from thermogate.core.mqtt import Message

log = logging.getLogger(__name__)

_FILES = 8
"""The quarantine goes in eighths: dropping the oldest keeps the rest."""
_DAY_S = 86_400.0
_MAX_SHARES = 4096
"""Writers whose share is counted apart; beyond it they are forgotten together."""
_WRITER_LENGTH = 256
"""More than the longest topic of ours: a stranger's may have 65,535 bytes."""
AGAIN = "again"
"""The folder inside of the quarantine whose files wait to be tried again."""
_NAME = re.compile(r"[0-9]{20}\.jsonl")


class Refused(msgspec.Struct, frozen=True):
    """A message and why it was refused."""

    message: Message
    reason: str


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a file: the payload as text or, where it is none, as base64."""

    time_ns: int
    topic: str
    reason: str
    payload: str = ""
    payload_base64: str = ""

    def payload_bytes(self) -> bytes:
        """As it came. Raises ValueError for an entry that nobody here has written."""
        return base64.b64decode(self.payload_base64, validate=True) or self.payload.encode()


class Quarantine:
    """JSON lines in DIR/<UTC nanoseconds>.jsonl, the oldest file dropped beyond `max_bytes` in all.

    Whoever writes to one topic, its last level aside, has `share` of that a day: one node that sends
    rubbish does not push out what others have here. Its methods block and are meant for one thread at
    a time.
    """

    def __init__(self, folder: Path, max_bytes: int, clock: Clock, *, share: float = 1.0) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._share_bytes = share * max_bytes
        self._used: dict[str, tuple[float, float]] = {}
        self._failing = False
        self.dropped = 0
        """Messages that went because there was no room for them."""
        self.withheld = 0
        """Messages that were not taken because of the share."""

    def put(self, refused: Sequence[Refused]) -> list[bool]:
        """Which of these are kept for good; none when the disk does not take them, which is logged once."""
        lines = [encode(_entry(one, self._clock.utc_ns())) for one in refused]
        fits = [self._fits(one, line) for one, line in zip(refused, lines, strict=True)]
        kept = b"".join(line for line, fit in zip(lines, fits, strict=True) if fit)
        try:
            if kept:
                self._append(kept)
        except OSError as err:
            if not self._failing:
                log.warning("quarantine %s cannot be written: %s", self._folder, err.strerror)
            self._failing = True
            return [False] * len(lines)
        self._failing = False
        return fits

    def _fits(self, one: Refused, line: bytes) -> bool:
        writer = one.message.topic.rpartition("/")[0][:_WRITER_LENGTH]
        now_s = self._clock.steady_s()
        if writer not in self._used and len(self._used) >= _MAX_SHARES:
            self._used.clear()
        used, at_s = self._used.get(writer, (0.0, now_s))
        used = max(0.0, used - (now_s - at_s) * self._share_bytes / _DAY_S)
        fits = used + len(line) <= self._share_bytes
        self._used[writer] = (used + len(line) * fits, now_s)
        self.withheld += not fits
        return fits

    def _append(self, lines: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder):
            found = files(self._folder)
            current = found[-1] if found else None
            if current is None or not _has_room(current, self._max_bytes // _FILES - len(lines)):
                # the clock may have been set back
                last = max((int(file.stem) for file in (*found, *files(self._folder / AGAIN))), default=-1)
                current = self._folder / f"{max(self._clock.utc_ns(), last + 1):020}.jsonl"
            with current.open("ab") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        found = files(self._folder)
        total = sum(file.stat().st_size for file in (*found, *files(self._folder / AGAIN)))
        for file in found[:-1]:
            if total <= self._max_bytes:
                return
            total -= file.stat().st_size
            with file.open("rb") as lines:
                self.dropped += sum(1 for _ in lines)
            file.unlink()


def _has_room(file: Path, most_bytes: int) -> bool:
    """Whether it may grow: it has this size or less, and its last line is whole, whoever was killed there."""
    with file.open("rb") as lines:
        size = lines.seek(0, os.SEEK_END)
        if not 0 < size <= most_bytes:
            return size == 0
        lines.seek(-1, os.SEEK_END)
        return lines.read() == b"\n"


def files(folder: Path) -> list[Path]:
    """The files of a quarantine, or of its AGAIN, the oldest first. Raises OSError for a folder that may
    not be read."""
    try:
        return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's files still. The lock is the kernel's, and ends with the process."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def entries(file: Path) -> Iterator[Entry]:
    """What a file holds, in order; a line that a crash has cut off is left out.

    Root reads what belongs to others: no link is followed, and no pipe waited for.
    """
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as lines:
        for line in lines:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                yield msgspec.json.decode(line, type=Entry)


def encode(entry: Entry) -> bytes:
    """A line of a file."""
    return msgspec.json.encode(entry) + b"\n"


def _entry(one: Refused, now_ns: int) -> Entry:
    topic, payload = one.message.topic, one.message.payload
    try:
        return Entry(now_ns, topic, one.reason, payload=payload.decode())
    except UnicodeDecodeError:
        return Entry(now_ns, topic, one.reason, payload_base64=base64.b64encode(payload).decode())


def summary(refused: Iterable[Refused]) -> str:
    """Reason and topic of the last one, for the log."""
    *_, last = refused
    return f"{ascii(last.message.topic[:_WRITER_LENGTH])[1:-1]}: {last.reason}"

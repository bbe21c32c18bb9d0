"""Messages that cannot be stored, kept on disk with their reason for a person to look at."""

import base64
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from thermogate.core.clock import Clock
from thermogate.core.mqtt import Message

log = logging.getLogger(__name__)

_FILES = 8
"""The quarantine goes in eighths: dropping the oldest keeps the rest."""


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


class Quarantine:
    """JSON lines in DIR/<UTC nanoseconds>.jsonl, the oldest file dropped beyond `max_bytes` in all.

    Its methods block and are meant for one thread at a time.
    """

    def __init__(self, folder: Path, max_bytes: int, clock: Clock) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._failing = False
        self.dropped = 0
        """Messages that went because there was no room for them."""

    def put(self, refused: Sequence[Refused]) -> bool:
        """Keep these for good; False when the disk does not take them, which is logged once."""
        lines = b"".join(msgspec.json.encode(self._entry(one)) + b"\n" for one in refused)
        try:
            self._append(lines)
            self._drop_oldest()
        except OSError as err:
            if not self._failing:
                log.warning("quarantine %s cannot be written: %s", self._folder, err.strerror)
            self._failing = True
            return False
        self._failing = False
        return True

    def _entry(self, refused: Refused) -> Entry:
        topic, payload = refused.message.topic, refused.message.payload
        now_ns = self._clock.utc_ns()
        try:
            return Entry(now_ns, topic, refused.reason, payload=payload.decode())
        except UnicodeDecodeError:
            return Entry(now_ns, topic, refused.reason, payload_base64=base64.b64encode(payload).decode())

    def _append(self, lines: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        files = self._files()
        current = files[-1] if files else None
        if current is None or current.stat().st_size + len(lines) > self._max_bytes // _FILES:
            after = int(files[-1].stem) + 1 if files else 0  # also when somebody has set the clock back
            current = self._folder / f"{max(self._clock.utc_ns(), after):020}.jsonl"
        with current.open("ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())

    def _drop_oldest(self) -> None:
        files = self._files()
        total = sum(file.stat().st_size for file in files)
        for file in files[:-1]:
            if total <= self._max_bytes:
                return
            total -= file.stat().st_size
            with file.open("rb") as lines:
                self.dropped += sum(1 for _ in lines)
            file.unlink()

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"{'[0-9]' * 20}.jsonl"))


def summary(refused: Iterable[Refused]) -> str:
    """Reason and topic of the last one, for the log."""
    *_, last = refused
    return f"{last.message.topic}: {last.reason}"

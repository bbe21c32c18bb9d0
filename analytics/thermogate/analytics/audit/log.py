"""Writing the audit log: a decision is in it, durably, before anybody hears of it."""

import fcntl
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from thermogate.analytics.audit import files, recovery
from thermogate.analytics.audit.files import Position
from thermogate.analytics.audit.records import GENESIS, AuditHead, Entry, Record, chained, seal
from thermogate.analytics.config.audit import AuditSettings
from thermogate.core.clock import NS, Clock
from thermogate.core.errors import UnavailableError, WireError
from thermogate.core.signing import SigningKey, TrustedKeys

log = logging.getLogger(__name__)

_DAY_NS = 86_400 * NS
_MOST_DROPPED = 2
"""Files that go at a time: enough for those that come, and a clock set wrong does not empty the folder."""


class AuditLog:
    """`with AuditLog(...) as log: log.append([(payload, inputs)])`. It blocks, for two flushes of the disk.

    `trusted` must have the key that signed the log's head, an older one too: see `keyring.ensure_keys`.
    """

    def __init__(
        self, folder: Path, key: SigningKey, settings: AuditSettings, *, trusted: TrustedKeys, clock: Clock
    ) -> None:
        self._folder = folder
        self._key = key
        self._settings = settings
        self._trusted = trusted
        self._clock = clock
        self._lock = -1
        self._fd = -1
        self._size = 0
        self._day = 0
        self._at = Position(0, GENESIS, 1, GENESIS)
        self._damaged = False

    @property
    def n(self) -> int:
        """Number of the newest record; 0 when there is none."""
        return self._at.n

    def open(self) -> None:
        """Lock the folder, made if missing, and find the end of the log.

        What a crash has left is put in order and noted. A log that does not fit its head is set aside with
        an alarm and a new one begins. Raises UnavailableError: another process writes, or the disk will not.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._take_lock()
            found = recovery.recover(self._folder, self._trusted)
            self._at = found.at
            self._write_head(self._at)  # by the key of now; and before there is a record for it to cover
            self._open_segment(found.segment_n)
            self._day = (found.time_ns or self._clock.utc_ns()) // _DAY_NS
            self._note(found)
        except OSError as err:
            self.close()
            raise UnavailableError(f"audit log {self._folder}: {err.strerror or err}") from err
        except UnavailableError:
            self.close()
            raise

    def append(self, entries: Sequence[Entry]) -> None:
        """Add decisions (payload, inputs), all or none, durably.

        Raises UnavailableError when the disk does not take them: then nothing of them may be published.
        """
        if not entries:
            return
        now_ns = self._clock.utc_ns()
        try:
            self._mend()
            rotated = self._rotate(now_ns)
            last, lines = chained(self._at.n + 1, now_ns, self._at.hash, entries)
            self._commit(last, lines)
        except OSError as err:
            raise UnavailableError(f"audit log {self._folder}: {err.strerror or err}") from err
        if rotated:
            self._drop_old(now_ns)

    def close(self) -> None:
        """Let go of the folder."""
        for fd in (self._fd, self._lock):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock = -1

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_lock(self) -> None:
        self._lock = os.open(self._folder / files.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise UnavailableError(f"audit log {self._folder}: another process writes it") from err

    def _note(self, found: recovery.Recovered) -> None:
        """Say in the log what was found."""
        now_ns = self._clock.utc_ns()
        for text in (*found.alarms, *found.notes):
            log.log(logging.ERROR if text in found.alarms else logging.INFO, "audit log: %s", text)
        said = [{"alarm": text} for text in found.alarms] + [{"note": text} for text in found.notes]
        for one in said:
            record, line = seal(Record(n=self._at.n + 1, time_ns=now_ns, before=self._at.hash, **one))
            self._commit(record, [line])

    def _open_segment(self, first_n: int) -> None:
        fd = os.open(
            files.segment(self._folder, first_n),
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
            0o640,
        )
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size = fd, os.fstat(fd).st_size
        files.sync_folder(self._folder)

    def _rotate(self, now_ns: int) -> bool:
        """Begin another file when this one is large, or of another day."""
        day = now_ns // _DAY_NS
        full = self._size >= self._settings.segment_mb << 20
        if rotated := bool(self._size) and (full or day != self._day):
            self._open_segment(self._at.n + 1)
        self._day = day
        return rotated

    def _commit(self, last: Record, lines: list[bytes]) -> None:
        """Records, then the head that covers them. Raises OSError with neither in force."""
        body = b"".join(lines)
        at = self._at._replace(n=last.n, hash=last.hash)
        try:
            files.write_all(self._fd, body)
            os.fdatasync(self._fd)
            self._write_head(at)
        except OSError:
            self._damaged = True
            with suppress(OSError):
                self._mend()
            raise
        self._size += len(body)
        self._at = at

    def _mend(self) -> None:
        """Take back what a write that failed may have left. Raises OSError."""
        if self._damaged:
            os.ftruncate(self._fd, self._size)
            self._damaged = False

    def _write_head(self, at: Position) -> None:
        _, payload = self._key.seal(AuditHead(**at._asdict(), time_ns=self._clock.utc_ns()))
        files.write_head(self._folder, payload)

    def _drop_old(self, now_ns: int) -> None:
        """Let whole files go that are too old or too much; the head says first where the log begins then."""
        try:
            at, dropped = self._too_old(now_ns)
            if dropped:
                self._write_head(at)
                self._at = at
            for file in dropped:
                file.unlink()
        except (OSError, WireError) as err:
            log.warning("audit log: old files stay: %s", err)

    def _too_old(self, now_ns: int) -> tuple[Position, list[Path]]:
        found = files.segments(self._folder)
        total = sum(file.stat().st_size for _, file in found)
        at, dropped = self._at, []
        for (_, file), (_, after) in list(pairwise(found))[:_MOST_DROPPED]:
            begins = files.first_record(after)
            aged = begins.time_ns < now_ns - self._settings.keep_days * _DAY_NS
            if not aged and total <= self._settings.keep_mb << 20:
                break
            total -= file.stat().st_size
            at = at._replace(first_n=begins.n, first_before=begins.before)
            dropped.append(file)
        return at, dropped

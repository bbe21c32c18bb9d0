"""What has been measured waits here, on disk, until a store has it."""

import contextlib
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, NamedTuple, Self

import msgspec

from thermogate.agent import spool_identity
from thermogate.agent.spool_format import Entry, EntryKind, Opening, encode, scan
from thermogate.agent.spool_log import SegmentLog
from thermogate.agent.spool_ranges import Ranges
from thermogate.agent.spool_recovery import Recovery
from thermogate.agent.spool_segment import Disk
from thermogate.core.clock import NS, Clock, SystemClock
from thermogate.core.config import Settings
from thermogate.core.errors import UnavailableError

log = logging.getLogger(__name__)

RecordKind = Literal["telemetry", "event"]
_KINDS: dict[RecordKind, EntryKind] = {"telemetry": EntryKind.TELEMETRY, "event": EntryKind.EVENT}
_NAMES: dict[int, RecordKind] = {kind: name for name, kind in _KINDS.items()}


class SpoolSettings(Settings, frozen=True):
    """How much the spool keeps. What is over is dropped, oldest first, and counted."""

    max_bytes: Annotated[int, msgspec.Meta(ge=256 * 1024)] = 256 * 1024 * 1024
    """A day of a node with 8 GPUs at 1 Hz is about 131 MiB."""
    max_age_s: Annotated[float, msgspec.Meta(gt=0)] = 7 * 86400.0
    """A week: a longer outage is not waited for, and older samples mean little to a gate."""
    fsync_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Longest time between two fdatasync; 0 leaves it to the kernel, about 30 s.

    A killed process loses nothing either way. A power cut loses what was not synchronised and not
    yet stored, which is little, as live samples are sent at once; and a busy disk can take seconds
    to synchronise, during which the agent stands still.
    """
    memory_records: Annotated[int, msgspec.Meta(ge=1)] = 600
    """Records kept in memory while the disk is full: 10 minutes at 1 Hz, about 1 MB."""


class Record(NamedTuple):
    """A message that no store has yet."""

    seq: int
    kind: RecordKind
    payload: bytes


class Spool:
    """Records in order, with numbers that never come twice under one `id`.

    Used by one thread. Every record is one write to a file, so it survives a kill -9 at any
    instant. While the disk takes none, records wait in memory, and `problem` says why.
    """

    def __init__(
        self, directory: Path, settings: SpoolSettings, clock: Clock | None = None, disk: Disk | None = None
    ) -> None:
        self.id = ""
        """8 hexadecimal characters; new when the directory is new or numbers might come twice."""
        self.dropped = 0
        """Records dropped unstored since `open`, because of size, age or memory."""
        self.lost = 0
        """Records found damaged or missing since `open`, at least."""
        self.problem = ""
        """Why the disk takes no records now, in one sentence; "" when it does."""
        self._directory = directory
        self._settings = settings
        self._clock = clock or SystemClock()
        self._disk = disk or Disk()
        self._boot = ""
        self._lock = -1
        self._identified = False
        self._log = SegmentLog(
            directory,
            self._disk,
            max_bytes=settings.max_bytes,
            max_age_s=settings.max_age_s,
            fsync_s=settings.fsync_s,
        )
        self._floor = 1
        self._next = 1
        self._done = Ranges()
        self._held: deque[tuple[int, bytes]] = deque()
        self._dropping = False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Take the directory and find what an earlier process left in it.

        Raises UnavailableError when it cannot be written or another process has it.
        """
        self._lock = spool_identity.lock(self._directory)
        self._boot = self._disk.boot_id()
        found = Recovery(self._directory, self._boot, self._clock)
        try:
            found.run()
        except OSError as err:
            os.close(self._lock)
            raise UnavailableError(f"{self._directory}: cannot read the spool: {err.strerror}") from err
        self._log.adopt(found.segments)
        self._done, self._next, self.lost = found.done, found.next_seq, found.lost
        self._floor = self._next if self._log.first is None else self._log.first
        known = None
        if found.segments and not found.may_repeat:
            known = spool_identity.load(self._directory, self._boot)
        self.id = known or spool_identity.fresh()
        self._keep_identity()
        if found.lost:
            log.warning("spool %s: %d damaged records are lost", self._directory, found.lost)
            self._write_finding()

    def close(self) -> None:
        """Write what memory holds, if the disk takes it, and let go of the directory."""
        self._write_held(self._clock.steady_s())
        if self._held:
            log.warning("spool %s: %d records in memory are lost", self._directory, len(self._held))
        with contextlib.suppress(OSError):
            self._log.close()
        os.close(self._lock)

    @property
    def depth(self) -> int:
        """How many records no store has yet."""
        return self._next - self._floor - self._done.total

    @property
    def oldest_seq(self) -> int | None:
        """Number of the oldest record that no store has; None when stores have all."""
        return self._done.missing_from(self._floor) if self.depth else None

    @property
    def newest_seq(self) -> int:
        """Number of the last record appended; 0 before the first."""
        return self._next - 1

    def append(self, kind: RecordKind, payload: bytes) -> int:
        """Keep a record; its number, larger than all before. Raises nothing: see `problem`."""
        now_s = self._clock.steady_s()
        seq, self._next = self._next, self._next + 1
        entry = encode(_KINDS[kind], seq, int(now_s * NS), payload)
        self._write_held(now_s)
        if self._held or not self._write(entry, seq, now_s):
            self._hold(seq, entry)
        elif not self._identified:
            self._keep_identity()
        return seq

    def read(self, after_seq: int, limit: int) -> list[Record]:
        """The first `limit` records after number `after_seq` that no store has, oldest first.

        Raises OSError when the disk fails in another way than damage, which is counted in `lost`.
        """
        seq = self._done.missing_from(max(after_seq + 1, self._floor))
        return list(islice(self._unstored(seq), limit)) if seq < self._next else []

    def ack(self, spool_id: str, ranges: Iterable[tuple[int, int]]) -> None:
        """A store has the records of these inclusive ranges for good. Those of another spool are ignored."""
        if spool_id != self.id:
            return
        fresh = [span for span in map(self._known, ranges) if self._count_unstored(*span)]
        if not fresh:
            return
        for first, last in fresh:
            self._done.add(first, last)
        now_s = self._clock.steady_s()
        if not self._held:
            stored = encode(EntryKind.STORED, self._next, int(now_s * NS), msgspec.json.encode(fresh))
            self._write(stored, self._next, now_s)
        self._prune()

    def _known(self, span: tuple[int, int]) -> tuple[int, int]:
        return max(span[0], self._floor), min(span[1], self._next - 1)

    def _count_unstored(self, first: int, last: int) -> int:
        return last - first + 1 - self._done.count(first, last) if first <= last else 0

    def _unstored(self, seq: int) -> Iterator[Record]:
        begin = seq
        for entry in self._log.records(seq):
            self._miss(seq, entry.seq - 1)
            seq = entry.seq + 1
            if entry.seq not in self._done:
                yield _record(entry)
        self._miss(seq, (self._held[0][0] if self._held else self._next) - 1)
        for held, data in self._held:
            if held >= begin and held not in self._done:
                yield _record(next(scan(data)))

    def _miss(self, first: int, last: int) -> None:
        """Records that should be in the files and are not: damaged, or deleted by somebody."""
        missing = self._count_unstored(first, last)
        if missing:
            self.lost += missing
            self._done.add(first, last)
            log.warning("spool %s: %d damaged records are lost", self._directory, missing)

    def _write(self, entry: bytes, seq: int, now_s: float) -> bool:
        """Write an entry and cut the log to its bounds; False when the disk does not take it."""
        try:
            self._log.append(entry, seq, now_s, lambda: self._opening(seq, now_s))
        except OSError as err:
            self._refused(err)
            return False
        if self.problem:
            log.info("spool %s: takes records again", self._directory)
            self.problem = ""
        self._trim(now_s)
        return True

    def _refused(self, err: OSError) -> None:
        if not self.problem:
            log.warning("spool %s: %s; records wait in memory", self._directory, err.strerror)
        self.problem = f"the spool {self._directory} takes no records: {err.strerror}"

    def _opening(self, seq: int, now_s: float) -> bytes:
        # Only of numbers before it: those in memory, stored or not, are still to be written after it.
        stored = [(first, min(last, seq - 1)) for first, last in self._done if first < seq]
        opening = Opening(self._boot, self._clock.utc_ns(), stored)
        return encode(EntryKind.OPENED, seq, int(now_s * NS), msgspec.json.encode(opening))

    def _trim(self, now_s: float) -> None:
        while self._log.expired(self._settings.max_bytes, self._settings.max_age_s, now_s):
            try:
                unstored = self._count_unstored(*self._log.drop_oldest())
            except OSError as err:
                self._refused(err)
                return
            self._forget_below_floor()
            self.dropped += unstored
            if unstored and not self._dropping:
                self._dropping = True
                log.warning("spool %s is full: its oldest records are dropped", self._directory)

    def _prune(self) -> None:
        before = self._log.bytes
        try:
            self._log.prune(lambda first, last: not self._count_unstored(first, last))
        except OSError as err:
            self._refused(err)
        self._forget_below_floor()
        if self._dropping and self._log.bytes < before:
            self._dropping = False
            log.info("spool %s has room again; %d records were dropped", self._directory, self.dropped)

    def _forget_below_floor(self) -> None:
        self._floor = self._floor if self._log.first is None else self._log.first
        self._done.discard_below(self._floor)

    def _hold(self, seq: int, entry: bytes) -> None:
        """Keep an entry in memory. The process may end with it, so its number must not come again."""
        if self._identified:
            self._identified = False
            with contextlib.suppress(OSError):
                spool_identity.forget(self._directory)
        self._held.append((seq, entry))
        if len(self._held) > self._settings.memory_records:
            oldest, _ = self._held.popleft()
            self.dropped += self._count_unstored(oldest, oldest)
            self._done.add(oldest, oldest)

    def _write_held(self, now_s: float) -> None:
        while self._held:
            seq, entry = self._held[0]
            if not self._write(entry, seq, now_s):
                return
            self._held.popleft()

    def _write_finding(self) -> None:
        """Begin a segment that says what is missing, so that the next start does not find it again."""
        now_s = self._clock.steady_s()
        with contextlib.suppress(OSError):
            self._log.begin(self._next, now_s, lambda: self._opening(self._next, now_s))

    def _keep_identity(self) -> None:
        """Let the next start believe this identity: every number so far is in the files."""
        with contextlib.suppress(OSError):
            spool_identity.store(self._directory, self.id, self._boot)
            self._identified = True

    @property
    def bytes(self) -> int:  # last in the class, since from here on "bytes" means this
        """Size of the files."""
        return self._log.bytes


def _record(entry: Entry) -> Record:
    return Record(entry.seq, _NAMES[entry.kind], entry.payload)

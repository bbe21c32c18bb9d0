"""What has been measured waits here, on disk, until a store has it."""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from thermogate.agent import spool_identity
from thermogate.agent.spool_disk import Disk
from thermogate.agent.spool_drops import Drop, Drops, Why
from thermogate.agent.spool_format import EntryKind, Opening, encode
from thermogate.agent.spool_log import SegmentLog
from thermogate.agent.spool_memory import Held, Memory
from thermogate.agent.spool_problem import Problem
from thermogate.agent.spool_ranges import Ranges
from thermogate.agent.spool_record import Record, RecordKind, of_entry, to_entry
from thermogate.agent.spool_recovery import Recovery
from thermogate.agent.spool_settings import SpoolSettings
from thermogate.core.clock import NS, Clock, SystemClock
from thermogate.core.errors import UnavailableError

__all__ = ["Drop", "Record", "RecordKind", "Spool", "SpoolSettings"]

log = logging.getLogger(__name__)


class Spool:
    """Records in order, with numbers that never come twice under one `id`.

    Used by one thread. Every record is one write to a file, so it survives a kill -9 at any
    instant. While the disk takes none, records wait in memory, and `problem` says why.
    """

    def __init__(
        self, directory: Path, settings: SpoolSettings, clock: Clock | None = None, disk: Disk | None = None
    ) -> None:
        self.lost = 0
        """Records found damaged or missing since `open`, at least."""
        self._directory = directory
        self._settings = settings
        self._clock = clock or SystemClock()
        self._disk = disk or Disk()
        self._boot = ""
        self._lock = -1
        self._identity = spool_identity.Identity(directory, self._disk)
        self._log = SegmentLog(directory, self._disk, settings)
        self._floor = 1
        self._next = 1
        self._done = Ranges()
        self._memory = Memory(settings.memory_records)
        self._problem = Problem(directory)
        self._drops = Drops()
        self._dropping = False
        self._oldest: tuple[int, float] | None = None

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
        self._lock = spool_identity.lock(self._directory, self._disk)
        self._boot = self._disk.boot_id()
        found = Recovery(self._directory, self._boot, self._clock, self._settings.max_age_s)
        try:
            found.run()
        except OSError as err:
            os.close(self._lock)
            raise UnavailableError(f"{self._directory}: cannot read the spool: {err.strerror}") from err
        self._log.adopt(found.segments)
        self._done, self._next, self.lost = found.done, found.next_seq, found.lost
        self._floor = self._next if self._log.first is None else self._log.first
        self._identity.take(self._boot, may_go_on=bool(found.segments) and not found.may_repeat)
        if found.lost:
            log.warning("spool %s: %d damaged records are lost", self._directory, found.lost)
            self._write_finding()

    def close(self) -> None:
        """Write what memory holds, if the disk takes it, and let go of the directory."""
        self._write_held(self._clock.steady_s())
        if self._memory:
            log.warning("spool %s: %d records in memory are lost", self._directory, len(self._memory))
        with contextlib.suppress(OSError):
            self._log.close()
        os.close(self._lock)

    @property
    def id(self) -> str:
        """8 hexadecimal characters; others when the directory is new or numbers might come twice."""
        return self._identity.name

    @property
    def problem(self) -> str:
        """Why the disk does not do as the spool wants, in one sentence; "" when it does."""
        return self._problem.text

    @property
    def dropped(self) -> int:
        """Records dropped unstored since `open`, because of size, age or memory."""
        return self._drops.total

    def take_dropped(self) -> list[Drop]:
        """What was dropped since the last call, one Drop a reason; empty when nothing was."""
        return self._drops.take(self._clock)

    @property
    def depth(self) -> int:
        """How many records no store has yet."""
        return self._next - self._floor - self._done.total

    @property
    def oldest_seq(self) -> int | None:
        """Number of the oldest record that no store has; None when stores have all."""
        return self._done.missing_from(self._floor) if self.depth else None

    @property
    def oldest_s(self) -> float | None:
        """Age of the oldest record that no store has, in seconds; None without one that can be read."""
        seq = self.oldest_seq
        if seq is None:
            return None
        if self._oldest is None or self._oldest[0] != seq:
            written_s = self._written_s(seq)
            if written_s is None:
                return None
            self._oldest = seq, written_s
        return max(0.0, self._clock.steady_s() - self._oldest[1])

    @property
    def newest_seq(self) -> int:
        """Number of the last record appended; 0 before the first."""
        return self._next - 1

    def append(self, kind: RecordKind, payload: bytes) -> int:
        """Keep a record; its number, larger than all before. Raises nothing: see `problem`."""
        now_s = self._clock.steady_s()
        seq, self._next = self._next, self._next + 1
        entry = to_entry(Record(seq, kind, payload), now_s)
        self._write_held(now_s)
        if self._memory or not self._write(entry, seq, now_s):
            self._hold(Held(seq, now_s, entry))
        else:
            self._identity.keep()
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
        if not self._memory:
            stored = encode(EntryKind.STORED, self._next, int(now_s * NS), msgspec.json.encode(fresh))
            self._write(stored, self._next, now_s)
        self._prune(now_s)

    def _known(self, span: tuple[int, int]) -> tuple[int, int]:
        return max(span[0], self._floor), min(span[1], self._next - 1)

    def _count_unstored(self, first: int, last: int) -> int:
        return last - first + 1 - self._done.count(first, last) if first <= last else 0

    def _unstored(self, seq: int) -> Iterator[Record]:
        begin = seq
        for entry in self._log.records(seq):
            if entry.seq < seq:  # written again after a disk that had it said that it failed
                continue
            self._miss(seq, entry.seq - 1)
            seq = entry.seq + 1
            if entry.seq not in self._done:
                yield of_entry(entry)
        self._miss(seq, (self._memory.first.seq if self._memory else self._next) - 1)
        for record in self._memory.records(begin):
            if record.seq not in self._done:
                yield record

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
            self._problem.refused(err, now_s)
            return False
        if self._trim(now_s):
            self._problem.over(now_s)
        return True

    def _opening(self, seq: int, now_s: float) -> bytes:
        # Only of numbers before it: those in memory, stored or not, are still to be written after it.
        stored = [(first, min(last, seq - 1)) for first, last in self._done if first < seq]
        opening = Opening(self._boot, self._clock.utc_ns(), stored)
        return encode(EntryKind.OPENED, seq, int(now_s * NS), msgspec.json.encode(opening))

    def _trim(self, now_s: float) -> bool:
        """Cut the log to its bounds; False when the disk does not let go of a file."""
        while why := self._log.over(now_s):
            try:
                span = self._log.drop_oldest()
            except OSError as err:
                self._problem.kept(err, now_s)
                return False
            unstored = self._count_unstored(span.first, span.last)
            self._forget_below_floor()
            if unstored:
                self._drop(why, unstored, span.from_s, span.to_s)
        return True

    def _drop(self, why: Why, count: int, from_s: float, to_s: float) -> None:
        self._drops.add(why, count, from_s, to_s)
        if not self._dropping:
            self._dropping = True
            log.warning(
                "spool %s is over its bound (%s): its oldest records are dropped", self._directory, why
            )

    def _prune(self, now_s: float) -> None:
        before = self._log.bytes
        try:
            self._log.prune(lambda first, last: not self._count_unstored(first, last))
        except OSError as err:
            self._problem.kept(err, now_s)
        self._forget_below_floor()
        if self._dropping and self._log.bytes < before:
            self._dropping = False
            log.info("spool %s has room again; it dropped %d records", self._directory, self.dropped)

    def _forget_below_floor(self) -> None:
        self._floor = self._floor if self._log.first is None else self._log.first
        self._done.discard_below(self._floor)

    def _hold(self, held: Held) -> None:
        """Keep an entry in memory. The process may end with it, so its number must not come again."""
        self._identity.disown()
        gone = self._memory.add(held)
        if gone is not None:
            if gone.seq not in self._done:
                self._drop("memory", 1, gone.at_s, gone.at_s)
            self._done.add(gone.seq, gone.seq)

    def _write_held(self, now_s: float) -> None:
        while self._memory:
            held = self._memory.first
            if not self._write(held.entry, held.seq, now_s):
                return
            self._memory.done()

    def _written_s(self, seq: int) -> float | None:
        if self._memory and seq >= self._memory.first.seq:
            return self._memory.written_s(seq)
        with contextlib.suppress(OSError):
            return self._log.written_s(seq)
        return None

    def _write_finding(self) -> None:
        """Begin a segment that says what is missing, so that the next start does not find it again."""
        now_s = self._clock.steady_s()
        with contextlib.suppress(OSError):
            self._log.begin(self._next, now_s, lambda: self._opening(self._next, now_s))

    @property
    def bytes(self) -> int:  # last in the class, since from here on "bytes" means this
        """Size of the files."""
        return self._log.bytes

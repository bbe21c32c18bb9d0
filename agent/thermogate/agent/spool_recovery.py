"""What an earlier process left in a spool: which records, which of them are stored, which are lost."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from thermogate.agent.spool_format import EntryKind, Opening
from thermogate.agent.spool_ranges import Ranges
from thermogate.agent.spool_segment import Segment
from thermogate.core.clock import NS, Clock

_OFF_S = 86_400.0
"""Most that records age while the machine is off (or half of the age limit, if that is less): only
UTC tells how long that was, and it may have been set wrong, which must not empty a spool."""
_WHOLE = 1 << 40
"""Longer than any segment, of which Segment.entries knows the bound: each is read in one piece."""


class _Written(NamedTuple):
    """When a segment was begun and last written: steady clock of its boot, and UTC of the beginning.

    `utc_ns` is 0 where the entry that tells is damaged.
    """

    boot: str
    utc_ns: int
    opened_ns: int
    newest_ns: int


class Recovery:
    """Reads every segment of a directory once, from its first byte to its last.

    `done` has the numbers that need not be sent: stored, or not there. `next_seq` is the first that
    no entry has used. `lost` counts records that were damaged before a store had them. `may_repeat`
    says that the newest file has a damaged end: it counts as one record, and numbers from `next_seq`
    on may have been used before.
    """

    def __init__(self, directory: Path, boot: str, clock: Clock, max_age_s: float) -> None:
        self.segments: list[Segment] = []
        self.done = Ranges()
        self.next_seq = 1
        self.lost = 0
        self.may_repeat = False
        self._directory = directory
        self._boot = boot
        self._clock = clock
        self._off_s = min(_OFF_S, max_age_s / 2)
        self._missing: list[tuple[int, int]] = []
        self._damaged: list[tuple[int, int]] = []

    def run(self) -> None:
        """Read everything. Raises OSError."""
        self.segments = Segment.found_in(self._directory)
        written: list[_Written | None] = []
        for segment in self.segments:
            self._skip_to(segment.first)
            self.may_repeat = False
            written.append(self._read(segment))
        self._date(written)
        self.lost = sum(last - first + 1 - self.done.count(first, last) for first, last in self._damaged)
        self.lost += self.may_repeat
        for first, last in self._missing:
            self.done.add(first, last)
        if self.segments:
            self.done.discard_below(self.segments[0].first)

    def _read(self, segment: Segment) -> _Written | None:
        """When it was written; None when there is nothing in it."""
        end = 0
        written: _Written | None = None
        for entry in segment.entries(chunk=_WHOLE):
            self.may_repeat = self.may_repeat or entry.start != end
            end = entry.end
            if entry.kind == EntryKind.OPENED:
                opening = msgspec.json.decode(entry.payload, type=Opening)
                written = _Written(opening.boot, opening.utc_ns, entry.at_ns, entry.at_ns)
                self._stored(opening.stored)
            elif entry.kind == EntryKind.STORED:
                self._stored(msgspec.json.decode(entry.payload, type=list[tuple[int, int]]))
            else:
                self._skip_to(entry.seq)
                self.next_seq = entry.seq + 1
                self.may_repeat = False
            written = (written or _Written("", 0, entry.at_ns, 0))._replace(newest_ns=entry.at_ns)
        self.may_repeat = self.may_repeat or end < segment.size
        return written

    def _skip_to(self, seq: int) -> None:
        """All numbers before `seq` have been used: those not seen are missing, or damaged."""
        if seq > self.next_seq:
            self._missing.append((self.next_seq, seq - 1))
            if self.may_repeat:
                self._damaged.append((self.next_seq, seq - 1))
            self.next_seq = seq

    def _stored(self, ranges: list[tuple[int, int]]) -> None:
        for first, last in ranges:
            self.done.add(first, last)
            self._skip_to(last + 1)

    def _date(self, written: list[_Written | None]) -> None:
        """Put each segment on the steady clock of this boot, the newest first."""
        at_s = self._clock.steady_s()
        later = _Written(self._boot, self._clock.utc_ns(), round(at_s * NS), round(at_s * NS))
        for segment, mine in zip(reversed(self.segments), reversed(written), strict=True):
            segment.opened_s = segment.newest_s = at_s
            if mine is not None:
                segment.newest_s = at_s - self._between_s(mine, later)
                segment.shift_s = segment.newest_s - mine.newest_ns / NS
                segment.opened_s = at_s = mine.opened_ns / NS + segment.shift_s
                later = mine

    def _between_s(self, earlier: _Written, later: _Written) -> float:
        """From the last entry of one segment to the first of the next.

        Within a boot the steady clock tells, whatever happened to UTC, which has to tell after a reboot.
        """
        if not earlier.utc_ns:
            return 0.0
        if earlier.boot and earlier.boot == later.boot:
            return max(0.0, (later.opened_ns - earlier.newest_ns) / NS)
        ended_ns = earlier.utc_ns + earlier.newest_ns - earlier.opened_ns
        return min(max(0.0, (later.utc_ns - ended_ns) / NS), self._off_s)

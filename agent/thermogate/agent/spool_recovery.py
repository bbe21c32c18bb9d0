"""What an earlier process left in a spool: which records, which of them are stored, which are lost."""

from pathlib import Path

import msgspec

from thermogate.agent.spool_format import EntryKind, Opening
from thermogate.agent.spool_ranges import Ranges
from thermogate.agent.spool_segment import Segment
from thermogate.core.clock import NS, Clock

_WHOLE = 1 << 40
"""Longer than any segment: at a start each is read in one piece."""


class Recovery:
    """Reads every segment of a directory once, from its first byte to its last.

    `done` has the numbers that need not be sent: stored, or not there. `next_seq` is the first that
    no entry has used. `lost` counts records that were damaged before a store had them. `may_repeat`
    says that the newest file has a damaged end: it counts as one record, and numbers from `next_seq`
    on may have been used before.
    """

    def __init__(self, directory: Path, boot: str, clock: Clock) -> None:
        self.segments: list[Segment] = []
        self.done = Ranges()
        self.next_seq = 1
        self.lost = 0
        self.may_repeat = False
        self._directory = directory
        self._boot = boot
        self._clock = clock
        self._missing: list[tuple[int, int]] = []
        self._damaged: list[tuple[int, int]] = []

    def run(self) -> None:
        """Read everything. Raises OSError."""
        self.segments = Segment.found_in(self._directory)
        for segment in self.segments:
            self._skip_to(segment.first)
            self.may_repeat = False
            self._read(segment)
        self.lost = sum(last - first + 1 - self.done.count(first, last) for first, last in self._damaged)
        self.lost += self.may_repeat
        for first, last in self._missing:
            self.done.add(first, last)
        if self.segments:
            self.done.discard_below(self.segments[0].first)

    def _read(self, segment: Segment) -> None:
        end, newest_ns = 0, 0
        opened: tuple[int, Opening] | None = None
        for entry in segment.entries(chunk=_WHOLE):
            self.may_repeat = self.may_repeat or entry.start != end
            end, newest_ns = entry.end, entry.at_ns
            if entry.kind == EntryKind.OPENED:
                opened = entry.at_ns, msgspec.json.decode(entry.payload, type=Opening)
                self._stored(opened[1].stored)
            elif entry.kind == EntryKind.STORED:
                self._stored(msgspec.json.decode(entry.payload, type=list[tuple[int, int]]))
            else:
                self._skip_to(entry.seq)
                self.next_seq = entry.seq + 1
                self.may_repeat = False
        self.may_repeat = self.may_repeat or end < segment.size
        segment.opened_s = segment.newest_s = self._clock.steady_s() - self._age_s(opened, newest_ns)

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

    def _age_s(self, opened: tuple[int, Opening] | None, newest_ns: int) -> float:
        """Age of an entry at `newest_ns` in a segment whose Opening is `opened`; 0 when unknown.

        In the boot that wrote it, the steady clock tells, whatever happened to UTC. After a reboot
        UTC has to tell, this once; a UTC from before the entry makes it new.
        """
        if opened is None:
            return 0.0
        opened_ns, opening = opened
        if opening.boot and opening.boot == self._boot:
            return self._clock.steady_s() - newest_ns / NS
        return max(0.0, (self._clock.utc_ns() - opening.utc_ns - (newest_ns - opened_ns)) / NS)

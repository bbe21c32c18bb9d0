"""The segments of a spool as one log, which grows at one end and is cut at the other."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from thermogate.agent.spool_disk import Disk
from thermogate.agent.spool_format import Entry, EntryKind
from thermogate.agent.spool_segment import Segment
from thermogate.agent.spool_settings import SpoolSettings

_SEGMENTS = 256
"""A full spool is this many files: dropping one loses 0.4 % of it, and a start opens no more."""
_MIN_BYTES, _MAX_BYTES = 4 * 1024, 4 * 1024 * 1024

_RECORDS = (EntryKind.TELEMETRY, EntryKind.EVENT)

Reader = Literal["sending", "looking"]
"""Who reads: each goes on where it left off, and does not lose the other's place."""


class Span(NamedTuple):
    """The numbers of a segment, first and last, and when it was begun and last written (steady clock)."""

    first: int
    last: int
    from_s: float
    to_s: float


class SegmentLog:
    """Entries in files of about equal size.

    The newest file is never deleted: its name and its entries say where the numbers go on.
    """

    def __init__(self, directory: Path, disk: Disk, settings: SpoolSettings) -> None:
        self.bytes = 0
        """Size of all files."""
        self._directory = directory
        self._disk = disk
        self._segment_bytes = min(max(settings.max_bytes // _SEGMENTS, _MIN_BYTES), _MAX_BYTES)
        self._segment_age_s = settings.max_age_s / _SEGMENTS
        self._settings = settings
        self._synced_s = 0.0
        self._segments: list[Segment] = []
        self._active: Segment | None = None
        self._cursors: dict[Reader, tuple[Segment, int, int]] = {}

    def adopt(self, segments: Sequence[Segment]) -> None:
        """Go on from what an earlier process left; its files are not appended to any more."""
        self._segments = list(segments)
        self.bytes = sum(segment.size for segment in segments)

    @property
    def first(self) -> int | None:
        """The number that the oldest segment begins with; None without segments."""
        return self._segments[0].first if self._segments else None

    def append(self, data: bytes, seq: int, now_s: float, opening: Callable[[], bytes]) -> None:
        """Write an entry of record `seq`, or about records before it, in one write.

        A new segment begins with the entry that `opening` returns. Raises OSError; then nothing of
        the entry is there, or, where only synchronising failed, it may not be there for long.
        """
        active = self._active
        if active is None or not self._has_room(active, len(data), now_s):
            active = self.begin(seq, now_s, opening)
        active.append(self._disk, data, now_s)
        self.bytes += len(data)
        if self._settings.fsync_s and now_s - self._synced_s >= self._settings.fsync_s:
            active.sync(self._disk)
            self._synced_s = now_s

    def begin(self, seq: int, now_s: float, opening: Callable[[], bytes]) -> Segment:
        """A new segment, for records from number `seq` on. Raises OSError."""
        self.close()
        segment = Segment.at(self._directory, seq)
        self._disk.make_folder(self._directory)
        segment.create(self._disk, now_s)
        if self._segments and self._segments[-1].first == seq:
            self.bytes -= self._segments.pop().size  # it had no record, and is empty now
        try:
            segment.append(self._disk, opening(), now_s)
        except OSError:
            segment.seal()
            raise
        self._segments.append(segment)
        self._active = segment
        self.bytes += segment.size
        return segment

    def over(self, now_s: float) -> Literal["size", "age"] | None:
        """Which bound the log is over: it is too large, or all of its oldest segment is too old."""
        if len(self._segments) < 2:
            return None
        if self.bytes > self._settings.max_bytes:
            return "size"
        return "age" if now_s - self._segments[0].newest_s > self._settings.max_age_s else None

    def drop_oldest(self) -> Span:
        """Delete the oldest segment. Raises OSError."""
        oldest, following = self._segments[:2]
        self._delete(oldest)
        return Span(oldest.first, following.first - 1, oldest.opened_s, oldest.newest_s)

    def prune(self, unneeded: Callable[[int, int], bool]) -> None:
        """Delete the segments whose span, first and last, is `unneeded`. Raises OSError."""
        for segment, following in list(pairwise(self._segments)):
            if unneeded(segment.first, following.first - 1):
                self._delete(segment)

    def records(self, seq: int, reader: Reader = "sending") -> Iterator[Entry]:
        """The records from number `seq` on that can be read. Raises OSError.

        Going on where `reader` left off costs nothing; elsewhere one segment is passed over.
        """
        return (entry for _, entry in self._records(seq, reader))

    def written_s(self, seq: int) -> float | None:
        """When the first readable record from number `seq` on was written, on the steady clock of this
        boot; None without one. Raises OSError."""
        for segment, entry in self._records(seq, "looking"):
            return segment.at_s(entry)
        return None

    def _records(self, seq: int, reader: Reader) -> Iterator[tuple[Segment, Entry]]:
        index = bisect_right(self._segments, seq, key=lambda segment: segment.first)
        for segment in self._segments[max(0, index - 1) :]:
            for entry in segment.entries(self._offset(segment, seq, reader)):
                if entry.kind in _RECORDS:
                    self._cursors[reader] = segment, entry.seq + 1, entry.end
                    if entry.seq >= seq:
                        yield segment, entry

    def close(self) -> None:
        """Append no more. Raises OSError."""
        active, self._active = self._active, None
        if active is not None:
            if self._settings.fsync_s:
                active.sync(self._disk)
            active.seal()

    def _has_room(self, active: Segment, size: int, now_s: float) -> bool:
        if active.is_removed(self._disk):  # by somebody; what is appended to it nobody would find
            return False
        return active.size + size <= self._segment_bytes and now_s - active.opened_s <= self._segment_age_s

    def _offset(self, segment: Segment, seq: int, reader: Reader) -> int:
        at = self._cursors.get(reader)
        return at[2] if at is not None and at[0] is segment and at[1] <= seq else 0

    def _delete(self, segment: Segment) -> None:
        self._disk.remove(segment.path)
        self._segments.remove(segment)
        self.bytes -= segment.size

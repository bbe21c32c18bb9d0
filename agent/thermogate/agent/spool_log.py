"""The segments of a spool as one log, which grows at one end and is cut at the other."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from thermogate.agent.spool_format import Entry, EntryKind
from thermogate.agent.spool_segment import Disk, Segment

_SEGMENTS = 256
"""A full spool is this many files: dropping one loses 0.4 % of it, and a start opens no more."""
_MIN_BYTES, _MAX_BYTES = 4 * 1024, 4 * 1024 * 1024

_RECORDS = (EntryKind.TELEMETRY, EntryKind.EVENT)


class SegmentLog:
    """Entries in files of about equal size.

    The newest file is never deleted: its name and its entries say where the numbers go on.
    """

    def __init__(
        self, directory: Path, disk: Disk, *, max_bytes: int, max_age_s: float, fsync_s: float
    ) -> None:
        self.bytes = 0
        """Size of all files."""
        self._directory = directory
        self._disk = disk
        self._segment_bytes = min(max(max_bytes // _SEGMENTS, _MIN_BYTES), _MAX_BYTES)
        self._segment_age_s = max_age_s / _SEGMENTS
        self._fsync_s = fsync_s
        self._synced_s = 0.0
        self._segments: list[Segment] = []
        self._active: Segment | None = None
        self._cursor: tuple[Segment, int, int] | None = None

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
        the entry is there.
        """
        active = self._active
        if active is None or not self._has_room(active, len(data), now_s):
            active = self.begin(seq, now_s, opening)
        active.append(self._disk, data, now_s)
        self.bytes += len(data)
        if self._fsync_s and now_s - self._synced_s >= self._fsync_s:
            active.sync()
            self._synced_s = now_s

    def begin(self, seq: int, now_s: float, opening: Callable[[], bytes]) -> Segment:
        """A new segment, for records from number `seq` on. Raises OSError."""
        self.close()
        segment = Segment.at(self._directory, seq)
        self._directory.mkdir(parents=True, exist_ok=True)
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

    def expired(self, max_bytes: int, max_age_s: float, now_s: float) -> bool:
        """Whether the log is larger than `max_bytes`, or all of its oldest segment older than `max_age_s`."""
        if len(self._segments) < 2:
            return False
        return self.bytes > max_bytes or now_s - self._segments[0].newest_s > max_age_s

    def drop_oldest(self) -> tuple[int, int]:
        """Delete the oldest segment; the numbers it spanned, first and last. Raises OSError."""
        oldest, following = self._segments[:2]
        self._delete(oldest)
        return oldest.first, following.first - 1

    def prune(self, unneeded: Callable[[int, int], bool]) -> None:
        """Delete the segments whose span, first and last, is `unneeded`. Raises OSError."""
        for segment, following in list(pairwise(self._segments)):
            if unneeded(segment.first, following.first - 1):
                self._delete(segment)

    def records(self, seq: int) -> Iterator[Entry]:
        """The records from number `seq` on that can be read. Raises OSError.

        Going on where an earlier call was left costs nothing; elsewhere one segment is passed over.
        """
        index = bisect_right(self._segments, seq, key=lambda segment: segment.first)
        for segment in self._segments[max(0, index - 1) :]:
            for entry in segment.entries(self._offset(segment, seq)):
                if entry.kind in _RECORDS:
                    self._cursor = segment, entry.seq + 1, entry.end
                    if entry.seq >= seq:
                        yield entry

    def close(self) -> None:
        """Append no more. Raises OSError."""
        active, self._active = self._active, None
        if active is not None:
            if self._fsync_s:
                active.sync()
            active.seal()

    def _has_room(self, active: Segment, size: int, now_s: float) -> bool:
        return active.size + size <= self._segment_bytes and now_s - active.opened_s <= self._segment_age_s

    def _offset(self, segment: Segment, seq: int) -> int:
        if self._cursor is None or self._cursor[0] is not segment or self._cursor[1] > seq:
            return 0
        return self._cursor[2]

    def _delete(self, segment: Segment) -> None:
        self._disk.remove(segment.path)
        self._segments.remove(segment)
        self.bytes -= segment.size

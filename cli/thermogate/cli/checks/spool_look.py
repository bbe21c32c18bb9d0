"""What lies in a spool, read beside the agent that writes it: nothing is locked, written or deleted."""

import os
import zlib
from collections import deque
from pathlib import Path

import msgspec

from thermogate.agent.spool_disk import Disk
from thermogate.agent.spool_format import Entry, EntryKind, Opening
from thermogate.agent.spool_ranges import Ranges
from thermogate.agent.spool_segment import Segment
from thermogate.cli.checks.people import Access, Process, access, lock_holder
from thermogate.core.clock import NS, Clock
from thermogate.core.wire import MAX_PAYLOAD_BYTES, Point, is_name, parse_points

_TAIL = 120
"""Newest telemetry that is opened: two minutes hold every sensor's turn and twelve self statistics."""
_TRIES = 3
"""The agent may delete a file while its folder is listed."""
_OTHERS = 20
"""Spools of other nodes that are looked at: there is one for each name that this machine has had."""


class SpoolLook(msgspec.Struct, kw_only=True):
    """Ages in seconds, None when there is no such thing or its age cannot be told.

    `hidden` says why nothing could be seen, `refused` whether for want of rights. `stored_age_s` is the
    age of the newest acknowledgement; `points` are the newest of each device, with all fields that it
    had in the last minutes. `way` are the folders that lead there, from / on. `others` are spools beside it
    that no agent has open: by name, how many of their messages no store has.
    """

    folder: str
    hidden: str = ""
    refused: bool = False
    exists: bool = True
    way: tuple[Access, ...] = ()
    access: Access | None = None
    writer: Process | None = None
    read_only: bool = False
    free_bytes: int = 0
    free_files: int = 0
    bytes: int = 0
    records: int = 0
    unstored: int = 0
    oldest_age_s: float | None = None
    newest_age_s: float | None = None
    stored_age_s: float | None = None
    jumps_s: tuple[float, ...] = ()
    points: dict[str, Point] = {}
    others: dict[str, int] = {}


def look(folder: Path, clock: Clock) -> SpoolLook:
    """Read everything once. Raises nothing that a folder can cause: see `hidden`."""
    found = SpoolLook(folder=str(folder))
    try:
        found.exists = folder.is_dir()
        if not found.exists:
            return found
        found.access, found.writer = access(folder), lock_holder(folder)
        disk = os.statvfs(folder)
        found.read_only = bool(disk.f_flag & os.ST_RDONLY)
        # f_files is 0 on file systems that make inodes as they need them, such as btrfs
        found.free_files = disk.f_favail if disk.f_files else -1
        found.free_bytes = disk.f_bavail * disk.f_frsize
        _Reader(clock, Disk().boot_id()).read(_segments(folder), found)
    except PermissionError as err:
        found.hidden, found.refused = f"{err.filename or folder}: {err.strerror}", True
    except OSError as err:
        found.hidden = f"{err.filename or folder} cannot be read: {err.strerror}"
    except (ValueError, zlib.error, msgspec.MsgspecError) as err:
        found.hidden = f"{folder} holds what no agent has written: {err}"
    return found


def others(spools: Path, node: str, clock: Clock) -> dict[str, int]:
    """Of the spools in a folder that nobody writes, but that of `node`: unstored messages, where any are."""
    try:
        # only what may be a node's name: people copy it into a shell
        names = sorted({path.name for path in spools.iterdir() if is_name(path.name)} - {node})[:_OTHERS]
    except OSError:
        return {}
    looks = {name: look(spools / name, clock) for name in names}
    return {name: found.unstored for name, found in looks.items() if found.unstored and not found.writer}


def _segments(folder: Path) -> list[Segment]:
    next(folder.iterdir(), None)  # raises where a glob, which may not look, finds nothing
    for _ in range(_TRIES):
        try:
            return Segment.found_in(folder)
        except FileNotFoundError:
            continue
    return Segment.found_in(folder)


class _Reader:
    """One pass over all entries."""

    def __init__(self, clock: Clock, boot: str) -> None:
        self._now_s = clock.steady_s()
        self._now_ns = clock.utc_ns()
        self._boot = boot
        self._opened: tuple[int, Opening] | None = None
        self._records: dict[int, float | None] = {}
        self._stored = Ranges()
        self._stored_age_s: float | None = None
        self._tail: deque[Entry] = deque(maxlen=_TAIL)
        self._offsets_s: list[float] = []

    def read(self, segments: list[Segment], found: SpoolLook) -> None:
        """Fill in what the segments tell. Raises OSError."""
        for segment in segments:
            self._opened = None
            for entry in segment.entries():
                self._take(entry)
        unstored = [seq for seq in self._records if seq not in self._stored]
        found.bytes = sum(segment.size for segment in segments)
        found.records, found.unstored = len(self._records), len(unstored)
        found.oldest_age_s = self._records[min(unstored)] if unstored else None
        found.newest_age_s = self._records[max(self._records)] if self._records else None
        found.stored_age_s = self._stored_age_s
        found.jumps_s = tuple(
            now - before for before, now in zip(self._offsets_s, self._offsets_s[1:], strict=False)
        )
        found.points = _points(self._tail)

    def _take(self, entry: Entry) -> None:
        if entry.kind == EntryKind.OPENED:
            opening = msgspec.json.decode(entry.payload, type=Opening)
            self._opened = entry.at_ns, opening
            self._add(opening.stored)
            if opening.boot and opening.boot == self._boot:
                self._offsets_s.append((opening.utc_ns - entry.at_ns) / NS)
        elif entry.kind == EntryKind.STORED:
            self._add(msgspec.json.decode(entry.payload, type=list[tuple[int, int]]))
            self._stored_age_s = self._age_s(entry.at_ns)
        else:
            self._records[entry.seq] = self._age_s(entry.at_ns)
            if entry.kind == EntryKind.TELEMETRY and len(entry.packed) <= MAX_PAYLOAD_BYTES:
                self._tail.append(entry)  # unpacked at the end only

    def _add(self, ranges: list[tuple[int, int]]) -> None:
        for first, last in ranges:
            self._stored.add(first, last)

    def _age_s(self, at_ns: int) -> float | None:
        """By the steady clock in the boot that wrote it, by UTC in a later one."""
        if self._opened is None:
            return None
        opened_ns, opening = self._opened
        if opening.boot and opening.boot == self._boot:
            return max(0.0, self._now_s - at_ns / NS)
        return max(0.0, (self._now_ns - opening.utc_ns - (at_ns - opened_ns)) / NS)


def _points(tail: deque[Entry]) -> dict[str, Point]:
    """The newest point of each device, with the fields that older ones add to it."""
    newest: dict[str, Point] = {}
    for entry in tail:
        payload = entry.payload
        if len(payload) > MAX_PAYLOAD_BYTES:
            continue
        for point in parse_points(payload):
            name = point.measurement + point.device
            known = newest[name].fields if name in newest else {}
            newest[name] = msgspec.structs.replace(point, fields=known | point.fields)
    return newest

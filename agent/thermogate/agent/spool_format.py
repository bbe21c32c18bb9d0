"""What the files of the spool are made of: entries, each with its own checksum.

    magic 3, version 1 | crc32 4 | length 4 | kind 1 | seq 8 | at_ns 8 | packed payload, `length` bytes

little-endian; the checksum covers all that follows it. An entry that is damaged costs itself only:
reading goes on at the next magic that begins a sound one. Payloads are packed because line protocol
repeats itself: a day of a node with 8 GPUs is 639 MiB as it is and 117 MiB packed (benchmarks/spool.py).

Version 1 packed without a dictionary. It is read as well, so an upgrade loses nothing of a spool.
"""

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import msgspec

from thermogate.agent.spool_pack import pack, unpack

_MAGIC = b"\xa7TG"
_VERSION = 2
_READABLE = (1, 2)
_SUM = struct.Struct("<3sBI")
_HEAD = struct.Struct("<IBQQ")
HEAD_BYTES = _SUM.size + _HEAD.size


class EntryKind(IntEnum):
    """What an entry holds."""

    OPENED = 0
    """An Opening, first in each segment; seq is that of the record to come."""
    TELEMETRY = 1
    EVENT = 2
    STORED = 3
    """A list of (first, last): records that a store has."""


class Opening(msgspec.Struct, frozen=True):
    """What a segment begins with: the boot and the UTC of its opening, and what was stored by then."""

    boot: str
    utc_ns: int
    stored: list[tuple[int, int]]


class Entry(NamedTuple):
    """One entry and where it stands; `at_ns` is the steady clock of the boot that wrote it."""

    start: int
    end: int
    kind: int
    seq: int
    at_ns: int
    packed: bytes

    @property
    def payload(self) -> bytes:
        """The payload as it was appended."""
        return unpack(self.packed)


def encode(kind: EntryKind, seq: int, at_ns: int, payload: bytes) -> bytes:
    """One entry."""
    packed = pack(payload)
    body = _HEAD.pack(len(packed), kind, seq, at_ns) + packed
    return _SUM.pack(_MAGIC, _VERSION, zlib.crc32(body)) + body


def scan(data: bytes, base: int = 0) -> Iterator[Entry]:
    """The sound entries of `data`, in order; what is between them is damaged or cut.

    `base` is where `data` begins in its file.
    """
    offset = 0
    while offset >= 0:
        entry = _entry_at(data, offset, base)
        if entry is None:
            offset = data.find(_MAGIC, offset + 1)
        else:
            yield entry
            offset = entry.end - base


def _entry_at(data: bytes, offset: int, base: int) -> Entry | None:
    start = offset + HEAD_BYTES
    if len(data) < start:
        return None
    magic, version, crc = _SUM.unpack_from(data, offset)
    length, kind, seq, at_ns = _HEAD.unpack_from(data, offset + _SUM.size)
    if magic != _MAGIC or version not in _READABLE or len(data) < start + length:
        return None
    if zlib.crc32(memoryview(data)[offset + _SUM.size : start + length]) != crc:
        return None
    return Entry(base + offset, base + start + length, kind, seq, at_ns, data[start : start + length])

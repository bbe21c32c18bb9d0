"""A record, and the entry that it is on disk."""

from typing import Literal, NamedTuple

from thermogate.agent.spool_format import Entry, EntryKind, encode
from thermogate.core.clock import NS

RecordKind = Literal["telemetry", "event"]
_KINDS: dict[RecordKind, EntryKind] = {"telemetry": EntryKind.TELEMETRY, "event": EntryKind.EVENT}
_NAMES: dict[int, RecordKind] = {kind: name for name, kind in _KINDS.items()}


class Record(NamedTuple):
    """A message that no store has yet."""

    seq: int
    kind: RecordKind
    payload: bytes


def to_entry(record: Record, now_s: float) -> bytes:
    """The record as it is written at `now_s` of the steady clock."""
    return encode(_KINDS[record.kind], record.seq, int(now_s * NS), record.payload)


def of_entry(entry: Entry) -> Record:
    """The record of a telemetry or event entry."""
    return Record(entry.seq, _NAMES[entry.kind], entry.payload)

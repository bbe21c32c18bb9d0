"""What the log has of the last while: a gate that starts again goes on from there."""

from pathlib import Path

from thermogate.analytics.audit.files import lines_of, segments
from thermogate.analytics.audit.records import Record, parse
from thermogate.core.decision import GateDecision
from thermogate.core.errors import WireError


def recent(folder: Path, since_ns: int) -> list[tuple[GateDecision, bytes]]:
    """Decisions recorded since then, oldest first, and their payloads as published.

    What cannot be read is left out: `AuditLog.open` has told of it.
    """
    found: list[Record] = []
    for _, file in reversed(segments(folder)):
        records = _records(file)
        found = [record for record in records if record.time_ns >= since_ns] + found
        if records and records[0].time_ns < since_ns:
            break
    return [(record.gate_decision, record.decision.encode()) for record in found if record.decision]


def _records(file: Path) -> list[Record]:
    records = []
    for line in lines_of(file):
        try:
            records.append(parse(line))
        except WireError:
            continue
    return records

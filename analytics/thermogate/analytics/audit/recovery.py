"""What stands at the end of a log when a process takes it up: a crash, a power cut, or something else."""

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from thermogate.analytics.audit import files
from thermogate.analytics.audit.files import Position
from thermogate.analytics.audit.records import GENESIS, AuditHead, Record, parse, what_is_wrong_inside
from thermogate.core.errors import WireError
from thermogate.core.signing import TrustedKeys


class Recovered(NamedTuple):
    """Where to go on, in which file and since when that one is written; what is to be said."""

    at: Position
    segment_n: int
    time_ns: int
    notes: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()


_Segments = Sequence[tuple[int, Path]]


def recover(folder: Path, trusted: TrustedKeys) -> Recovered:
    """Put the end of the log in order. Raises OSError.

    The head is written after the records that it covers, so a crash leaves at most lines beyond it: a torn
    one is moved to a file of its own, and so is what nothing proves to be ours. Decisions with our signature
    stay. Whatever else does not fit is no crash: the log is set aside, and a new one begins with an alarm.
    """
    head = None
    try:
        head = files.read_head(folder, trusted)
        if head is not None:
            return _go_on(folder, head, trusted)
    except WireError as err:
        return _set_aside(folder, head, str(err))
    if files.segments(folder):
        return _set_aside(folder, None, "there is no head")
    return Recovered(Position(0, GENESIS, 1, GENESIS), 1, 0, notes=("the log begins",))


def _go_on(folder: Path, head: AuditHead, trusted: TrustedKeys) -> Recovered:
    kept = _drop(files.segments(folder), head.first_n)
    started = [index for index, (first_n, _) in enumerate(kept) if first_n <= head.n]
    if _covers(head) and not started:
        raise WireError(f"the file with record {head.n} is gone")
    ends = kept[started[-1] :] if started else kept
    last, torn = _read_tail(ends, head, trusted)
    notes = [] if torn is None else [_cut(folder, ends, *torn)]
    at = Position(head.n, head.hash, head.first_n, head.first_before)
    if last is not None and last.n > head.n:
        notes.append(f"records {head.n + 1} to {last.n} were written, and the head did not say so yet")
        at = at._replace(n=last.n, hash=last.hash)
    left = [(first_n, file) for first_n, file in ends if file.exists()]
    if not left:
        return Recovered(at, at.n + 1, 0, tuple(notes))
    first_n, file = left[-1]
    return Recovered(at, first_n, files.first_record(file).time_ns, tuple(notes))


def _drop(found: _Segments, first_n: int) -> _Segments:
    """Without files that a crash left: dropped ones before the first record, and begun ones without any."""
    kept = []
    for number, file in found:
        if number < first_n or not file.stat().st_size:
            file.unlink()
        else:
            kept.append((number, file))
    return kept


def _covers(head: AuditHead) -> bool:
    """Whether the head speaks of any record."""
    return head.n >= head.first_n


def _read_tail(
    ends: _Segments, head: AuditHead, trusted: TrustedKeys
) -> tuple[Record | None, tuple[Path, int] | None]:
    """The last record that is ours, and where what is not begins.

    Raises WireError for what no crash explains.
    """
    last: Record | None = None
    reached = -1 if _covers(head) else head.n
    for number, file in ends:
        offset = 0
        for line in files.lines_of(file):
            try:
                record = parse(line)
                _refuse_unlinked(record, last, number, head)
                _refuse_unproven(record, head, trusted)
            except WireError as err:
                if reached < head.n:
                    raise WireError(f"{file.name}: after record {reached}: {err}") from err
                return last, (file, offset)
            last, reached = record, record.n
            offset += len(line)
    if reached < head.n:
        raise WireError(f"it ends at record {max(reached, 0)}, and its head names {head.n}")
    return last, None


def _refuse_unlinked(record: Record, last: Record | None, number: int, head: AuditHead) -> None:
    n, before = (number, record.before) if last is None else (last.n + 1, last.hash)
    if n == head.first_n:
        before = head.first_before
    if (record.n, record.before) != (n, before):
        raise WireError("does not follow the record before it")
    if record.n == head.n and record.hash != head.hash:
        raise WireError("is not the record that the head names")


def _refuse_unproven(record: Record, head: AuditHead, trusted: TrustedKeys) -> None:
    """Anybody can write a line beyond the head; our decisions have our signature."""
    if record.n <= head.n:
        return
    decision = record.gate_decision
    trusted.check(record.decision.encode(), decision, decision.issued_at_ns)
    if problem := what_is_wrong_inside(record):
        raise WireError(problem)


def _cut(folder: Path, ends: _Segments, torn: Path, offset: int) -> str:
    """Move what stands from `offset` of a file on, and the files after it, out of the log."""
    body = torn.read_bytes()[offset:]
    for _, file in ends:
        if file.name > torn.name or (file == torn and not offset):
            body += b"" if file == torn else file.read_bytes()
            file.unlink()
    name = _free(folder, "torn")
    name.write_bytes(body)
    if offset:
        os.truncate(torn, offset)
    return f"{len(body)} bytes that were never acknowledged, of a crash, were moved to {name.name}"


def _set_aside(folder: Path, head: AuditHead | None, why: str) -> Recovered:
    """Begin anew after the last number that there was, and keep the rest for whoever looks into it."""
    place = _free(folder, "aside")
    place.mkdir()
    last_n, last_hash = (0, GENESIS) if head is None else (head.n, head.hash)
    for number, file in files.segments(folder):
        last_n = max(last_n, number - 1 + file.read_bytes().count(b"\n"))
        file.rename(place / file.name)
    with suppress(FileNotFoundError):
        (folder / files.HEAD).rename(place / files.HEAD)
    at = Position(last_n, last_hash, last_n + 1, last_hash)
    alarm = f"the log up to record {last_n} is in {place.name}, as it does not fit together: {why}"
    return Recovered(at, at.n + 1, 0, alarms=(alarm,))


def _free(folder: Path, stem: str) -> Path:
    """A name that nothing has yet."""
    return next(path for number in count(1) if not (path := folder / f"{stem}-{number}").exists())

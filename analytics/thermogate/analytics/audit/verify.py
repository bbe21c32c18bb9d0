"""Reading a log and finding whatever was changed in it: any byte, any line, any file."""

import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from thermogate.analytics.audit import files
from thermogate.analytics.audit.records import AuditHead, Record, parse, what_is_wrong_inside
from thermogate.core.errors import UnavailableError, WireError
from thermogate.core.signing import TrustedKeys


class Finding(NamedTuple):
    """What does not fit. `n` is the record, if it can be told; `line` counts from 1, 0: the whole file."""

    n: int | None
    file: str
    line: int
    what: str

    @property
    def text(self) -> str:
        """One line for a person."""
        place = f"{self.file} line {self.line}" if self.line else self.file
        return f"{place}: {self.what}" if self.n is None else f"record {self.n} ({place}): {self.what}"


class Reader:
    """Goes through a log once, also while it is written. `findings` are complete when `records` has ended."""

    def __init__(self, folder: Path, trusted: TrustedKeys) -> None:
        self._folder = folder
        self._trusted = trusted
        self.findings: list[Finding] = []
        self.notes: list[tuple[int, str]] = []
        """(record, what the log itself went through, such as a crash)."""
        self.first_n = 1
        self.n = 0
        """The record that was read last."""
        self.hash = ""
        """Its hash; "" when it could not be read."""

    def records(self) -> Iterator[Record]:
        """Each record that is what its hash says. Raises UnavailableError when there is no log to be read."""
        try:
            yield from self._records()
        except OSError as err:
            raise UnavailableError(f"audit log {self._folder}: {err.strerror or err}") from err

    def _records(self) -> Iterator[Record]:
        writing = _is_written(self._folder)  # asked first: then every record that the head covers is there
        head, found = self._head(), files.segments(self._folder)
        if head is not None:
            self.first_n, self.hash = head.first_n, head.first_before
        elif not found and not self.findings:
            raise UnavailableError(f"{self._folder}: there is no audit log")
        elif found:
            self.first_n = found[0][0]
        self.n = self.first_n - 1
        yield from self._read_on(None if head is None or not writing else head.n)
        self._compare(head)

    def _head(self) -> AuditHead | None:
        try:
            return files.read_head(self._folder, self._trusted)
        except WireError as err:
            self.findings.append(Finding(None, files.HEAD, 0, f"is not to be trusted: {err}"))
            return None

    def _compare(self, head: AuditHead | None) -> None:
        """The end of what was read with what the head says."""
        if head is None:
            if not self.findings:
                self.findings.append(Finding(None, files.HEAD, 0, "is gone: nothing says where the log ends"))
            return
        what = ""
        if self.n < head.n:
            what = f"names record {head.n}, and the log ends at {self.n}: its end was cut off"
        elif self.n > head.n:
            what = f"names record {head.n}, and records up to {self.n} follow: they were added, or of a crash"
        elif self.hash != head.hash:
            what = f"names another record {head.n} than there is"
        if what:
            self.findings.append(Finding(None, files.HEAD, 0, what))

    def _read_on(self, last_n: int | None) -> Iterator[Record]:
        """All there is; while a process writes, up to the record that its head named: more is on its way."""
        for first_n, file in files.segments(self._folder):
            if first_n < self.first_n:
                self.notes.append((first_n, f"{file.name} is older than the log: it is not covered"))
            elif last_n is None or first_n <= last_n:
                self._begin(first_n, file)
                yield from self._read_file(file, last_n)

    def _begin(self, first_n: int, file: Path) -> None:
        if first_n != self.n + 1:
            what = f"begins with record {first_n} by its name, and {self.n + 1} is next"
            self.findings.append(Finding(None, file.name, 0, what))

    def _read_file(self, file: Path, last_n: int | None) -> Iterator[Record]:
        for number, line in enumerate(files.lines_of(file), start=1):
            if last_n is not None and self.n >= last_n:
                return
            record = self._checked(file.name, number, line)
            if record is not None:
                yield record

    def _checked(self, file: str, number: int, line: bytes) -> Record | None:
        try:
            record = parse(line)
        except WireError as err:
            self.n += 1
            self.hash = _hash_of(line)
            self.findings.append(Finding(self.n, file, number, str(err)))
            return None
        for what in self._wrong(record):
            self.findings.append(Finding(record.n, file, number, what))
        if record.note:
            self.notes.append((record.n, record.note))
        self.n, self.hash = record.n, record.hash
        return record

    def _wrong(self, record: Record) -> Iterator[str]:
        if record.n != self.n + 1:
            yield f"stands where record {self.n + 1} should: lines were taken out, doubled or moved"
        elif self.hash and record.before != self.hash:
            yield "does not follow the record before it: one of the two was exchanged"
        if problem := what_is_wrong_inside(record):
            yield problem
        if record.alarm:
            yield f"alarm: {record.alarm}"


def _is_written(folder: Path) -> bool:
    """Whether a process has the log open to write."""
    try:
        with (folder / files.LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _hash_of(line: bytes) -> str:
    """What a damaged line names as its hash, so that one change is one finding; "" when it cannot be read."""
    try:
        return msgspec.json.decode(line, type=Record).hash
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""

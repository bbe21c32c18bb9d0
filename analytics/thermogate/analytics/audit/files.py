"""The files of an audit log: segments named after their first record, and the head."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from thermogate.analytics.audit.records import AuditHead, Record, parse
from thermogate.core.errors import WireError
from thermogate.core.signing import TrustedKeys
from thermogate.core.wire import decode

HEAD = "head.json"
LOCK = "lock"
_SUFFIX = ".jsonl"
_DIGITS = 15


class Position(NamedTuple):
    """Where a log stands: its newest record and that one's hash, its first, and the hash before that."""

    n: int
    hash: str
    first_n: int
    first_before: str


def segment(folder: Path, first_n: int) -> Path:
    """The file whose first record is `first_n`."""
    return folder / f"{first_n:0{_DIGITS}d}{_SUFFIX}"


def segments(folder: Path) -> list[tuple[int, Path]]:
    """(number of the first record, file) of each, in order."""
    names = (
        path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal() and len(path.stem) == _DIGITS
    )
    return sorted((int(path.stem), path) for path in names)


def read_head(folder: Path, trusted: TrustedKeys) -> AuditHead | None:
    """The head; None when there is none. Raises WireError when it is not what was signed.

    Its key may be one that has been rotated since: it must have been trusted when it signed.
    """
    try:
        payload = (folder / HEAD).read_bytes()
    except FileNotFoundError:
        return None
    head = decode(payload, AuditHead)
    trusted.check(payload, head, head.time_ns)
    return head


def write_head(folder: Path, payload: bytes) -> None:
    """Replace the head, durably, and whole or not at all. Raises OSError."""
    new = folder / f".{HEAD}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        write_all(fd, payload)
        os.fdatasync(fd)
    finally:
        os.close(fd)
    new.replace(folder / HEAD)


def write_all(fd: int, body: bytes) -> None:
    """Every byte. Raises OSError: what is written by then is for the caller to take back."""
    view = memoryview(body)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Make new and removed names durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def first_record(file: Path) -> Record:
    """The first record of a segment. Raises WireError."""
    with file.open("rb") as opened:
        line = opened.readline()
    try:
        return parse(line)
    except WireError as err:
        raise WireError(f"{file.name}: line 1 {err}") from err


def lines_of(file: Path) -> Iterator[bytes]:
    """Each line with its newline; the last one may lack it."""
    with file.open("rb") as opened:
        yield from opened

"""Who a spool is: random, so that numbers of two spools are never taken for each other."""

import fcntl
import os
import re
import secrets
from pathlib import Path

from thermogate.core.errors import UnavailableError

_FILE = "identity"


def lock(directory: Path) -> int:
    """Make the directory and hold it against other processes until the descriptor is closed.

    Raises UnavailableError when it cannot be written or another process has it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as err:
        raise UnavailableError(f"{directory}: cannot keep the spool here: {err.strerror}") from err
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        os.close(fd)
        raise UnavailableError(f"{directory}: another agent has this spool") from err
    if not os.access(directory, os.W_OK | os.X_OK):
        os.close(fd)
        raise UnavailableError(f"{directory}: cannot keep the spool here: not writable")
    return fd


def fresh() -> str:
    """A new identity: 8 hexadecimal characters."""
    return secrets.token_hex(4)


def load(directory: Path, boot: str) -> str | None:
    """The identity, if it was stored in this boot of the machine.

    Of another boot it is not believed: what the disk had not written when the power went is lost,
    and its sequence numbers, which others may have seen, would be used again.
    """
    try:
        text = (directory / _FILE).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    match = re.fullmatch(r"([0-9a-f]{8}) (\S+)\n", text)
    return match[1] if match and match[2] == boot else None


def store(directory: Path, identity: str, boot: str) -> None:
    """Keep the identity for the next start in this boot. Raises OSError."""
    new = directory / f"{_FILE}.new"
    new.write_text(f"{identity} {boot}\n", encoding="ascii")
    new.replace(directory / _FILE)


def forget(directory: Path) -> None:
    """Let the next start begin a new identity. Raises OSError."""
    (directory / _FILE).unlink(missing_ok=True)

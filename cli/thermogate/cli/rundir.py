"""The data folder of a running `thermogate up`: who holds it, and where to reach them."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from thermogate.core.errors import UnavailableError

_ANNOUNCED_BYTES = 4096
"""More than two addresses need."""


class Running(msgspec.Struct, frozen=True):
    """A process that holds a data folder."""

    pid: int
    url: str
    broker_url: str


def default_data_dir() -> Path:
    """$STATE_DIRECTORY as systemd sets it, else $XDG_DATA_HOME/thermogate, else ~/.local/share/thermogate."""
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state)
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "thermogate"


def running(data_dir: Path) -> Running | None:
    """The process that holds `data_dir` now; None when nobody does."""
    try:
        with (data_dir / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return announced(data_dir)
    return None


@contextlib.contextmanager
def held(data_dir: Path) -> Iterator[None]:
    """Hold `data_dir`, made if missing. Raises UnavailableError in one sentence when it cannot be.

    The lock is the kernel's, so that it ends with the process however that ends.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("ab")
    except OSError as err:
        raise UnavailableError(f"data folder {data_dir} cannot be written: {err.strerror}") from err
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            holder = announced(data_dir)
            by = f" by process {holder.pid} ({holder.url})" if holder else ""
            raise UnavailableError(f"data folder {data_dir} is in use{by}; use another --data-dir") from err
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (data_dir / "running.json").unlink(missing_ok=True)


def announce(data_dir: Path, url: str, broker_url: str) -> None:
    """Leave word for other commands of where this process listens."""
    body = msgspec.json.encode(Running(os.getpid(), url, broker_url))
    (data_dir / "running.json").write_bytes(body)


def announced(data_dir: Path) -> Running | None:
    """What `announce` has left there; None for nothing, or for something else.

    Root reads what belongs to others: no link is followed, no pipe waited for, no more read than fits.
    """
    try:
        fd = os.open(data_dir / "running.json", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            return msgspec.json.decode(file.read(_ANNOUNCED_BYTES), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None

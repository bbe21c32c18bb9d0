"""The file of tokens: edited by a command while a service reads it."""

import fcntl
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from thermogate.core.errors import ConfigError, UnavailableError
from thermogate.dashboard.tokens import Token

log = logging.getLogger(__name__)

_MOST_BYTES = 1 << 20
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: tuple[Token, ...]


def read(file: Path) -> tuple[Token, ...]:
    """The tokens in `file`. Raises ConfigError: it cannot be read, others may write it, or it is damaged."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            body = opened.read(_MOST_BYTES)
    except OSError as err:
        raise ConfigError(
            f"dashboard.tokens_file {file}: {err.strerror}: `thermogate tokens create` makes it"
        ) from err
    if mode & _OTHERS_WRITE:
        raise ConfigError(f"dashboard.tokens_file {file}: others may write it: chmod 600 {file}")
    try:
        return msgspec.json.decode(body, type=_Content).tokens
    except msgspec.MsgspecError as err:
        raise ConfigError(f"dashboard.tokens_file {file}: not a file of tokens: {err}") from err


def edit(file: Path, change: Callable[[tuple[Token, ...]], tuple[Token, ...]]) -> None:
    """Replace what `file` holds by what `change` makes of it, in one step and one editor at a time.

    A new file is 0600, and where root makes it its folder's owner's; one that is there keeps its owner and
    mode. Raises ConfigError as `read` does, and UnavailableError where it cannot be written.
    """
    try:
        with _locked(file.parent):
            changed = change(read(file) if file.exists() else ())
            _replace(file, msgspec.json.format(msgspec.json.encode(_Content(changed))) + b"\n")
    except OSError as err:
        raise UnavailableError(f"{file}: cannot be written: {err.strerror}") from err


class TokenFile:
    """The tokens of a file, read when it changes: none once it is gone, as before while it will not do."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._made_of: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()

    def load(self) -> None:
        """Read it for the first time. Raises ConfigError."""
        self._made_of = self._state()
        self._tokens = read(self._file)

    def tokens(self) -> tuple[Token, ...]:
        """Those of now: a look at the file's time costs microseconds, and who is revoked is out at once."""
        state = self._state()
        if state != self._made_of:
            self._made_of = state
            self._tokens = self._changed(state)
        return self._tokens

    def _changed(self, state: tuple[int, int, int] | None) -> tuple[Token, ...]:
        if state is None:
            log.warning("%s is gone: nobody may ask until it is back", self._file)
            return ()
        try:
            return read(self._file)
        except ConfigError as err:
            log.warning("the tokens stay as they were: %s", err)
            return self._tokens

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The lock is on the folder: the file itself is another one after each edit."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _replace(file: Path, body: bytes) -> None:
    fd, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(fd, "wb") as opened:
            _keep_owner(file, fd)
            opened.write(body)
            opened.flush()
            os.fsync(fd)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _keep_owner(file: Path, fd: int) -> None:
    with suppress(FileNotFoundError):
        before = file.stat()
        _own(fd, before)
        os.fchmod(fd, stat.S_IMODE(before.st_mode) & ~_OTHERS_WRITE)
        return
    if os.geteuid() == 0:  # a new one in a service's own folder is for that service to read
        _own(fd, file.parent.stat())


def _own(fd: int, like: os.stat_result) -> None:
    if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, like.st_uid, like.st_gid)

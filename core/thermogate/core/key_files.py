"""Files of keys: who is trusted, a key a line, and private keys that nobody else can read.

# name   public key                                    until=..., for=...
gate     8n1vK0pZ...=                                  for=decision
alice    Q2x9...=                                      for=override until=2027-01-01T00:00:00Z
"""

import base64
import binascii
import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import msgspec

from thermogate.core.errors import ConfigError, UnavailableError
from thermogate.core.wire import is_name

Purpose = Literal["decision", "override"]
"""What a key may sign. Both, where nothing is said."""

_MOST_BYTES = 1 << 20
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_KEY_BYTES = 32


class TrustedKey(msgspec.Struct, frozen=True):
    """Who may sign what, until when (UTC; None: without end). `public` is an Ed25519 key, 32 bytes."""

    name: str
    public: bytes
    until_ns: int | None = None
    purpose: Purpose | None = None

    @property
    def key_id(self) -> str:
        """What a message names as its `issuer`."""
        return key_id(self.public)

    @property
    def line(self) -> str:
        """As it stands in a file of trusted keys."""
        parts = [self.name, base64.b64encode(self.public).decode()]
        if self.purpose is not None:
            parts.append(f"for={self.purpose}")
        if self.until_ns is not None:
            parts.append(f"until={_exactly(self.until_ns)}")
        return " ".join(parts)


def key_id(public: bytes) -> str:
    """The first 16 hex digits of the SHA-256 of a raw public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def rfc3339(time_ns: int) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _exactly(time_ns: int) -> str:
    """UTC, to the microsecond: what a key signed in the second in which it was revoked stays good."""
    below_us = time_ns // 1000 % 10**6
    return rfc3339(time_ns).replace("Z", f".{below_us:06d}Z" if below_us else "Z")


def read(file: Path) -> tuple[TrustedKey, ...]:
    """The keys of a file. Raises ConfigError naming it, and its line, when it is not what it should be."""
    return parse(_text(file), str(file))


def parse(text: str, file: str) -> tuple[TrustedKey, ...]:
    """The keys in `text`, of `file`. Raises ConfigError naming file and line."""
    keys: list[TrustedKey] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            key = parse_line(words)
            _refuse_second(key, keys)
        except ValueError as err:
            raise ConfigError(f"{file}: line {number}: {err}") from err
        keys.append(key)
    return tuple(keys)


def parse_line(words: Sequence[str]) -> TrustedKey:
    """A key from the words of its line. Raises ValueError."""
    if len(words) < 2:
        raise ValueError("expected: NAME PUBLIC_KEY [until=TIME] [for=decision|override]")
    name, text, *options = words
    if not is_name(name):
        raise ValueError(f"{name[:80]!r} is no name: letters, digits, '.', '_' and '-'")
    given: dict[str, str] = {}
    for option in options:
        key, found, value = option.partition("=")
        if not found or key not in ("until", "for") or key in given:
            raise ValueError(f"{option[:80]!r}: expected until=TIME or for=decision|override, once each")
        given[key] = value
    return TrustedKey(name, _public(text), _until_ns(given.get("until")), _purpose(given.get("for")))


def exists(file: Path) -> bool:
    """Whether there is such a file. Raises ConfigError where we may not look."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as err:
        raise ConfigError(f"{file}: cannot be looked for: {err.strerror}") from err
    return True


def edit(file: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Replace the lines of a file of trusted keys in one step, one editor at a time; a new one is made.

    Comments stay. Raises ConfigError where what is there, or comes of it, is not such a file, and
    UnavailableError where it cannot be written.
    """
    try:
        with _locked(file.parent):
            before = _text(file) if exists(file) else ""
            parse(before, str(file))
            after = "\n".join(change(before.splitlines())) + "\n"
            parse(after, str(file))
            mode = stat.S_IMODE(file.stat().st_mode) if before else 0o644
            _replace(file, after.encode(), mode)
    except OSError as err:
        raise UnavailableError(f"{file}: cannot be written: {err.strerror}") from err


def read_secret(file: Path) -> bytes:
    """The bytes of a private key's file. Raises ConfigError when others may read it, or we cannot."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            body = opened.read(_MOST_BYTES)
    except FileNotFoundError as err:
        raise ConfigError(f"{file}: there is no such key: `thermogate keys make` makes one") from err
    except OSError as err:
        raise ConfigError(f"{file}: the key cannot be read: {err.strerror}") from err
    # systemd gives its copy to a service's user by an ACL, whose mask shows as the group's bits
    if mode & 0o077 and os.environ.get("CREDENTIALS_DIRECTORY") != str(file.parent):
        raise ConfigError(f"{file}: others may read or write this key: chmod 600 {file}, or make a new one")
    return body


def write_secret(file: Path, body: bytes, *, over: bool = False) -> None:
    """A file for us alone, in one step; over an existing one only when told so.

    Raises ConfigError when there is one, and UnavailableError when it cannot be written.
    """
    try:
        _make_folder(file.parent)
        _replace(file, body, 0o600, over=over)
    except FileExistsError as err:
        raise ConfigError(f"{file}: there is a key already, and it is not overwritten") from err
    except OSError as err:
        raise UnavailableError(f"{file}: the key cannot be written: {err.strerror}") from err


def state(file: Path) -> tuple[int, int, int] | None:
    """Time of change, inode and size, to see whether a file has changed; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            body = opened.read(_MOST_BYTES)
    except OSError as err:
        raise ConfigError(f"{file}: cannot read the trusted keys: {err.strerror}") from err
    if mode & _OTHERS_WRITE:
        raise ConfigError(f"{file}: others may write it, and so trust whom they like: chmod 644 {file}")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as err:
        raise ConfigError(f"{file}: is not text") from err


def _refuse_second(key: TrustedKey, keys: Sequence[TrustedKey]) -> None:
    for other in keys:
        if other.name == key.name:
            raise ValueError(f"there is a key {key.name} already")
        if other.public == key.public:
            raise ValueError(f"the key of {key.name} is that of {other.name}")


def _public(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as err:
        raise ValueError(f"{text[:80]!r} is no public key in base64") from err
    if len(raw) != _KEY_BYTES:
        raise ValueError(f"a public key has {_KEY_BYTES} bytes, and not {len(raw)}")
    return raw


def _until_ns(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as err:
        raise ValueError(f"until={text[:80]}: expected a time such as 2026-11-21T08:00:00Z") from err
    if time.tzinfo is None:
        raise ValueError(f"until={text[:80]}: a time needs its zone, such as Z at its end")
    return int(time.replace(microsecond=0).timestamp()) * 10**9 + time.microsecond * 1000


def _purpose(text: str | None) -> Purpose | None:
    for purpose in get_args(Purpose):
        if text == purpose:
            return purpose  # type: ignore[no-any-return]
    if text is None:
        return None
    raise ValueError(f"for={text[:80]}: expected {' or '.join(get_args(Purpose))}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The lock is on the folder: the file itself is another one after each edit."""
    _make_folder(folder)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _make_folder(folder: Path) -> None:
    """For us alone. Where root makes it below a service's folder, it is the service's, as files are."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.geteuid() == 0:
        owner = folder.parent.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)


def _replace(file: Path, body: bytes, mode: int, *, over: bool = True) -> None:
    """Whole or not at all. Where root makes it, it is its folder's owner's: a service has to read it."""
    fd, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(fd, "wb") as opened:
            os.fchmod(fd, mode)
            if os.geteuid() == 0:
                owner = file.parent.stat()
                os.fchown(fd, owner.st_uid, owner.st_gid)
            opened.write(body)
            opened.flush()
            os.fsync(fd)
        if over:
            Path(name).replace(file)
        else:
            file.hardlink_to(name)  # fails where there is one
    finally:
        Path(name).unlink(missing_ok=True)
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

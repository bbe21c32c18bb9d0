"""Who a spool is: random, so that numbers of two spools are never taken for each other."""

import contextlib
import errno
import fcntl
import os
import re
import secrets
from pathlib import Path

from thermogate.agent.spool_disk import Disk
from thermogate.core.errors import UnavailableError


def lock(directory: Path, disk: Disk) -> int:
    """Make the directory and hold it against other processes until the descriptor is closed.

    Raises UnavailableError when this user may not write it or another process has it. On a file
    system that has become read-only nobody may, and that is no reason not to measure.
    """
    try:
        disk.make_folder(directory)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as err:
        raise UnavailableError(f"{directory}: cannot keep the spool here: {err.strerror}") from err
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        os.close(fd)
        raise UnavailableError(f"{directory}: another agent has this spool") from err
    if not os.access(directory, os.W_OK | os.X_OK) and not disk.is_read_only(directory):
        os.close(fd)
        raise UnavailableError(f"{directory}: cannot keep the spool here: not writable")
    return fd


class Identity:
    """The name of a spool, and whether the next start may go on under it.

    It is believed in the boot that stored it only: what the disk had not written when the power went
    is lost, and its numbers, which others may have seen, would be used again.
    """

    def __init__(self, directory: Path, disk: Disk) -> None:
        self.name = ""
        """8 hexadecimal characters."""
        self.kept = False
        """Whether the disk says so."""
        self._path = directory / "identity"
        self._disk = disk
        self._boot = ""

    def take(self, boot: str, *, may_go_on: bool) -> None:
        """Go on under the stored name if that is safe, else take a new one."""
        self._boot = boot
        known = self._load() if may_go_on else None
        self.name, self.kept = known or _fresh(), known is not None
        self.keep()

    def keep(self) -> None:
        """Let the next start believe this name: every number so far is in the files."""
        if self.kept:
            return
        with contextlib.suppress(OSError):
            self._store()
            self.kept = True

    def disown(self) -> None:
        """From now on numbers are used that the files may never have: no other start may use them again."""
        if not self.kept:
            return
        self.kept = False
        try:
            self._disk.remove(self._path)
        except OSError:
            self.name = _fresh()

    def _load(self) -> str | None:
        try:
            text = self._path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return None
        match = re.fullmatch(r"([0-9a-f]{8}) (\S+)\n", text)
        return match[1] if match and match[2] == self._boot else None

    def _store(self) -> None:
        new = self._path.with_suffix(".new")
        text = f"{self.name} {self._boot}\n".encode("ascii")
        fd = self._disk.create(new)
        try:
            if self._disk.write(fd, text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
        self._disk.rename(new, self._path)


def _fresh() -> str:
    return secrets.token_hex(4)

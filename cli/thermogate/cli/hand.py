"""Changes to a machine: each told as it is made, none made that is not needed, or none at all (dry run)."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from thermogate.core.errors import UnavailableError


def run(command: Sequence[str]) -> str:
    """What a command printed. Raises UnavailableError with its own words when it fails or is missing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as err:
        raise UnavailableError(f"there is no {command[0]} on this machine") from err
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise UnavailableError(f"{' '.join(command)} failed with {done.returncode}: {said}")
    return done.stdout


class Hand:
    """Writes, removes and runs, saying so.

    `changed` tells whether any file is not as it was, `idle` whether nothing at all was done.
    """

    def __init__(
        self, say: Callable[[str], None], *, dry_run: bool = False, run: Callable[[Sequence[str]], str] = run
    ) -> None:
        self.changed = False
        self.idle = True
        self._say = say
        self.dry_run = dry_run
        self._run = run

    def folder(self, path: Path, mode: int) -> None:
        """A folder of root's with this mode."""
        if not path.is_dir():
            self._tell("made", "make", f"{path} (mode {mode:04o})")
        elif path.stat().st_mode & 0o7777 == mode:
            return
        if not self.dry_run:
            path.mkdir(mode=mode, parents=True, exist_ok=True)
            path.chmod(mode)

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """A file of root's with this content and mode; never half of it, never for a moment readable."""
        if _is(path, data, mode):
            return
        self.changed = True
        self._tell("wrote", "write", f"{path} (mode {mode:04o})")
        if self.dry_run:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, data, lambda fd: os.fchmod(fd, mode))

    def edit(self, path: Path, data: bytes, mode: int) -> None:
        """Other content for a file that is not only ours: owner and mode stay; `mode` is for a new one."""
        if not path.exists():
            self.write(path, data, mode)
            return
        if path.read_bytes() == data:
            return
        self.changed = True
        self._tell("changed", "change", str(path))
        if not self.dry_run:
            real = path.resolve()
            now = real.stat()

            def as_before(fd: int) -> None:
                os.fchown(fd, now.st_uid, now.st_gid)
                os.fchmod(fd, now.st_mode & 0o7777)

            _replace(real, data, as_before)

    def remove(self, path: Path) -> None:
        """A file, or a folder with everything in it; no error when it is not there."""
        if not os.path.lexists(path):
            return
        self.changed = True
        self._tell("removed", "remove", str(path))
        if self.dry_run:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def remove_if_empty(self, path: Path) -> None:
        """A folder that nobody else has put anything into."""
        if path.is_dir() and not any(path.iterdir()):
            self.remove(path)

    def owner(self, path: Path, *, group: str, mode: int) -> None:
        """Give a file to root and `group`."""
        self.changed = True
        self._tell("set", "set", f"{path} to root:{group} (mode {mode:04o})")
        if not self.dry_run:
            shutil.chown(path, "root", group)
            path.chmod(mode)

    def run(self, *command: str) -> str:
        """A command that changes something. Raises UnavailableError when it fails."""
        said = "" if self.dry_run else self._run(command)
        self._tell("ran", "run", " ".join(command))
        return said

    def ask(self, *command: str) -> str:
        """A command that only tells something; "" when it fails."""
        try:
            return self._run(command).strip()
        except UnavailableError:
            return ""

    def _tell(self, done: str, would: str, what: str) -> None:
        self.idle = False
        self._say(f"would {would} {what}" if self.dry_run else f"{done} {what}")


def _is(path: Path, data: bytes, mode: int) -> bool:
    try:
        return path.stat(follow_symlinks=False).st_mode & 0o7777 == mode and path.read_bytes() == data
    except (FileNotFoundError, PermissionError):  # a dry run need not be root's
        return False


def _replace(path: Path, data: bytes, allow: Callable[[int], None]) -> None:
    """Put `data` in the place of `path`; only root can read it until `allow` has let others."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        allow(file.fileno())
    new.replace(path)

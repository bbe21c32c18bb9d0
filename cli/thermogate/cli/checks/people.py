"""Who runs the agent, who asks, and what the files' modes let them do."""

import grp
import os
import pwd
import re
import stat
from pathlib import Path

import msgspec

from thermogate.cli.layout import USER

READ, WRITE, PASS = 4, 2, 1
"""As in a mode; PASS is what a folder on the way needs."""
_CAN_READ_ALL = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, see capabilities(7)."""
_CAN_WRITE_ALL = 1 << 1


class Person(msgspec.Struct, frozen=True):
    """A user with the groups and effective capabilities of a process."""

    name: str
    uid: int
    gids: tuple[int, ...] = ()
    capabilities: int = 0


class Access(msgspec.Struct, frozen=True):
    """Who owns a file, and its mode."""

    path: str
    mode: int
    uid: int
    gid: int

    @property
    def text(self) -> str:
        """As `ls -l` shows it: "crw-rw---- root:video /dev/nvidia0"."""
        return f"{stat.filemode(self.mode)} {_user(self.uid)}:{self.group} {self.path}"

    @property
    def group(self) -> str:
        """The name of its group, or the number of one without a name."""
        try:
            return grp.getgrgid(self.gid).gr_name
        except KeyError:
            return str(self.gid)


class Process(msgspec.Struct, frozen=True):
    """A running process."""

    pid: int
    person: Person


def access(path: Path) -> Access | None:
    """None when there is no such file or it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Access(str(path), found.st_mode, found.st_uid, found.st_gid)


def may(person: Person, file: Access, wanted: int) -> bool:
    """Whether the mode of `file` lets `person` do all that is `wanted` (READ | WRITE | PASS, of a folder):
    path_resolution(7)."""
    bypass = (_CAN_WRITE_ALL if wanted & WRITE else _CAN_READ_ALL) & person.capabilities
    if person.uid == 0 or bypass:
        return True
    shift = 6 if person.uid == file.uid else 3 if file.gid in person.gids else 0
    return (file.mode >> shift) & wanted == wanted


def closed(person: Person, path: Path, wanted: int) -> Access | None:
    """The first part of the way to `path` that `person` may not pass, or `path` itself without `wanted`.

    None where all is open, and for what is not there.
    """
    way = [(part, PASS) for part in reversed(path.parents)]
    for part, needed in (*way, (path, wanted)):
        seen = access(part)
        if seen and not may(person, seen, needed):
            return seen
    return None


def myself() -> Person:
    """Who asks."""
    return Person(_user(os.geteuid()), os.geteuid(), (os.getegid(), *os.getgroups()))


def service_user() -> Person | None:
    """The service's user; None when there is none on this machine."""
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        return None
    return Person(entry.pw_name, entry.pw_uid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def lock_holder(path: Path, procfs: Path = Path("/proc")) -> Process | None:
    """The process that holds a flock on `path`, told by the kernel: the lock itself is not touched.

    None when nobody does, or when it cannot be told.
    """
    try:
        place = _as_in_locks(path, procfs)
        locks = (procfs / "locks").read_text(encoding="ascii")
    except OSError:
        return None
    match = re.search(rf"FLOCK\s+ADVISORY\s+WRITE\s+(\d+)\s+{place}\s", locks)
    return process(int(match[1]), procfs) if match else None


def _as_in_locks(path: Path, procfs: Path) -> str:
    """MAJOR:MINOR:INODE of a file as /proc/locks has it. Raises OSError.

    The device is that of its mount: btrfs has others in stat(2).
    """
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        inode = os.fstat(fd).st_ino
        told = (procfs / "self/fdinfo" / str(fd)).read_text(encoding="ascii")
    finally:
        os.close(fd)
    mount = re.search(r"^mnt_id:\s*(\d+)$", told, re.MULTILINE)
    mounts = (procfs / "self/mountinfo").read_text(encoding="utf-8", errors="replace")
    device = re.search(rf"^{mount[1]} \d+ (\d+):(\d+) ", mounts, re.MULTILINE) if mount else None
    return f"{int(device[1]):02x}:{int(device[2]):02x}:{inode}" if device else f"\\S+:{inode}"


def process(pid: int, procfs: Path = Path("/proc")) -> Process | None:
    """A process with its user; None when it is gone or hidden."""
    try:
        status = (procfs / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = dict(line.partition(":")[::2] for line in status.splitlines())
    uid = int(fields["Uid"].split()[1])
    gids = (int(fields["Gid"].split()[1]), *map(int, fields["Groups"].split()))
    return Process(pid, Person(_user(uid), uid, gids, int(fields["CapEff"], 16)))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

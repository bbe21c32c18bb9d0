"""Which jobs the processes on devices belong to, from /proc. Every function blocks."""

import logging
import pwd
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from pathlib import Path

import msgspec

from thermogate.agent.cgroups import MAX_BYTES, Owner, owner_of
from thermogate.agent.config import JobSettings
from thermogate.agent.job_spans import DeviceKey, Job, ProcessId, Sight
from thermogate.agent.sources.sysfs import read_bytes
from thermogate.agent.sources.worker import Worker
from thermogate.core.wire import to_name

log = logging.getLogger(__name__)

_Signature = tuple[int, int]
"""Inode and change time of /proc/PID: while both stay, so does the process."""


_MOST_DIGITS = 20
"""Of a 64-bit number."""


def name_of(uid: int) -> str:
    """The name of a user of this machine, fit for a tag; the number when there is none."""
    try:
        return to_name(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return str(uid)


class UserNames:
    """Names of users. A directory service that hangs (LDAP, SSSD) costs `timeout_s` once and no more."""

    def __init__(self, timeout_s: float, lookup: Callable[[int], str] = name_of) -> None:
        self._timeout_s = timeout_s
        self._lookup = lookup
        self._names: dict[int, str] = {}
        self._worker = Worker[str]("user-names")
        self._pending: tuple[int, Future[str]] | None = None

    def get(self, uid: int) -> str:
        """The name, or the number while the service does not answer."""
        known = self._names.get(uid)
        if known is not None:
            return known
        if self._pending is None:
            self._pending = uid, self._worker.submit(lambda: self._lookup(uid))
            wait([self._pending[1]], self._timeout_s)
        asked, future = self._pending
        if future.done():
            self._pending = None
            self._names[asked] = future.result()
            if asked != uid:
                return self.get(uid)
        return self._names.get(uid, str(uid))


class _Entry(msgspec.Struct):
    """What was found out about a process, and when; `path` is its folder in /proc."""

    path: Path
    signature: _Signature
    checked_s: float
    process: ProcessId
    job: Job


class ProcessTable:
    """Remembers processes from look to look, so that one that stays costs a single system call."""

    def __init__(self, settings: JobSettings, procfs: Path, names: UserNames) -> None:
        self._settings = settings
        self._names = names
        self._procfs = procfs
        self._entries: dict[int, _Entry] = {}
        self._asked: dict[DeviceKey, tuple[int, ...]] = {}
        self._hidden: set[int] = set()
        self._said: set[str] = set()

    def look(
        self, users: Mapping[DeviceKey, tuple[int, ...]], steady_s: float
    ) -> dict[DeviceKey, dict[str, Sight]]:
        """The jobs on every device of `users`, by name; a process that has gone is left out."""
        bounded = {key: self._bounded(key, pids) for key, pids in users.items()}
        pids = sorted({pid for some in bounded.values() for pid in some})
        found = {pid: entry for pid in pids if (entry := self._entry(pid, steady_s)) is not None}
        self._keep(bounded, found)
        if users:
            self._notice_hidden(set(pids) - set(found), any_seen=bool(found))
        return {key: self._sights(some) for key, some in bounded.items()}

    def _keep(self, asked: Mapping[DeviceKey, tuple[int, ...]], found: Mapping[int, _Entry]) -> None:
        """Remember what was found; devices that were not asked now keep their processes."""
        others = {pid for key, pids in self._asked.items() if key not in asked for pid in pids}
        kept = {pid: entry for pid, entry in self._entries.items() if pid in others}
        self._asked.update(asked)
        self._entries = {**kept, **found}

    def _bounded(self, key: DeviceKey, pids: Iterable[int]) -> tuple[int, ...]:
        valid = sorted(pid for pid in pids if pid > 0)
        most = self._settings.max_processes
        if len(valid) > most:
            self._say_once(
                f"{key[0]}{key[1]} has over {most} processes: the others are not looked at "
                "(agent.jobs.max_processes)"
            )
        return tuple(valid[:most])

    def _sights(self, pids: Iterable[int]) -> dict[str, Sight]:
        by_name: dict[str, tuple[Job, list[ProcessId]]] = {}
        for entry in (self._entries[pid] for pid in pids if pid in self._entries):
            by_name.setdefault(entry.job.name, (entry.job, []))[1].append(entry.process)
        return {name: Sight(job, tuple(processes)) for name, (job, processes) in by_name.items()}

    def _entry(self, pid: int, steady_s: float) -> _Entry | None:
        """What is known of a process; its group and user are read again after `recheck_s`."""
        entry = self._entries.get(pid)
        path = self._procfs / str(pid) if entry is None else entry.path
        signature = _signature(path)
        if signature is None:
            return None
        same = entry is not None and entry.signature == signature
        if entry is not None and same and steady_s - entry.checked_s < self._settings.recheck_s:
            return entry
        process, uid = _identity(path, pid)
        owner = owner_of(_read(path / "cgroup"))
        if process is None or uid is None or _signature(path) != signature:
            return None  # it ended meanwhile
        return _Entry(path, signature, steady_s, process, self._job(owner, uid))

    def _job(self, owner: Owner | None, uid: int) -> Job:
        if owner is None:
            user = self._names.get(uid)
            return Job(f"user:{user}", "user", user, user)
        user = self._names.get(uid if owner.uid is None else owner.uid)
        told = {"step": owner.step, "qos": owner.qos, "container": owner.container}
        more = {name: text for name, text in told.items() if text}
        name = f"{owner.manager}:{user}:{owner.id}" if owner.users_own else f"{owner.manager}:{owner.id}"
        return Job(name, owner.manager, owner.id, user, more)

    def _notice_hidden(self, hidden: set[int], *, any_seen: bool) -> None:
        """One that has just ended is missing once; one that is missing twice cannot be seen from here."""
        if hidden & self._hidden and not any_seen:
            self._say_once(
                "the processes on the devices are not in "
                f"{self._procfs}, so whose work it is cannot be told: the agent needs the host's PID "
                "namespace (hostPID) and a /proc that shows every process (no hidepid, no ProtectProc)"
            )
        self._hidden = hidden

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning("%s", text)


def _signature(path: Path) -> _Signature | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns


def _identity(path: Path, pid: int) -> tuple[ProcessId | None, int | None]:
    """(pid, start) and real user of a process; None for what cannot be read."""
    # The program's name stands in brackets and may hold anything, brackets and blanks too.
    fields = _read(path / "stat").rpartition(")")[2].split()
    start = _number(fields[19:20])
    lines = _read(path / "status").splitlines()
    user = next((line.split()[1:2] for line in lines if line.startswith("Uid:")), [])
    return None if start is None else (pid, start), _number(user)


def _number(fields: list[str]) -> int | None:
    sound = bool(fields) and fields[0].isdecimal() and len(fields[0]) <= _MOST_DIGITS
    return int(fields[0]) if sound else None


def _read(path: Path) -> str:
    """The beginning of a small file; "" when it cannot be read."""
    return (read_bytes(path, MAX_BYTES) or b"").decode(errors="replace")

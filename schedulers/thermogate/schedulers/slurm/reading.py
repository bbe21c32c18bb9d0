"""What Slurm's programs print, as values. Pure.

Columns of fixed width without any text that a user writes, because Slurm passes on line breaks in a
comment or a name, and a user could so write the line of another's job. Not `--json`: its form changes
from release to release, and 22.05 ignores filters with it. Tried with 22.05.8.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from thermogate.core.errors import ThermogateError

_NODE_WIDTHS = {"NodeList": 128, "StateComplete": 256, "Reason": 1024}
_JOB_WIDTHS = {
    "JobID": 16,
    "JobArrayID": 64,
    "HetJobID": 16,
    "State": 32,
    "PriorityLong": 16,
    "Requeue": 8,
    "BatchFlag": 8,
}
_SHOWN = re.compile(r"^NodeName=(\S+) .*? State=(\S+)(.*)$", re.MULTILINE)
_REASON = re.compile(r" Reason=(.*?)(?: \[[^\[\]]*@[^\[\]]*\]|$)")
_TASK = re.compile(r"[0-9]{1,10}_[0-9]{1,10}")
_NO_REASON = ("", "none", "(null)")


class ReadingError(ThermogateError):
    """A program of Slurm printed what is not understood."""


class NodeSeen(msgspec.Struct, frozen=True):
    """A node: the words of its state, such as {"MIXED", "DRAIN"}, and its Reason, "" when it has none."""

    name: str
    states: frozenset[str]
    reason: str

    @property
    def drained(self) -> bool:
        """Whether nothing new starts because somebody said so."""
        return "DRAIN" in self.states

    @property
    def down(self) -> bool:
        """Whether nothing starts there anyway; one that is powered down to save power is woken by a job."""
        return bool(self.states & {"DOWN", "ERROR", "FUTURE", "UNKNOWN"})


class JobSeen(msgspec.Struct, frozen=True):
    """A job that has not ended. `id` is its own number; `spec` names it and nothing else in a command.

    That is 7_3 for a task of an array, because the number of an array's last task stands for all of them,
    and the leader's for a heterogeneous job, because no part of it can be stopped alone. `held`: it
    waits with priority 0, whoever did it.
    """

    id: int
    spec: str
    state: str
    held: bool
    requeueable: bool


def node_format() -> str:
    """What sinfo is to print."""
    return _format(_NODE_WIDTHS)


def job_format() -> str:
    """What squeue is to print."""
    return _format(_JOB_WIDTHS)


def read_nodes(text: str) -> dict[str, NodeSeen]:
    """Nodes by name. A line break in a Reason makes lines that are no node's: they are left out."""
    found: dict[str, NodeSeen] = {}
    for name, state, reason in _rows(text, _NODE_WIDTHS):
        words = frozenset(re.findall(r"[A-Z_]+", state.upper()))
        if name and words and " " not in name:
            found.setdefault(name, NodeSeen(name, words, "" if reason in _NO_REASON else reason))
    return found


def read_shown_nodes(text: str) -> dict[str, NodeSeen]:
    """The same from `scontrol show node --oneliner`, which also tells of nodes that are in no partition."""
    found: dict[str, NodeSeen] = {}
    for name, state, rest in _SHOWN.findall(text):
        reason = _REASON.search(rest)
        words = frozenset(re.findall(r"[A-Z_]+", state.upper()))
        found.setdefault(name, NodeSeen(name, words, reason[1].strip() if reason else ""))
    return found


def read_jobs(text: str) -> list[JobSeen]:
    """Jobs in the order told, the parts of a heterogeneous one as one. Raises ReadingError."""
    found: dict[str, JobSeen] = {}
    for number, array, leader, state, priority, requeue, batch in _rows(text, _JOB_WIDTHS):
        if not number.isdecimal():
            raise ReadingError(f"squeue: not a line of a job: {number[:80]!r}")
        spec = array if "_" in array else leader if leader.isdecimal() and leader != "0" else number
        if "_" in spec and not _TASK.fullmatch(spec):
            continue  # tasks that wait together, "7_[3-9]": each is asked for by its own name
        held = state == "PENDING" and priority == "0"
        found.setdefault(spec, JobSeen(int(number), spec, state, held, requeue == "1" and batch == "1"))
    return list(found.values())


def read_boot_s(text: str) -> float | None:
    """When the controller started (UTC seconds), from `scontrol show config` in UTC; None if not told."""
    match = re.search(r"^BOOT_TIME\s*=\s*(\S+)$", text, re.MULTILINE)
    return None if match is None else _utc_s(match[1])


class _Commented(msgspec.Struct):
    admin_comment: str | None = None


class _Commenteds(msgspec.Struct):
    jobs: list[_Commented] = []


def read_admin_comments(text: str) -> list[str]:
    """Comments that only administrators can write, from `squeue --json`. Raises ReadingError."""
    try:
        found = msgspec.json.decode(text, type=_Commenteds)
    except msgspec.MsgspecError as err:
        raise ReadingError(f"squeue --json: {err}") from err
    return [job.admin_comment for job in found.jobs if job.admin_comment]


def _format(widths: dict[str, int]) -> str:
    return ",".join(f"{name}:{width}" for name, width in widths.items())


def _rows(text: str, widths: dict[str, int]) -> Iterable[list[str]]:
    for line in text.splitlines():
        cells, at = [], 0
        for width in widths.values():
            cells.append(line[at : at + width].strip())
            at += width
        if any(cells):
            yield cells


def _utc_s(stamp: str) -> float | None:
    try:
        return datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None

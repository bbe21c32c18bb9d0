"""What a process and its children cost: processor time to the nanosecond, memory, threads, files."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MIB = 1024.0
"""KiB, the unit of smaps, in a MiB."""


class Memory(NamedTuple):
    """MiB of a process tree. PSS shares out what several processes map; alone on a machine, it is RSS."""

    pss_mib: float
    rss_mib: float
    private_mib: float


def tree(pid: int) -> list[int]:
    """The process and its descendants that live now."""
    return [pid, *(deeper for child in _children(pid) for deeper in tree(child))]


def cpu_s(pid: int) -> float:
    """Processor seconds, user and kernel, that a process has used so far, with all its threads.

    The POSIX clock of the process: what the scheduler accounts in nanoseconds, threads that have
    ended included. /proc/PID/stat has ticks of 10 ms, /proc/PID/schedstat the first thread only.
    """
    process_clock = (~pid << 3) | 2  # CPUCLOCK_SCHED in linux/posix-timers.h; clock_getcpuclockid(3)
    return time.clock_gettime(process_clock)


def tree_cpu_s(pid: int) -> float:
    """`cpu_s` of a tree, with what descendants that have ended used (in ticks of 10 ms)."""
    total_s = 0.0
    for each in tree(pid):
        try:
            total_s += cpu_s(each) + _ended_children_s(each)
        except OSError:  # it ended between the listing and the question
            continue
    return total_s


def memory(pid: int) -> Memory:
    """Memory of a tree now."""
    totals = {"Pss": 0, "Rss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for each in tree(pid):
        for name, value in _pairs(each, "smaps_rollup"):
            if name in totals:
                totals[name] += int(value.split()[0])
    private = totals["Private_Clean"] + totals["Private_Dirty"]
    return Memory(totals["Pss"] / MIB, totals["Rss"] / MIB, private / MIB)


def threads(pid: int) -> int:
    """How many threads a process has now."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def files(pid: int) -> int:
    """How many files a process has open now."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def wakeups(pid: int) -> int:
    """How often the living threads of a tree have gone to sleep of their own accord, hence woken."""
    count = 0
    for each in tree(pid):
        for task in sorted(Path(f"/proc/{each}/task").iterdir()):
            count += sum(
                int(value) for name, value in _pairs(each, f"task/{task.name}/status") if name in _SWITCHES
            )
    return count


_SWITCHES = ("voluntary_ctxt_switches",)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    except OSError:
        return found
    return found


def _ended_children_s(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(stat[13]) + int(stat[14])) / os.sysconf("SC_CLK_TCK")


def _pairs(pid: int, file: str) -> Iterator[tuple[str, str]]:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        name, found, value = line.partition(":")
        if found:
            yield name, value

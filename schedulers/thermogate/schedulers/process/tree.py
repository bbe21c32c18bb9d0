"""A program and all that it has started, also in groups and sessions of their own, as /proc tells it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")


class Process(NamedTuple):
    """One process. `started` tells it from a later one of the same number."""

    pid: int
    parent: int
    group: int
    state: str
    """R, S, D, T (stopped), Z (ended, not yet waited for), ..."""
    started: int


def look(pid: int) -> Process | None:
    """None when there is none of that number."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return Process(pid, int(fields[1]), int(fields[2]), fields[0], int(fields[19]))


def everyone() -> list[Process]:
    """All that there are now."""
    numbers = (int(entry) for entry in os.listdir(_PROC) if entry.isdigit())  # noqa: PTH208 - half the price
    return [found for pid in numbers if (found := look(pid)) is not None]


def descendants(root: int) -> list[Process]:
    """Those below `root`, children before grandchildren, without those that have ended."""
    children: dict[int, list[Process]] = {}
    for process in everyone():
        children.setdefault(process.parent, []).append(process)
    return [process for process in _below(root, children) if process.state not in "ZX"]


def _below(root: int, children: dict[int, list[Process]]) -> Iterator[Process]:
    level = children.get(root, [])
    while level:
        yield from level
        level = [child for process in level for child in children.get(process.pid, [])]


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for the signal; without one most signals end it."""
    try:
        status = (_PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)


def catchers(root: int, number: signal.Signals) -> list[int]:
    """Who is to be told by the signal: on every branch the first that has a handler.

    Not all that have one: workers inherit it from the program that they were forked from.
    """
    found = []
    level = [root]
    children: dict[int, list[int]] = {}
    for process in descendants(root):
        children.setdefault(process.parent, []).append(process.pid)
    while level:
        told = [pid for pid in level if catches(pid, number)]
        found += told
        level = [child for pid in level if pid not in told for child in children.get(pid, [])]
    return found


def send(process: Process, number: int) -> bool:
    """Signal it if it is still the same; whether it was."""
    if (now := look(process.pid)) is None or now.started != process.started:
        return False
    try:
        os.kill(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True

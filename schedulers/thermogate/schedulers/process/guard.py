"""Lets go on what `thermogate run` has stopped, should that be killed: `python -I -S guard.py`.

Reads lines "PID STARTED" of what is stopped, and "-" for "no longer" on standard input; at its end, which the
kernel brings about whatever happens to the writer, it wakes what is stopped.
"""

import os
import signal
import sys


def _started(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:  # noqa: PTH123 - a start is 10 ms
            return int(stat.read().rpartition(")")[2].split()[19])
    except OSError:
        return -1


def _main() -> None:
    stopped: dict[int, int] = {}
    for line in sys.stdin:
        if line == "-\n":
            stopped.clear()
        elif line.endswith("\n"):
            pid, started = line.split()
            stopped[int(pid)] = int(started)
    for pid, started in stopped.items():
        if _started(pid) == started:
            try:
                os.kill(pid, signal.SIGCONT)
            except OSError:
                continue


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    _main()

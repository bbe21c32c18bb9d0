"""Becomes the program: `python -I -S stub.py PARENT COMMAND...`, in a process group of its own.

A process between fork and exec, so that nothing has to run in a fork of a process with threads. It dies with
`thermogate run` (its PARENT), whatever ends that. Exit 127: no such program; 126: it cannot be executed.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _main(parent: int, command: list[str]) -> int:
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):  # which Python has set for itself
        if number != signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before it could be asked for
        return 128 + signal.SIGTERM
    try:
        os.execvp(command[0], command)  # noqa: S606 - there is no shell, and is to be none
    except FileNotFoundError:
        sys.stderr.write(f"thermogate run: {command[0]}: no such program\n")
        return 127
    except OSError as err:
        sys.stderr.write(f"thermogate run: {command[0]}: {err.strerror}\n")
        return 126


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1]), sys.argv[2:]))

"""The program: started in a group of its own, stopped and woken with all that it has started, waited for."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from thermogate.schedulers.process import tree

_HERE = Path(__file__).parent
_PR_SET_CHILD_SUBREAPER = 36
_MOST_ROUNDS = 100
"""Looks for what a program starts while it is being stopped."""


class Child:
    """One program at a time, started as often as need be."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._command = tuple(command)
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._stopped: dict[int, tree.Process] = {}
        self.exit_code: int | None = None
        """Once it has ended; 128 and the number of the signal that ended it."""
        self.stopped_by: int = 0
        """The signal by which it has stopped, not by `freeze`; 0 while it has not."""

    @property
    def pid(self) -> int:
        """Of the program and of its group."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it. What it leaves behind becomes our child, so that it can be stopped and waited for."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        stub = [sys.executable, "-I", "-S", str(_HERE / "stub.py"), str(os.getpid())]
        self.exit_code, self.stopped_by = None, 0
        self._process = subprocess.Popen(
            [*stub, *self._command], env=self._environ, process_group=0, close_fds=False
        )

    def reap(self) -> None:
        """Learn what has ended or stopped since the last time."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._process is not None and pid == self._process.pid:
                self._learn(status)

    def _learn(self, status: int) -> None:
        assert self._process is not None
        if os.WIFSTOPPED(status):
            self.stopped_by = 0 if self._stopped else os.WSTOPSIG(status)
        elif os.WIFCONTINUED(status):
            self.stopped_by = 0
        else:
            code = os.waitstatus_to_exitcode(status)
            self.exit_code = code if code >= 0 else 128 - code
            self._process.returncode = self.exit_code  # it has been waited for

    def send(self, number: int) -> None:
        """To its whole group, as a terminal does: a shell alone would leave its program running."""
        if self.exit_code is None:
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                return

    def send_all(self, number: int) -> bool:
        """To all below us, also in other groups and sessions; whether there is any."""
        below = self._below()
        for one in below:
            tree.send(one, number)
        return bool(below)

    def checkpoint(self, number: signal.Signals) -> bool:
        """Tell those who have a handler for it: of others it would be the end. Whether anybody has one."""
        told = tree.catchers(self.pid, number)
        for pid in told:
            if found := tree.look(pid):
                tree.send(found, number)
        return bool(told)

    def freeze(self) -> int:
        """Stop it and all below us, also in other groups and sessions; how many that are.

        What was stopped already is left alone, and not woken later.
        """
        for _ in range(_MOST_ROUNDS):
            self.reap()
            fresh = [one for one in self._below() if one.pid not in self._stopped and self._is_ours(one)]
            if not fresh:
                break
            # before they are stopped: whatever happens to us, somebody wakes them
            self._tell_guard(b"".join(map(_line, fresh)))
            for one in fresh:
                tree.send(one, signal.SIGSTOP)
                self._stopped[one.pid] = one
        return len(self._stopped)

    def thaw(self) -> None:
        """Wake what `freeze` has stopped."""
        for one in self._stopped.values():
            tree.send(one, signal.SIGCONT)
        if self._stopped:
            self._stopped.clear()
            self._tell_guard(b"-\n")

    def close(self) -> None:
        """Wake what is stopped, and end the guard."""
        self.thaw()
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(OSError):
                self._guard.stdin.close()
            self._guard.wait()
            self._guard = None

    def _is_ours(self, one: tree.Process) -> bool:
        """Whether to wake it later: it runs, or a Ctrl-Z came just before."""
        return one.state not in "Tt" or (self.stopped_by == signal.SIGTSTP and one.group == self.pid)

    def _below(self) -> list[tree.Process]:
        guard = self._guard.pid if self._guard is not None else 0
        return [one for one in tree.descendants(os.getpid()) if one.pid != guard]

    def _tell_guard(self, line: bytes) -> None:
        if self._guard is None or self._guard.poll() is not None:
            command = [sys.executable, "-I", "-S", str(_HERE / "guard.py")]
            self._guard = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd="/", start_new_session=True
            )
            line = b"".join(map(_line, self._stopped.values())) + line
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has just ended: the next one is started in its place
            self._guard.stdin.write(line)
            self._guard.stdin.flush()


def _line(one: tree.Process) -> bytes:
    return b"%d %d\n" % (one.pid, one.started)

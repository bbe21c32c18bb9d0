"""Whose turn it is at the terminal: ours while the program waits, the program's while it runs."""

import contextlib
import os
import signal


class Terminal:
    """The controlling terminal, if there is one with us in its foreground; else no call does anything.

    In a pipeline others may need it (a pager): there the program gets it when it asks for it.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self._alone = True
        self.given = False
        """Whether it is the program's turn."""

    def open(self) -> None:
        """Find it."""
        self._alone = os.isatty(0) and os.isatty(1)
        with contextlib.suppress(OSError):
            self._fd = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)

    def close(self) -> None:
        """Take it back and let go."""
        self.take()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @property
    def ours(self) -> bool:
        """Whether it is our turn, or the program's that has it from us."""
        return self.given or self._in_front()

    def give(self, group: int, *, asked: bool = False) -> None:
        """To the program's group: it may read, and gets Ctrl-C and Ctrl-Z."""
        if self._fd is not None and (self._alone or asked) and self.ours:
            self._set(group)
            self.given = True

    def take(self) -> None:
        """Back to us, if it was given."""
        if self.given:
            self._set(os.getpgrp())
            self.given = False

    def _in_front(self) -> bool:
        try:
            return self._fd is not None and os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return False

    def _set(self, group: int) -> None:
        assert self._fd is not None
        # who is in the background would be stopped for asking
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            os.tcsetpgrp(self._fd, group)
        except OSError:  # hung up, or the group has ended
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

"""What a service tells systemd about itself: ready, alive, stopping, and what it does (sd_notify(3))."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping

from thermogate.core.clock import Clock

_STATUS_S = 10.0
"""How often the status line of `systemctl status` is renewed."""
_FED_SHARE = 3
"""The watchdog is fed this many times in its time, so that one late tick does not end a healthy process."""


class SystemdNotifier:
    """Speaks to the socket of $NOTIFY_SOCKET; without one it says nothing.

    `status` is asked for one line about what goes on. `period_s` is the time between two calls of
    `alive`: a watchdog that is shorter than three of them is made longer.
    """

    def __init__(
        self, environ: Mapping[str, str], clock: Clock, *, status: Callable[[], str], period_s: float
    ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte of the abstract namespace
        self._address = address.replace("@", "\0", 1) if address.startswith("@") else address
        self._watchdog_s = _watchdog_s(environ)
        self._clock = clock
        self._status = status
        self._period_s = period_s
        self._ready = False
        self._due_s = 0.0

    async def beat(self) -> None:
        """Alive every `period_s` for as long as the event loop in which it runs is."""
        while True:
            self.alive()
            await self._clock.sleep_until(self._clock.steady_s() + self._period_s)

    def alive(self) -> None:
        """The work has gone on: feeds the watchdog. The first call says that the service is ready.

        Never blocks and never raises: what systemd does not take now is said again at the next call.
        """
        now_s = self._clock.steady_s()
        if not self._address or (self._ready and now_s < self._due_s):
            return
        lines = [f"STATUS={self._status()}"]
        if self._watchdog_s:
            lines.append("WATCHDOG=1")
        if not self._ready:
            lines += ["READY=1", *self._longer_watchdog()]
        if self._send(lines):
            self._ready = True
            self._due_s = now_s + min(_STATUS_S, (self._watchdog_s or _STATUS_S) / _FED_SHARE)

    async def stopping_at(self, stop: asyncio.Event, ending: str = "sending what is in the spool") -> None:
        """Wait for `stop` and say that the service ends on purpose, and how."""
        await stop.wait()
        if self._address:
            self._send(["STOPPING=1", f"STATUS={ending}"])

    def _longer_watchdog(self) -> list[str]:
        least_s = _FED_SHARE * self._period_s
        if not self._watchdog_s or self._watchdog_s >= least_s:
            return []
        self._watchdog_s = least_s
        return [f"WATCHDOG_USEC={round(least_s * 1e6)}"]

    def _send(self, lines: list[str]) -> bool:
        message = "\n".join(lines).encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.setblocking(False)
                notify.connect(self._address)
                notify.send(message)
        except OSError:
            return False
        return True


def to_journal(environ: Mapping[str, str]) -> bool:
    """Whether standard error is the journal, which keeps the time of each line itself (systemd.exec(5))."""
    journal = environ.get("JOURNAL_STREAM")
    if journal is None:
        return False
    now = os.fstat(2)
    return journal == f"{now.st_dev}:{now.st_ino}"


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """The time of the watchdog that is meant for this process; 0 without one."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    text = environ.get("WATCHDOG_USEC", "0")
    return int(text) / 1e6 if text.isdigit() else 0.0

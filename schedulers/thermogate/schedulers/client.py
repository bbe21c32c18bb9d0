"""The gate for programs without an event loop: a daemon thread follows it, and any thread may ask."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from thermogate.core.clock import SystemClock
from thermogate.core.errors import ThermogateError
from thermogate.core.gate_messages import Outcome, Report
from thermogate.schedulers.reporting import Reporting
from thermogate.schedulers.standing import FREE, Standing, Target
from thermogate.schedulers.watch import GateWatch

log = logging.getLogger(__name__)

_END_S = 5.0
"""How long `close` waits for the last reports."""


class Client:
    """`make` makes the watch, in the thread. Should the thread fail, that is logged and work runs."""

    def __init__(self, make: Callable[[], GateWatch], *, scheduler: str, host: str) -> None:
        self._make = make
        self._scheduler = scheduler
        self._host = host
        self._changed = threading.Condition()
        self._change_count = 0
        self._heard = threading.Event()
        self._watch: GateWatch | None = None
        self._reporting: Reporting | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def open(self, hear_s: float) -> None:
        """Start, and wait up to `hear_s` for what the broker retains. Raises ConfigError."""
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="thermogate-gate", daemon=True)
        self._thread.start()
        opened.result()
        self._heard.wait(hear_s)

    def close(self) -> None:
        """Send what is still to be said, and end."""
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._on_loop(self._stop.set)
            self._thread.join(_END_S)

    def standing(self, target: Target) -> Standing:
        """What is in force of it now."""
        return FREE if self._watch is None else self._watch.standing(*target)

    def wait(self, timeout_s: float) -> None:
        """Return at the next change, or after the time."""
        with self._changed:
            count = self._change_count
            self._changed.wait_for(lambda: self._change_count != count, timeout_s)

    def request(self, report: Report) -> None:
        """Say what a training reports; never waits."""
        if self._watch is not None:
            self._on_loop(self._watch.request, report)

    def say(self, target: Target, standing: Standing, outcome: Outcome, text: str) -> None:
        """Say what was done about a decision; never waits."""
        if self._reporting is not None:
            self._on_loop(self._reporting.say, target, standing, outcome, text, ())

    def _on_loop(self, what: Callable[..., None], *args: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(what, *args)
            except RuntimeError:  # it closed in between
                return

    def _run(self, opened: Future[None]) -> None:
        try:
            asyncio.run(self._follow(opened))
        except ThermogateError as err:
            self._failed(err, opened)
        except BaseExceptionGroup as group:
            self._failed(group, opened)
        except BaseException as err:  # whoever waits for the start learns of it, and the thread ends with it
            if opened.done():
                raise
            opened.set_exception(err)
        finally:
            self._watch = self._reporting = None
            self._tell()

    def _failed(self, err: BaseException, opened: Future[None]) -> None:
        if not opened.done():
            opened.set_exception(err)
        else:
            log.error("the gate is no longer followed, work runs: %s", err)

    async def _follow(self, opened: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self._make() as watch, asyncio.TaskGroup() as group:
            self._reporting = Reporting(self._scheduler, self._host, watch, SystemClock())
            self._watch = watch
            tasks = [group.create_task(self._tell_changes(watch)), group.create_task(self._tell_heard(watch))]
            opened.set_result(None)
            await self._stop.wait()
            for task in tasks:
                task.cancel()

    async def _tell_changes(self, watch: GateWatch) -> None:
        async for _change in watch.changes():
            self._tell()

    async def _tell_heard(self, watch: GateWatch) -> None:
        await watch.heard.wait()
        self._heard.set()

    def _tell(self) -> None:
        with self._changed:
            self._change_count += 1
            self._changed.notify_all()

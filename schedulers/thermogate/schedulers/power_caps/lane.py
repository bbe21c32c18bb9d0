"""Calls to a driver that may never return."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from thermogate.schedulers.adapter import ActionError

T = TypeVar("T")


_Call = tuple[Future[Any], Callable[[], Any], Callable[[], None]]
"""Where the result goes, what is called, and how the loop is told."""


class HungError(ActionError):
    """The call has not returned in time. It may still do what it was to do."""


class Lane:
    """One thread that makes one call after another, and may be lost in one of them.

    The thread is a daemon, begun with the first call: one that hangs does not hold up the end of the process.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any], Callable[[], None]] | None] = (
            SimpleQueue()
        )
        self._thread: threading.Thread | None = None
        self._hung: Future[Any] | None = None

    @property
    def hung(self) -> bool:
        """Whether a call that was given up has not returned yet."""
        return self._hung is not None and not self._hung.done()

    async def call(self, what: Callable[[], T], timeout_s: float) -> T:
        """What `what` returns or raises; one that waits behind another is never made once it was given up.

        Raises HungError after `timeout_s`, and at once while an earlier call hangs.
        """
        if self.hung:
            raise HungError(f"{self._name} does not answer: its driver hangs")
        future: Future[T] = Future()
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(done.set)

        self._start()
        self._calls.put((future, what, tell))
        try:
            async with asyncio.timeout(timeout_s):
                await done.wait()
        except TimeoutError:
            if not future.done():
                self._hung = None if future.cancel() else future
                raise HungError(f"{self._name} has not answered within {timeout_s:g} s") from None
        finally:
            future.cancel()  # does nothing to one that runs or is done
        return future.result()

    def stop(self) -> None:
        """Let the thread end after its call; does not wait for it."""
        self._calls.put(None)
        self._thread = None

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            future, what, tell = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(what())
                except BaseException as err:  # noqa: BLE001 - raised again where the result is asked for
                    future.set_exception(err)
            tell()

"""Threads that may be lost: they run calls that might never return."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """Runs one job after another in a thread of its own, begun with the first.

    A ThreadPoolExecutor would do but for the end of the process, where it joins its threads: one
    that hangs in a driver would hold the process for ever. This thread is a daemon.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[tuple[Callable[[], T], Future[T]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Queue a job; the future has what it returned or raised."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._jobs.put((job, future))
        return future

    def stop(self) -> None:
        """Let the thread end once its jobs are done; does not wait for it."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            settle(future, job)


class Crew:
    """Workers enough for jobs that may hang: one that hangs stays with its job, and another takes over."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._workers: list[tuple[Worker[None], Future[None]]] = []

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job in a worker that has nothing to do, a new one if all are busy."""
        for index, (worker, last) in enumerate(self._workers):
            if last.done():
                self._workers[index] = worker, worker.submit(job)
                return
        worker = Worker[None](f"{self._name}-{len(self._workers)}")
        self._workers.append((worker, worker.submit(job)))

    def stop(self) -> None:
        """Let every thread end once its job is done; does not wait for them."""
        for worker, _ in self._workers:
            worker.stop()


class Countdown:
    """Calls `then` once `count` things are over; `one_less` may be called in any thread."""

    def __init__(self, count: int, then: Callable[[], None]) -> None:
        self._left = count
        self._then = then
        self._lock = threading.Lock()

    def one_less(self) -> None:
        """One more thing is over."""
        with self._lock:
            self._left -= 1
            left = self._left
        if left == 0:
            self._then()


def settle(future: Future[T], job: Callable[[], T]) -> None:
    """Put what a job returns or raises into a future."""
    try:
        future.set_result(job())
    except BaseException as err:  # noqa: BLE001 - raised again where the result is asked for
        future.set_exception(err)

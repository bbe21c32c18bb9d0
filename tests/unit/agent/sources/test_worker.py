"""Threads that may be lost."""

import threading
from concurrent.futures import Future

import pytest

from thermogate.agent.sources.worker import Crew, Worker


def test_jobs_run_in_order_in_one_thread() -> None:
    worker = Worker[int]("w")
    futures = [worker.submit(threading.get_ident) for _ in range(3)]
    idents = {future.result(5) for future in futures}
    worker.stop()
    assert len(idents) == 1
    assert threading.get_ident() not in idents


def test_what_a_job_raises_reaches_who_asks_for_the_result_and_the_thread_goes_on() -> None:
    worker = Worker[int]("w")
    failed = worker.submit(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        failed.result(5)
    assert worker.submit(lambda: 7).result(5) == 7
    worker.stop()


def test_a_job_that_does_not_return_holds_up_nobody() -> None:
    worker = Worker[bool]("w")
    release = threading.Event()
    hung = worker.submit(release.wait)
    worker.stop()
    assert not hung.done()
    release.set()
    assert hung.result(5)


def run_to_end(crew: Crew) -> int:
    """Have a crew do a job; the thread that did it."""
    done: Future[int] = Future()
    crew.submit(lambda: done.set_result(threading.get_ident()))
    return done.result(5)


def test_a_crew_is_one_thread_while_nothing_hangs() -> None:
    crew = Crew("c")
    first = run_to_end(crew)
    for _, last in crew._workers:
        last.result(5)
    assert run_to_end(crew) == first
    crew.stop()


def test_a_crew_grows_by_one_for_each_job_that_hangs_and_uses_it_again_when_it_returns() -> None:
    crew = Crew("c")
    release = threading.Event()

    def hang() -> None:
        release.wait()

    crew.submit(hang)
    run_to_end(crew)
    assert len(crew._workers) == 2
    release.set()
    for _, last in crew._workers:
        last.result(5)
    for _ in range(5):
        run_to_end(crew)
    assert len(crew._workers) == 2
    crew.stop()

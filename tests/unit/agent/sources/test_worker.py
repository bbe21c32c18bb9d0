"""A thread that may be lost."""

import threading

import pytest

from thermogate.agent.sources.worker import Worker


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

"""A short form of `make faults`: 20 nodes, seconds a fault, the same code (docs/faults.md)."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.faults import run
from benchmarks.faults.cases import CASES
from benchmarks.faults.plan import SHORT

pytestmark = [pytest.mark.e2e, pytest.mark.integration]
BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def victoria_killed(tmp_path_factory):
    """Runs beside the others: a store that settles is mostly waited for."""
    with ThreadPoolExecutor(1) as pool:
        folder = tmp_path_factory.mktemp("victoria") / "bed"
        yield pool.submit(run.run, BY_NAME["victoria-killed"], SHORT, folder)


@pytest.mark.parametrize(
    "name",
    ["collector-killed", "broker-killed-forgetful", "database-killed", "database-503", "two-collectors"],
)
def test_every_sample_is_stored_once(name, tmp_path, victoria_killed):
    complete(run.run(BY_NAME[name], SHORT, tmp_path / "bed"))


def test_every_sample_is_stored_once_in_a_store_that_answers_before_it_is_durable(victoria_killed):
    complete(victoria_killed.result())


def complete(result):
    assert result.passed, run.sentence(result)
    assert result.verdict.nodes == SHORT.nodes
    assert result.raw == result.verdict.sent == result.verdict.stored
    assert result.verdict.sent > SHORT.nodes * 9 * 3

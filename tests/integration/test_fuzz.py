"""Whatever comes: never a crash, never a foreign series, and every message is accounted for."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.making import stored
from tests.contract.memory_store import MemoryStore
from tests.fuzzing import Fuzzed
from tests.mutations import mutated, sound
from thermogate.collector.config import EmbeddedSettings
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.core.clock import SystemClock

_OFTEN = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module", params=["memory", "embedded"])
def fuzzed(request: pytest.FixtureRequest, runner, tmp_path_factory) -> Iterator[Fuzzed]:
    """One store for all examples, as in a collector that runs for long."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    if request.param == "memory":
        store = MemoryStore(SystemClock())
    else:
        store = EmbeddedStore(folder, EmbeddedSettings(threads=1), SystemClock())
    runner.run(store.__aenter__())
    found = Fuzzed(store, folder)
    yield found
    points = runner.run(stored(store))
    assert {(p.measurement, p.node, p.device) for p in points} == {one[:3] for one in found.series}
    assert found.seen["quarantined"] > 0
    assert points
    runner.run(store.__aexit__(None, None, None))


@_OFTEN
@given(rng=st.randoms(use_true_random=True), count=st.integers(1, 20))
def test_mutated_messages_are_stored_refused_or_dropped_and_nothing_else(fuzzed, runner, rng, count) -> None:
    runner.run(fuzzed.feed([mutated(rng) for _ in range(count)]))


@_OFTEN
@given(rng=st.randoms(use_true_random=True), noise=st.binary(max_size=200), topic=st.text(max_size=60))
def test_noise_beside_a_sound_message_does_not_harm_it(fuzzed, runner, rng, noise, topic) -> None:
    said = sound(rng)
    before = fuzzed.seen.copy()
    runner.run(fuzzed.feed([(topic, noise), said, (said[0], noise)]))
    assert (
        fuzzed.seen["messages"]
        - before["messages"]
        - sum(fuzzed.seen[name] - before[name] for name in ("quarantined", "throttled", "withheld"))
        >= 1
    )

"""Nothing is lost and nothing is double while parts of the whole path are killed again and again.

The long version, 30 minutes and its table, is benchmarks/agent_outage.py, which this is a minute of.
"""

from pathlib import Path

import pytest

from benchmarks.agent_outage import SETS, SHORT, Kill, compare, run
from benchmarks.whole_path import GPUS, NODE, whole_path
from thermogate.core.clock import NS
from thermogate.core.wire import Point

START_NS = 1_763_712_000 * NS


@pytest.mark.integration
async def test_every_second_is_in_the_store_once_though_broker_collector_and_agent_are_killed(
    tmp_path: Path,
) -> None:
    with whole_path(tmp_path, *SETS, "agent.uplink.ack_timeout_s=8") as path:
        outcome, kills = await run(path, 0.5, SHORT, ("broker", "collector", "agent"), seed=5)
    assert outcome.complete, outcome
    assert {kill.part for kill in kills} == {"broker", "collector", "agent"}
    assert outcome.ticks > 15
    for gpu in range(GPUS):
        assert outcome.points[f"gpu{gpu}"] + outcome.absent[f"gpu{gpu}"] == outcome.ticks
        assert outcome.points[f"gpu{gpu}"] > outcome.ticks / 2


def life(seconds: list[int], *, skipped: int = 0) -> list[Point]:
    """A GPU and the counters of an agent that sampled in these seconds; ticks are skipped before the last."""
    points = []
    for tick, second in enumerate(seconds, start=1):
        counters = {"ticks_count": tick, "skipped_count": skipped * (tick == len(seconds))}
        fields = {**counters, "late_count": 0, "spool_dropped_count": 0}
        points.append(Point("agent", NODE, "", "", "", fields, START_NS + second * NS))
        points.append(Point("gpu", NODE, "0", "", "", {"temp_c": 60.0}, START_NS + second * NS))
    return points


WHOLE = life([*range(20)])


def complete(points: list[Point], deaths: tuple[Kill, ...] = (), last_s: int = 19) -> bool:
    return compare(points, list(deaths), last_ns=START_NS + last_s * NS, left=0, lost=0).complete


def test_the_check_finds_what_is_complete() -> None:
    assert complete(WHOLE)


def test_the_check_finds_a_second_that_is_missing() -> None:
    assert not complete(WHOLE[:20] + WHOLE[22:])
    assert not complete(life([*range(10), *range(11, 20)]))
    assert not complete(WHOLE, last_s=20)


def test_the_check_finds_a_sample_that_is_there_twice() -> None:
    assert not complete([*WHOLE, WHOLE[7]])


def test_the_check_takes_skipped_ticks_that_the_agent_counted() -> None:
    assert complete(life([*range(18), 20, 21], skipped=2), last_s=21)


@pytest.mark.parametrize(("last_s", "whole"), [(9, True), (10, False)])
def test_the_check_takes_a_gap_in_which_the_agent_was_dead(last_s: int, whole: bool) -> None:
    last_ns = START_NS + last_s * NS
    death = Kill("agent", START_NS + 11 * NS - NS // 2, START_NS + 14 * NS - NS // 2, last_ns)
    assert complete(life([*range(10)]) + life([*range(14, 20)]), (death,)) == whole

"""`Obey` beyond the contract of adapters: many targets, one that hangs, a scheduler that is down."""

import asyncio
import itertools

import pytest

from tests.contract.schedulers_contract import NotebookWorld, obeying
from tests.fakes import FakeClock
from thermogate.schedulers.adapter import ActionError


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def world(clock, tmp_path):
    made = NotebookWorld(clock, tmp_path)
    made.reasons = {f"n{number}": "" for number in range(50)}
    return made


async def test_one_that_hangs_holds_up_nobody_else_and_no_more_than_allowed_run_at_once(
    world, clock, tmp_path
):
    running, most, hung = set(), [0], asyncio.Event()
    perform = world.adapter.perform

    async def slow(step):
        running.add(step.data)
        most[0] = max(most[0], len(running))
        if step.data[0] == "n0":
            await hung.wait()
        await asyncio.sleep(0)
        await perform(step)
        running.discard(step.data)

    world.adapter.perform = slow
    async with obeying(world, clock, tmp_path, parallel=3) as bench:
        for number in range(50):
            bench.hand.say(("node", f"n{number}"), "HOLD")
        await bench.until(lambda: sum(map(bool, world.reasons.values())) == 49)
        assert most[0] == 3
        hung.set()
        await bench.until(lambda: all(world.reasons.values()))
        assert bench.outcomes == ["done"] * 50


async def test_a_decision_that_comes_while_one_is_acted_on_is_acted_on_next(world, clock, tmp_path):
    begun, go_on = asyncio.Event(), asyncio.Event()
    perform = world.adapter.perform

    async def slow(step):
        begun.set()
        await go_on.wait()
        await perform(step)

    world.adapter.perform = slow
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD")
        await begun.wait()
        bench.say("RUN")
        await bench.pass_s(5)
        go_on.set()
        await bench.until(lambda: bench.outcomes == ["done", "undone"])
        assert not world.reasons["n17"]
        assert bench.journal.targets() == ()


async def test_a_scheduler_that_is_down_at_the_start_is_asked_again_what_is_ours(world, clock, tmp_path):
    world.reasons["n17"] = "thermogate: of an earlier life"
    world.broken = True
    async with obeying(world, clock, tmp_path) as bench:
        await bench.pass_s(60)
        assert world.held()
        world.broken = False
        await bench.until(lambda: not world.held())
        assert world.reasons["n18"] == ""


async def test_retries_come_at_growing_intervals_up_to_the_longest(world, clock, tmp_path):
    at_s = []

    async def fails(step):
        at_s.append(clock.steady_s())
        raise ActionError("slurmctld does not answer")

    world.adapter.perform = fails
    async with obeying(world, clock, tmp_path, retry_min_s=1.0, retry_max_s=60.0, resync_s=1000.0) as bench:
        bench.say("HOLD")
        await bench.until(lambda: len(at_s) == 9, most_s=600)
        waits = [round(later - at) for at, later in itertools.pairwise(at_s)]
        assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
        assert bench.outcomes == ["failed"]


async def test_a_stop_waits_for_what_is_under_way(world, clock, tmp_path):
    begun, go_on = asyncio.Event(), asyncio.Event()
    perform = world.adapter.perform

    async def slow(step):
        begun.set()
        await go_on.wait()
        await perform(step)

    world.adapter.perform = slow
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD")
        await begun.wait()
        bench.stop.set()
        await bench.pass_s(1)
        assert not bench.tasks[0].done()
        go_on.set()
        await bench.end()
        assert world.held()
        assert all(mark.done for mark in bench.journal.marks(world.target).values())


async def test_undoing_everything_by_command_leaves_nothing(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        for number in range(5):
            bench.hand.say(("node", f"n{number}"), "HOLD")
        await bench.until(lambda: len(bench.outcomes) == 5)
        await bench.end()
        assert await bench.obey.undo_all()
        assert not any(world.reasons.values())

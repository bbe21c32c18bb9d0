"""`Obey` beyond the contract of adapters: many targets, one that hangs, a scheduler that is down."""

import asyncio
import itertools

import pytest

from tests.contract.schedulers_contract import Bench, NotebookWorld, obeying
from tests.fakes import FakeClock
from thermogate.schedulers.adapter import ActionError
from thermogate.schedulers.journal import Journal
from thermogate.schedulers.obey import Obey


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


async def test_a_hold_that_ends_while_the_last_look_at_it_fails_is_undone_once_undoing_is_allowed(
    world, clock, tmp_path
):
    begun, go_on = asyncio.Event(), asyncio.Event()
    plan = world.adapter.plan

    async def hangs(target, wanted, marks):
        if wanted.held:
            begun.set()
            await go_on.wait()
        return await plan(target, wanted, marks)

    before = Journal(tmp_path / "journal.json", "notebook")
    before.set(world.target, {"hold": "thermogate: hot"}, done=True)
    world.reasons["n17"] = "thermogate: hot"
    world.adapter.plan = hangs
    world.broken = True  # as the broker is, after the whole site was without power
    async with obeying(world, clock, tmp_path, heard=False) as bench:
        bench.say("HOLD", for_s=5)
        await begun.wait()
        await bench.until(lambda: not bench.hand.standings())
        go_on.set()
        await bench.pass_s(30)
        assert world.held()
        world.broken = False
        await bench.until(lambda: not world.held())


async def test_a_disk_that_takes_nothing_at_the_start_does_not_end_the_service(world, clock, tmp_path):
    (tmp_path / "journal.json").mkdir()  # replacing it fails, as root too
    world.reasons["n17"] = "thermogate: of an earlier life"
    bench = Bench(world, clock, tmp_path)
    bench.hand.heard.set()
    bench.journal = Journal(bench.file, "notebook")
    obey = Obey(world.adapter, bench.hand, bench.journal, bench.settings, clock, dry_run=False, host="n0")
    running = asyncio.create_task(obey.run(bench.stop))
    try:
        await bench.until(lambda: not world.held())
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_is_let_go_at_a_pace_below_1_is_reported_as_undone(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD")
        await bench.until(world.held)
        bench.say("RUN", pace=0.8)
        await bench.until(lambda: not world.held())
        await bench.until(lambda: bench.outcomes[:2] == ["done", "undone"])

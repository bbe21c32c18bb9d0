"""What every scheduler adapter does, and never does; schedulers_contract.py says how one takes part."""

import pytest

from tests.contract.kubernetes_world import KubernetesJobWorld, KubernetesNodeWorld
from tests.contract.power_cap_world import PowerCapWorld
from tests.contract.schedulers_contract import NotebookWorld, obeying
from tests.contract.slurm_world import SlurmJobWorld, SlurmNodeWorld
from tests.fakes import FakeClock
from thermogate.schedulers.adapter import ActionError

WORLDS = (
    NotebookWorld,
    PowerCapWorld,
    SlurmNodeWorld,
    SlurmJobWorld,
    KubernetesNodeWorld,
    KubernetesJobWorld,
)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=WORLDS, ids=lambda world: world.__name__)
def world(request, clock, tmp_path):
    made = request.param(clock, tmp_path)
    yield made
    getattr(made, "close", lambda: None)()


async def test_a_hold_is_set_and_reported_with_its_decision_and_what_was_done(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        decision = bench.say("HOLD")
        await bench.until(world.held)
        await bench.until(lambda: "done" in bench.outcomes)
        report = next(one for one in bench.hand.reports if one.outcome == "done")
        assert (report.decision, report.seq, report.state, report.mode) == (decision.id, 1, "HOLD", "enforce")
        assert (report.kind, report.target) == world.target
        assert report.scheduler == world.adapter.name
        assert report.actions
        assert report.text


@pytest.mark.parametrize("how", ["released", "expired"])
async def test_it_is_undone_when_released_and_when_expired(how, world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD", for_s=3600.0 if how == "released" else 400.0)
        await bench.until(world.held)
        await bench.until(lambda: "done" in bench.outcomes)
        if how == "released":
            bench.say("RUN")
        await bench.until(lambda: not world.held(), most_s=600)
        await bench.until(lambda: bench.outcomes[-1] == "undone")
        assert bench.journal.targets() == ()
        assert bench.hand.reports[-1].decision


async def test_a_repair_that_is_released_leaves_nothing_behind(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("REPAIR", pace=0.0)
        await bench.until(lambda: bench.outcomes)
        await bench.pass_s(120)
        bench.say("RUN")
        await bench.until(lambda: not world.held() and bench.journal.targets() == ())


async def test_in_shadow_nothing_is_changed_and_what_would_be_is_reported(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD", mode="shadow")
        await bench.until(lambda: bench.outcomes)
        await bench.pass_s(120)
        assert bench.outcomes == ["would"]
        assert bench.hand.reports[0].actions
        assert (bench.hand.reports[0].state, bench.hand.reports[0].mode) == ("HOLD", "shadow")
        assert not world.held()
        assert world.write_count == 0


async def test_a_hold_that_goes_back_to_shadow_is_undone(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD")
        await bench.until(lambda: "done" in bench.outcomes)
        bench.say("HOLD", mode="shadow")
        await bench.until(lambda: not world.held())
        await bench.until(lambda: "would" in bench.outcomes)
        assert bench.journal.targets() == ()


async def test_a_dry_run_changes_nothing_and_reports_what_it_would_do(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path, dry_run=True) as bench:
        bench.say("HOLD")
        await bench.until(lambda: bench.outcomes)
        await bench.pass_s(120)
        assert set(bench.outcomes) == {"would"}
        assert world.write_count == 0
        assert bench.journal.targets() == ()


async def test_a_dry_run_does_not_even_undo_what_an_earlier_run_has_set(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD", for_s=600)
        await bench.until(lambda: "done" in bench.outcomes)
        await bench.kill()
        written = world.write_count
        bench.dry_run = True
        bench.start()
        await bench.pass_s(900)
        assert bench.outcomes[-1] == "would"
        assert world.write_count == written
        assert world.held()


async def test_looking_again_and_renewals_change_nothing_and_say_nothing(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD")
        await bench.until(world.held)
        await bench.pass_s(150)
        written, said = world.write_count, len(bench.outcomes)
        for _ in range(5):
            bench.say("HOLD")
            await bench.pass_s(60)
        assert (world.write_count, len(bench.outcomes)) == (written, said)
        assert world.held()


async def test_what_an_operator_has_set_is_left_alone_and_never_undone(world, clock, tmp_path):
    world.hold_by_hand()
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD")
        await bench.until(lambda: bench.outcomes)
        await bench.pass_s(90)
        bench.say("RUN")
        await bench.pass_s(90)
        assert world.held()
        assert set(bench.outcomes) == {"nothing"}
        assert world.write_count == 0


async def test_what_an_operator_has_undone_is_not_set_again_before_the_next_hold(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD")
        await bench.until(lambda: "done" in bench.outcomes and world.held())
        await bench.pass_s(90)
        world.release_by_hand()
        await bench.pass_s(120)
        assert not world.held()
        bench.say("RUN")
        await bench.until(lambda: bench.journal.targets() == ())
        bench.say("HOLD")
        await bench.until(world.held)


async def test_a_failure_is_reported_once_and_tried_again_until_it_works(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        world.break_down(True)
        bench.say("HOLD")
        await bench.until(lambda: "failed" in bench.outcomes)
        await bench.pass_s(30)
        assert bench.outcomes == ["failed"]
        assert not world.held()
        world.break_down(False)
        await bench.until(world.held)
        await bench.until(lambda: bench.outcomes[-1] == "done")


async def test_a_release_that_fails_is_tried_again_until_it_works(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD")
        await bench.until(lambda: "done" in bench.outcomes and world.held())
        await bench.pass_s(90)
        world.break_down(True)
        bench.say("RUN")
        await bench.until(lambda: "failed" in bench.outcomes)
        await bench.pass_s(200)
        assert bench.journal.targets()
        world.break_down(False)
        await bench.until(lambda: not world.held())
        await bench.until(lambda: bench.journal.targets() == ())


async def test_killed_and_started_again_it_knows_what_is_its_own_and_undoes_it(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD", for_s=400)
        await bench.until(lambda: "done" in bench.outcomes)
        await bench.kill()
        await bench.clock.advance(600)
        bench.hand.state.expire()
        bench.start()
        await bench.until(lambda: not world.held())
        await bench.until(lambda: bench.journal.targets() == ())


async def test_after_a_start_nothing_is_undone_before_it_is_known_what_is_in_force(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD", for_s=400)
        await bench.until(lambda: "done" in bench.outcomes)
        await bench.kill()
        await bench.clock.advance(600)
        bench.hand.state.expire()
        bench.hand.heard.clear()
        written = world.write_count
        bench.start()
        await bench.pass_s(5)
        bench.say("HOLD")
        bench.hand.heard.set()
        await bench.pass_s(60)
        assert world.held()
        assert world.write_count == written


async def test_killed_between_the_journal_and_the_step_it_sets_it_after_all(
    world, clock, tmp_path, monkeypatch
):
    async with obeying(world, clock, tmp_path) as bench:
        world.break_down(False)
        performed = world.adapter.perform

        async def dies(step):
            raise ActionError("killed here")

        monkeypatch.setattr(world.adapter, "perform", dies)
        bench.say("HOLD")
        await bench.until(lambda: "failed" in bench.outcomes)
        assert not world.held()
        await bench.kill()
        monkeypatch.setattr(world.adapter, "perform", performed)
        bench.start()
        await bench.until(world.held)
        bench.say("RUN")
        await bench.until(lambda: not world.held() and bench.journal.targets() == ())


async def test_killed_between_the_step_and_the_journal_it_still_undoes_it(
    world, clock, tmp_path, monkeypatch
):
    async with obeying(world, clock, tmp_path) as bench:
        performed = world.adapter.perform

        async def dies(step):
            await performed(step)
            raise ActionError("killed here")

        monkeypatch.setattr(world.adapter, "perform", dies)
        bench.say("HOLD", for_s=400)
        await bench.until(lambda: "failed" in bench.outcomes)
        await bench.kill()
        monkeypatch.setattr(world.adapter, "perform", performed)
        await bench.clock.advance(600)
        bench.hand.state.expire()
        bench.start()
        await bench.until(lambda: not world.held() and bench.journal.targets() == (), most_s=600)


async def test_sync_keeps_what_there_is_and_its_end_lets_go(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD")
        await bench.until(world.held)
        await bench.pass_s(150)
        written = world.write_count
        bench.say("SYNC", for_s=300)
        await bench.pass_s(200)
        assert world.held()
        assert world.write_count == written
        await bench.until(lambda: not world.held())


async def test_sync_of_what_runs_changes_nothing(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("SYNC")
        await bench.pass_s(120)
        assert not world.held()
        assert world.write_count == 0


async def test_a_target_that_the_scheduler_does_not_know_is_said_and_forgotten(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.hand.say(world.unknown, "HOLD")
        await bench.until(lambda: bench.outcomes)
        await bench.pass_s(60)
        assert bench.outcomes == ["nothing"]
        assert world.write_count == 0
        assert bench.journal.targets() == ()


async def test_without_its_journal_what_bears_our_sign_is_undone_all_the_same(world, clock, tmp_path):
    if not world.signs:
        pytest.skip("nothing in this scheduler bears a sign; its journal alone knows")
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD", for_s=400)
        await bench.until(lambda: "done" in bench.outcomes)
        await bench.kill()
        bench.file.unlink()
        await bench.clock.advance(600)
        bench.hand.state.expire()
        bench.start()
        await bench.until(lambda: not world.held() and bench.journal.targets() == ())


async def test_a_stop_leaves_it_held_unless_it_is_to_undo(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path) as bench:
        bench.say("HOLD")
        await bench.until(lambda: "done" in bench.outcomes and world.held())
        await bench.end()
        assert world.held()


async def test_a_stop_undoes_it_where_it_is_to(world, clock, tmp_path):
    async with obeying(world, clock, tmp_path, undo_on_stop=True) as bench:
        bench.say("HOLD")
        await bench.until(lambda: "done" in bench.outcomes and world.held())
        await bench.end()
        assert not world.held()
        assert bench.journal.targets() == ()

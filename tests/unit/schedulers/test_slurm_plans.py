"""From what is there to what is wanted: nodes and jobs, without a Slurm."""

from datetime import UTC, datetime

import msgspec
import pytest

from tests.contract.schedulers_contract import decision_of
from tests.fake_slurm import FakeJob, FakeNode, FakeSlurm
from tests.fakes import FakeClock
from thermogate.core.config import load
from thermogate.core.decision import State
from thermogate.core.errors import ConfigError
from thermogate.schedulers.adapter import ActionError, Mark
from thermogate.schedulers.settings import SchedulerSettings
from thermogate.schedulers.slurm.adapter import SlurmAdapter
from thermogate.schedulers.slurm.settings import SlurmSettings
from thermogate.schedulers.standing import FREE, follow

NODE = ("node", "gpu0")
JOB = ("job", "slurm-7")


@pytest.fixture
def slurm():
    fake = FakeSlurm()
    fake.jobs[7] = FakeJob(7)
    return fake


@pytest.fixture
def clock():
    return FakeClock()


def adapter(slurm, clock, **settings):
    return SlurmAdapter(SlurmSettings(**settings), slurm, clock)


def wanted(target, state="HOLD", pace=0.0):
    return follow(FREE, decision_of(target, State(state), pace))


async def obey(one, target, standing, marks):
    """A plan performed; the marks after it, as the journal has them."""
    plan = await one.plan(target, standing, marks)
    marks = {name: mark for name, mark in marks.items() if name not in plan.forgets}
    for step in plan.steps:
        await one.perform(step)
        marks |= {name: Mark(detail) for name, detail in step.sets.items()}
        marks = {name: mark for name, mark in marks.items() if name not in step.clears}
    return plan, marks


async def test_a_repair_that_follows_a_hold_puts_its_own_reason_and_the_next_look_none(slurm, clock):
    one = adapter(slurm, clock)
    _, marks = await obey(one, NODE, wanted(NODE), {})
    plan, marks = await obey(one, NODE, wanted(NODE, "REPAIR"), marks)
    assert len(plan.steps) == 1
    plan, marks = await obey(one, NODE, wanted(NODE, "REPAIR"), marks)
    assert (plan.text, plan.steps) == ("", ())


async def test_a_node_of_another_name_in_slurm_is_found_by_the_setting(slurm, clock):
    one = adapter(slurm, clock, nodes={"n17.example": "gpu0"})
    target = ("node", "n17.example")
    plan, _ = await obey(one, target, wanted(target), {})
    assert plan.steps[0].text.startswith("scontrol update NodeName=gpu0 State=DRAIN")
    assert list(await one.found()) == [target]


async def test_a_node_that_is_down_is_left_alone_until_it_is_up(slurm, clock):
    slurm.nodes["gpu0"] = FakeNode({"DOWN"}, "bad board")
    one = adapter(slurm, clock)
    plan, marks = await obey(one, NODE, wanted(NODE), {})
    assert (plan.steps, marks) == ((), {})
    assert "bad board" in plan.text
    slurm.nodes["gpu0"] = FakeNode({"IDLE"})
    plan, marks = await obey(one, NODE, wanted(NODE), marks)
    assert list(marks) == ["drain"]


@pytest.mark.parametrize(("after_s", "again"), [(2.0, True), (600.0, False)])
async def test_only_a_drain_that_a_controller_forgot_when_it_was_killed_is_set_again(
    after_s, again, slurm, clock
):
    one = adapter(slurm, clock)
    _, marks = await obey(one, NODE, wanted(NODE), {})
    slurm.nodes["gpu0"] = FakeNode({"IDLE"})
    clock.pass_time(after_s)
    slurm.boot = stamp_of(clock)
    clock.pass_time(30)
    plan, _ = await obey(one, NODE, wanted(NODE), marks)
    assert bool(plan.steps) == again


def stamp_of(clock):
    return datetime.fromtimestamp(clock.utc_ns() // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")


async def test_a_release_gives_back_only_the_drain_and_no_node_that_is_down(slurm, clock):
    one = adapter(slurm, clock)
    _, marks = await obey(one, NODE, wanted(NODE), {})
    plan = await one.plan(NODE, FREE, marks)
    assert [step.text for step in plan.steps] == ["scontrol update NodeName=gpu0 State=UNDRAIN"]


async def test_a_pace_is_nothing_that_slurm_sets(slurm, clock):
    plan, marks = await obey(adapter(slurm, clock), NODE, wanted(NODE, "RUN", 0.7), {})
    assert (plan.steps, marks) == ((), {})
    assert plan.text == "a pace of 0.70 is nothing that Slurm could set"


async def test_without_a_signal_no_job_gets_one(slurm, clock):
    await obey(adapter(slurm, clock), JOB, wanted(JOB), {})
    assert not any(argv[0] == "scancel" for argv in slurm.given)


async def test_a_job_has_its_time_for_the_checkpoint_and_is_signalled_once(slurm, clock):
    one = adapter(slurm, clock, checkpoint_signal="USR1", checkpoint_s=60.0)
    plan, marks = await obey(one, JOB, wanted(JOB), {})
    assert plan.again_s == 60.0
    clock.pass_time(20)
    plan, marks = await obey(one, JOB, wanted(JOB), marks)
    assert (plan.steps, plan.again_s) == ((), pytest.approx(40.0, abs=1.0))
    clock.pass_time(41)
    _, marks = await obey(one, JOB, wanted(JOB), marks)
    assert slurm.jobs[7].state == "SUSPENDED"
    assert [argv[0] for argv in slurm.given].count("scancel") == 1
    _, marks = await obey(one, JOB, FREE, marks)
    assert slurm.jobs[7].state == "RUNNING"
    assert marks == {}


async def test_a_clock_that_is_set_back_does_not_make_a_job_wait_for_ever(slurm, clock):
    one = adapter(slurm, clock, checkpoint_signal="USR1")
    _, marks = await obey(one, JOB, wanted(JOB), {})
    clock.jump_utc(-86_400)
    await obey(one, JOB, wanted(JOB), marks)
    assert slurm.jobs[7].state == "SUSPENDED"


async def test_a_job_that_cannot_be_requeued_runs_on_and_it_is_said(slurm, clock):
    slurm.jobs[7].requeueable = False
    plan, marks = await obey(adapter(slurm, clock, on_job_hold="requeue"), JOB, wanted(JOB), {})
    assert (plan.text, plan.steps) == ("job 7 cannot be requeued: it runs on", ())


async def test_a_requeued_job_is_waited_for_and_then_released(slurm, clock):
    one = adapter(slurm, clock, on_job_hold="requeue")
    _, marks = await obey(one, JOB, wanted(JOB), {})
    slurm.jobs[7].state = "COMPLETING"
    plan, marks = await obey(one, JOB, FREE, marks)
    assert plan.again_s
    assert "requeue:7" in marks
    slurm.jobs[7].state = "PENDING"
    _, marks = await obey(one, JOB, FREE, marks)
    assert not slurm.jobs[7].held
    assert marks == {}


async def test_a_job_that_has_ended_leaves_no_mark(slurm, clock):
    one = adapter(slurm, clock)
    _, marks = await obey(one, JOB, wanted(JOB), {})
    del slurm.jobs[7]
    for standing in (wanted(JOB), FREE):
        plan, left = await obey(one, JOB, standing, marks)
        assert (plan.steps, left) == ((), {})


async def test_a_comment_of_somebody_else_is_kept(slurm, clock):
    slurm.jobs[7].admin_comment = "JS1:H4sIA"
    one = adapter(slurm, clock)
    _, marks = await obey(one, JOB, wanted(JOB), {})
    _, marks = await obey(one, JOB, FREE, marks)
    assert slurm.jobs[7].admin_comment == "JS1:H4sIA"
    assert slurm.jobs[7].state == "RUNNING"
    assert marks == {}


@pytest.mark.parametrize("name", ["slurm-", "slurm-7;reboot", "pod-7", "7", "slurm-7_", "user-root"])
async def test_what_is_no_job_of_slurm_gets_no_command(name, slurm, clock):
    target = ("job", name)
    plan, _ = await obey(adapter(slurm, clock), target, wanted(target), {})
    assert (plan.steps, slurm.given) == ((), [])
    assert "no job of Slurm's" in plan.text


async def test_jobs_of_a_held_node_are_left_where_the_node_is_anothers(slurm, clock):
    slurm.nodes["gpu0"] = FakeNode({"MIXED", "DRAIN"}, "new fan, anna")
    plan, _ = await obey(adapter(slurm, clock, on_node_hold="suspend"), NODE, wanted(NODE), {})
    assert plan.steps == ()


async def test_jobs_of_a_held_node_are_suspended_and_resumed_with_it_even_when_they_have_moved_on(
    slurm, clock
):
    slurm.jobs[8] = FakeJob(8, node="gpu1")
    one = adapter(slurm, clock, on_node_hold="suspend")
    _, marks = await obey(one, NODE, wanted(NODE), {})
    assert (slurm.jobs[7].state, slurm.jobs[8].state) == ("SUSPENDED", "RUNNING")
    assert slurm.jobs[7].admin_comment.startswith("thermogate: node/gpu0 suspend 7: ")
    slurm.jobs[7].node = "gpu1"
    _, marks = await obey(one, NODE, FREE, marks)
    assert (slurm.jobs[7].state, slurm.jobs[7].admin_comment, marks) == ("RUNNING", "", {})


async def test_found_tells_drains_and_jobs_that_bear_our_sign_and_no_others(slurm, clock):
    one = adapter(slurm, clock, on_node_hold="suspend")
    slurm.nodes["gpu1"] = FakeNode({"IDLE", "DRAIN"}, "new fan, anna")
    slurm.jobs[8] = FakeJob(8, state="SUSPENDED", admin_comment="by anna")
    await obey(one, NODE, wanted(NODE), {})
    assert {target: set(marks) for target, marks in (await one.found()).items()} == {
        NODE: {"drain", "suspend:7", "sign:7"}
    }


async def test_a_command_that_fails_is_an_error_and_one_that_finds_it_done_is_none(slurm, clock):
    one = adapter(slurm, clock)
    plan = await one.plan(JOB, wanted(JOB), {})
    _, marks = await obey(one, JOB, wanted(JOB), {})
    undo = (await one.plan(JOB, FREE, marks)).steps[0]
    await one.perform(undo)
    await one.perform(undo)
    del slurm.jobs[7]
    with pytest.raises(ActionError):
        await one.perform(plan.steps[-1])


def test_checkpoint_needs_a_signal_and_names_of_nodes_are_not_taken_twice():
    with pytest.raises(ConfigError, match="set checkpoint_signal"):
        load(SchedulerSettings, sets=["slurm.on_node_hold=checkpoint"])
    with pytest.raises(ConfigError, match="two names stand for one"):
        load(SchedulerSettings, sets=['slurm.nodes={a = "n1", b = "n1"}'])
    with pytest.raises(ConfigError, match="checkpoint_signal"):
        load(SchedulerSettings, sets=["slurm.checkpoint_signal=KILL"])
    assert msgspec.structs.asdict(load(SchedulerSettings).slurm)["on_node_hold"] == "leave"


async def test_a_drain_of_a_node_that_was_taken_out_of_its_partition_is_found_and_given_back(slurm, clock):
    one = adapter(slurm, clock)
    _, marks = await obey(one, NODE, wanted(NODE), {})
    slurm.nodes["gpu0"].in_partition = False
    plan, marks = await obey(one, NODE, wanted(NODE), marks)
    assert not plan.steps
    assert "drain" in marks
    assert await one.found() == {NODE: {"drain": Mark()}}
    _, marks = await obey(one, NODE, FREE, marks)
    assert not slurm.nodes["gpu0"].states & {"DRAIN"}
    assert not marks

"""The engine over a fleet: what is held at once, what operators say, who falls silent, and jobs."""

import msgspec
import pytest

from tests.unit.analytics.enginery import Fleet, at_once, of
from tests.unit.analytics.making import NODE, at, event, heating, trace
from thermogate.analytics.config import AnalyticsSettings, BreakerSettings, GateSettings, GroupSettings
from thermogate.analytics.inputs import recompute
from thermogate.core.clock import NS
from thermogate.core.decision import State
from thermogate.core.gate_messages import Override

HOT = heating(to_c=88.0)
COOL = [60.0] * len(HOT)
TEN = [f"n{number}" for number in range(10)]


def word(state, *, kind="node", target=NODE, from_s=0, until_s=100_000, second=0, **more):
    return Override(
        id=f"w{second}",
        kind=kind,
        target=target,
        state=State(state),
        issued_at_ns=at(second),
        from_ns=at(from_s),
        until_ns=at(until_s),
        why="the fan is being changed",
        by="ada",
        **more,
    )


def last_of(fleet, target):
    return next((one for one in reversed(fleet.said) if one.target == target), None)


def test_of_a_fleet_that_overheats_as_one_a_share_is_held_and_the_rest_is_told_in_shadow():
    fleet = Fleet(thermal="enforce").hear(*at_once(TEN, trace(HOT)))
    last = [last_of(fleet, name) for name in TEN]
    assert [one.mode for one in last].count("enforce") == 1
    assert len(fleet.engine.held) == 1
    told = next(one for one in last if one.mode == "shadow")
    assert told.state == "HOLD"
    assert told.why.endswith("; not enforced: 1 of 10 nodes are held already (10% at most)")
    assert [recompute(inputs) for inputs in fleet.inputs] == fleet.said


def test_what_is_let_go_makes_room_for_the_next():
    fleet = Fleet(thermal="enforce").hear(*at_once(["n0", "n1"], trace(HOT)))
    first, second = fleet.engine.held, {"n0", "n1"} - fleet.engine.held
    calm, hot = [60.0] * 200, [89.0] * 200
    start = len(HOT)
    for cooled, heated in zip(
        of(next(iter(first)), trace(calm, start=start)),
        of(next(iter(second)), trace(hot, start=start)),
        strict=True,
    ):
        fleet.hear(cooled, heated)
    assert fleet.engine.held == second
    assert last_of(fleet, next(iter(second))).mode == "enforce"


def test_a_rack_has_a_bound_of_its_own():
    settings = AnalyticsSettings(
        breaker=BreakerSettings(fleet_share=1.0, group_share=0.4),
        groups=(GroupSettings(name="rack1", nodes=("n[0-4]",)),),
    )
    fleet = Fleet(settings=settings, thermal="enforce").hear(*at_once(TEN, trace(HOT)))
    assert len(fleet.engine.held) == 2 + 5
    assert "of 5 nodes of rack1 are held already" in " ".join(one.why for one in fleet.said)


def test_an_operator_holds_a_node_at_once_and_lets_it_go_at_once():
    fleet = Fleet(thermal="enforce").hear(*trace([50.0] * 5))
    fleet.engine.on_override(word("HOLD"))
    (hold,) = fleet.take().said
    assert (hold.state, hold.mode, hold.policy) == ("HOLD", "enforce", "operator")
    assert hold.why == "the fan is being changed (ada, until 2025-11-22 11:46 UTC)"
    fleet.tick(61)
    assert fleet.states() == ["HOLD", "HOLD"]
    fleet.engine.on_override(word("RUN", until_s=66, second=66))
    assert fleet.take().states() == ["HOLD", "HOLD", "RUN"]
    fleet.engine.on_override(word("HOLD"))  # somebody has kept it
    assert fleet.take().states() == ["HOLD", "HOLD", "RUN"]
    assert [recompute(inputs) for inputs in fleet.inputs] == fleet.said


def test_a_word_about_a_node_that_nobody_has_heard_of_is_obeyed():
    fleet = Fleet(thermal="enforce")
    fleet.engine.on_override(word("REPAIR", target="n99"))
    assert [(one.target, one.state) for one in fleet.take().said] == [("n99", "REPAIR")]


@pytest.mark.parametrize("kind", ["group", "fleet"])
def test_a_word_about_a_group_or_the_fleet_reaches_its_nodes_and_a_word_of_their_own_goes_before(kind):
    settings = AnalyticsSettings(groups=(GroupSettings(name="all", nodes=("n*",)),))
    fleet = Fleet(settings=settings, thermal="enforce")
    fleet.hear(*at_once(["n0", "n1", "n2"], trace([50.0])))
    fleet.engine.on_override(word("HOLD", kind=kind, target="all"))
    fleet.engine.on_override(word("RUN", target="n1", second=1))
    fleet.take()
    assert [last_of(fleet, name).state for name in ("n0", "n1", "n2")] == ["HOLD", "RUN", "HOLD"]


def test_a_maintenance_window_begins_and_ends_by_the_clock_and_keeps_what_is_held():
    fleet = Fleet(thermal="enforce").hear(*trace(HOT))
    assert fleet.engine.held == {NODE}
    begins = len(HOT) + 10
    fleet.engine.on_override(word("SYNC", from_s=begins, until_s=begins + 30))
    for second in range(len(HOT), len(HOT) + 150):
        fleet.hear(*trace([89.0], start=second)).tick(0)
        fleet.engine.tick()
        fleet.take()
        assert fleet.engine.held == {NODE}
    changes = [
        one.state
        for one, before in zip(fleet.said, [None, *fleet.said], strict=False)
        if before is None or one.state is not before.state
    ]
    assert changes == ["HOLD", "SYNC", "HOLD"]


def test_a_run_of_an_operator_sets_the_policies_aside_until_it_ends():
    fleet = Fleet(thermal="enforce")
    fleet.engine.on_override(word("RUN", until_s=len(HOT) + 60))
    fleet.hear(*trace(HOT))
    assert fleet.said == []
    fleet.hear(*trace([89.0] * 70, start=len(HOT)))
    assert fleet.states()[0] == "HOLD"
    assert fleet.said[0].issued_at_ns >= at(len(HOT) + 60)


def test_a_held_node_that_falls_silent_is_kept_then_let_go():
    fleet = Fleet(thermal="enforce").hear(*trace(HOT))
    fleet.tick(31)
    sync = fleet.said[-1]
    assert sync.state == "HOLD"  # the dwell
    fleet.tick(60)
    sync = fleet.said[-1]
    assert (sync.state, sync.policy, sync.mode) == ("SYNC", "engine", "enforce")
    fleet.tick(1800)
    run = fleet.said[-1]
    assert run.state == "RUN"
    assert fleet.engine.held == frozenset()
    gaps = [
        after.issued_at_ns - before.expires_at_ns
        for before, after in zip(fleet.said, fleet.said[1:], strict=False)
    ]
    assert max(gaps) < 0
    assert [recompute(inputs) for inputs in fleet.inputs] == fleet.said


def test_when_this_end_was_away_nobody_counts_as_silent():
    fleet = Fleet(thermal="enforce").hear(*trace(HOT))
    fleet.clock.pass_time(100)
    fleet.engine.reconnected()
    fleet.tick(20)
    assert "SYNC" not in fleet.states()


def test_what_was_let_go_six_times_within_an_hour_stays_held():
    settings = AnalyticsSettings(gate=GateSettings(eased_most_count=2))
    fleet, second = Fleet(settings=settings, thermal="enforce"), 0
    for _ in range(6):
        fleet.hear(*trace([*HOT, *[60.0] * 130], start=second))
        second += len(HOT) + 130
    assert fleet.states().count("RUN") == 2
    assert fleet.said[-1].state == "HOLD"
    assert fleet.said[-1].why.startswith("let go 2 times within an hour: HOLD stays until ")
    assert [recompute(inputs) for inputs in fleet.inputs] == fleet.said


def test_after_a_restart_the_times_it_was_let_go_are_known_from_the_store():
    settings = AnalyticsSettings(gate=GateSettings(eased_most_count=1))
    before = Fleet(settings=settings, thermal="enforce").hear(*trace([*HOT, *[60.0] * 130]))
    assert before.states()[-1] == "RUN"
    after = Fleet(settings=settings, thermal="enforce")
    after.follow(before.clock.utc_ns())
    after.engine.on_history(before.said)
    start = len(HOT) + 130
    after.hear(*trace([*HOT, *[60.0] * 130], start=start))
    assert after.states()[-1] == "HOLD"


def test_a_gate_that_learns_from_the_past_says_nothing_and_knows_it_afterwards():
    fleet = Fleet(thermal="enforce")
    fleet.engine.learn(on=True)
    fleet.hear(*trace(HOT))
    assert fleet.said == []
    fleet.engine.learn(on=False)
    assert fleet.hear(*trace([88.0], start=len(HOT))).states() == ["HOLD"]


def job_event(kind, second, *, node=NODE, device="0", job="slurm:7", **data):
    began = event(second, kind, device=f"gpu{device}")
    told = {"job": job, "manager": "slurm", "user": "ada", **data}
    return msgspec.structs.replace(began, node=node, data=told)


def test_a_job_is_known_by_its_devices_until_it_ends():
    fleet = Fleet(thermal="shadow")
    fleet.hear(
        *at_once(["n0", "n1"], trace([50.0])),
        job_event("job_began", 1, node="n0"),
        job_event("job_began", 1, node="n1"),
    )
    devices = fleet.engine._jobs.devices("slurm-7")
    assert [(one.node, one.device, one.user) for one in devices] == [
        ("n0", "gpu0", "ada"),
        ("n1", "gpu0", "ada"),
    ]
    fleet.hear(job_event("job_ended", 2, node="n0"))
    assert len(fleet.engine._jobs.devices("slurm-7")) == 1
    fleet.hear(job_event("job_ended", 0, node="n1"))
    assert "slurm-7" in fleet.engine._jobs  # an end of before it began
    ended = msgspec.structs.replace(event(9, "job_ended", device=""), node="n1", data={"job": "all"})
    fleet.hear(ended)
    assert "slurm-7" not in fleet.engine._jobs


def test_a_node_that_invents_jobs_leaves_room_for_those_of_others():
    fleet = Fleet(thermal="shadow")
    for number in range(3000):
        fleet.engine.on_event(job_event("job_began", 1, node="n0", job=f"slurm:{number}"))
    assert len(fleet.engine._jobs) == 1024
    fleet.hear(job_event("job_began", 2, node="n1", job="slurm:9999"))
    assert "slurm-9999" in fleet.engine._jobs
    fleet.hear(
        job_event("job_ended", 3, node="n0", job="slurm:0"), job_event("job_began", 4, node="n0", job="new")
    )
    assert len(fleet.engine._jobs) == 1025
    everything = msgspec.structs.replace(event(9, "job_ended", device=""), node="n0", data={"job": "all"})
    fleet.hear(everything)
    assert list(fleet.engine._jobs) == ["slurm-9999"]


def test_an_operator_holds_a_job_by_its_name():
    fleet = Fleet(thermal="shadow").hear(*trace([50.0]), job_event("job_began", 0))
    fleet.engine.on_override(word("HOLD", kind="job", target="slurm-7"))
    (hold,) = fleet.take().said
    assert (hold.kind, hold.target, hold.state) == ("job", "slurm-7", "HOLD")
    taken_back = word("RUN", kind="job", target="slurm-7", until_s=1, second=1)
    fleet.engine.on_override(taken_back)
    assert fleet.tick(1).states() == ["HOLD", "RUN"]


def test_decisions_of_other_thresholds_are_what_would_have_happened():
    fleet = Fleet(thermal="enforce").hear(*trace(HOT))
    hold = fleet.said[0]
    assert recompute(fleet.inputs[0]) == hold
    stricter = msgspec.structs.replace(
        AnalyticsSettings(),
        thermal=msgspec.structs.replace(AnalyticsSettings().thermal, heat_near_c=0.5, heat_at_limit_c=0.1),
    )
    assert recompute(fleet.inputs[0], stricter).state == "RUN"


def test_signals_are_told_every_so_often():
    fleet, told = Fleet(thermal="shadow"), []
    for sample in trace([50.0] * 45, power_w=300.0, power_limit_w=400.0, rle=0.5):
        fleet.follow(sample.time_ns)
        fleet.engine.on_points(NODE, [sample])
        told += fleet.engine.take().signals
    assert 3 <= len(told) <= 5
    assert told[0].node == NODE
    assert (told[-1].time_ns - told[0].time_ns) / NS >= 20

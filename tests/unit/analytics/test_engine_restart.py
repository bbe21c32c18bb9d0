"""What a gate that starts again does before anybody has spoken, and what stands while nobody speaks."""

from itertools import pairwise

import msgspec

from tests.unit.analytics.enginery import Fleet
from tests.unit.analytics.making import NODE, at, event, heating, point, trace
from tests.unit.analytics.test_engine_fleet import job_event, last_of, word
from thermogate.analytics.combine import Case, Kept, Said, combine
from thermogate.analytics.config import AnalyticsSettings, GateSettings, GroupSettings
from thermogate.analytics.inputs import recompute
from thermogate.analytics.policies.base import Verdict
from thermogate.core.decision import Cjp, State

HOT = heating(to_c=88.0)


def restarted(fleet, *, down_s, settings=None, **modes):
    """Another gate, with what the audit log has, after `down_s`."""
    after = Fleet(settings=settings, **(modes or {"thermal": "enforce", "hardware": "enforce"}))
    after.follow(fleet.clock.utc_ns())
    after.clock.pass_time(down_s)
    for decision in {(one.kind, one.target): one for one in fleet.said}.values():
        after.engine.on_retained(decision)
    return after


def unbroken(*fleets):
    """Whether each decision was said before the one before it expired."""
    said = [one for fleet in fleets for one in fleet.said]
    return all(after.issued_at_ns < before.expires_at_ns for before, after in pairwise(said))


def test_a_hold_stands_after_a_restart_though_its_node_has_not_spoken_yet():
    before = Fleet(thermal="enforce").hear(*trace(HOT))
    after = restarted(before, down_s=70).tick(200)
    assert set(after.states()) == {"HOLD", "SYNC"}
    assert after.engine.held == {NODE}
    assert unbroken(before, after)
    assert [recompute(inputs) for inputs in after.inputs] == after.said


def test_a_policy_that_was_switched_off_meanwhile_holds_nobody():
    before = Fleet(thermal="enforce").hear(*trace(HOT))
    after = restarted(before, down_s=70, hardware="enforce").tick(2)
    assert after.states() == ["RUN"]


def test_a_node_that_is_switched_off_for_repair_stays_so_over_a_restart():
    cool = trace([50.0] * 40, start=10, device="cpu0")
    before = Fleet(hardware="enforce").hear(event(10, "gpu_lost"), *cool).tick(300)
    assert before.states()[-1] == "SYNC"
    after = restarted(before, down_s=70).tick(2500)
    assert set(after.states()) == {"SYNC"}  # beyond the half hour of a HOLD
    assert unbroken(before, after)
    after.hear(*trace([50.0] * 150, start=10 + 40 + 300 + 70 + 2500))
    assert after.states()[-1] == "RUN"


def test_what_an_operator_holds_is_not_let_go_before_his_word_has_come_again():
    before = Fleet(thermal="enforce").hear(*trace([50.0] * 3))
    before.engine.on_override(word("HOLD"))
    after = restarted(before.take(), down_s=5)
    after.hear(*trace([50.0] * 20, start=8)).tick(20)
    assert after.said == []
    after.engine.on_override(word("HOLD"))
    assert after.tick(30).states() == ["HOLD"]
    assert unbroken(before, after)


def test_what_an_operator_took_back_while_the_gate_was_down_is_let_go_at_once():
    before = Fleet(thermal="enforce").hear(*trace([50.0] * 3))
    before.engine.on_override(word("HOLD"))
    after = restarted(before.take(), down_s=5)
    after.engine.on_override(word("RUN", second=4, until_s=4))
    assert after.take().states() == ["RUN"]


def test_a_word_that_never_comes_again_is_not_renewed():
    before = Fleet(thermal="enforce").hear(*trace([50.0] * 3))
    before.engine.on_override(word("HOLD"))
    after = restarted(before.take(), down_s=5).tick(200)
    assert after.said == []
    assert after.engine.held == frozenset()


def test_an_operator_takes_back_what_was_let_go_too_often():
    settings = AnalyticsSettings(gate=GateSettings(eased_most_count=2))
    fleet = Fleet(settings=settings, thermal="enforce").hear(*trace([50.0] * 3))
    for second in (10, 20, 30):
        fleet.engine.on_override(word("HOLD", second=second))
        fleet.engine.on_override(word("RUN", second=second + 1, until_s=1))
        fleet.take()
    assert fleet.states() == ["HOLD", "RUN"] * 3


def verdict(state, pace=0.5):
    return Verdict(State(state), pace, "why", (), Cjp("", "", ""))


def test_what_stays_in_shadow_does_not_go_before_what_is_enforced():
    kept = Kept(State.REPAIR, 0.0, "shadow", "hardware", 1, 6, at(100))
    said = (
        Said("hardware", 1, "shadow", verdict("RUN", 1.0)),
        Said("thermal", 2, "enforce", verdict("HOLD")),
    )
    ruling = combine(Case(said=said, by="hardware", kept=kept))
    assert (ruling.policy, ruling.mode) == ("thermal", "enforce")


def test_nothing_stays_for_a_policy_that_is_no_longer_enforced():
    kept = Kept(State.HOLD, 0.5, "enforce", "thermal", 2, 6, at(100))
    said = (Said("thermal", 2, "shadow", verdict("RUN", 1.0)),)
    assert combine(Case(said=said, by="thermal", kept=kept)).verdict.state is State.RUN


CAPPED = AnalyticsSettings(
    groups=(
        GroupSettings(name="feed", nodes=("n*",), power_cap_w=2000.0),
        GroupSettings(name="row", nodes=("n1", "n2"), power_cap_w=2000.0),
    )
)


def drawing(name, second, power_w, *, ahead_s=0.0):
    sample = point(second + ahead_s, power_w=power_w, power_limit_w=700.0, temp_c=50.0)
    return [msgspec.structs.replace(sample, node=name)]


def test_a_silent_node_of_a_capped_group_that_was_let_go_is_not_held_again():
    settings = msgspec.structs.replace(CAPPED, gate=GateSettings(silent_most_s=200.0))
    fleet = Fleet(settings=settings, thermal="enforce", power="enforce").hear(*trace(HOT)).tick(1000)
    assert fleet.said[-1].state == "RUN"
    assert fleet.states().count("HOLD") <= 2
    assert fleet.engine.held == frozenset()


def test_one_clock_that_is_ahead_makes_no_node_of_a_capped_group_look_silent():
    fleet = Fleet(settings=CAPPED, power="enforce")
    for second in range(1, 120):
        fleet.follow(at(second))
        for name in ("n1", "n2", "n3", "n4", "n5"):
            fleet.engine.on_points(name, drawing(name, second, 150.0, ahead_s=3600.0 * (name == "n3")))
        fleet.engine.tick()
    assert fleet.take().said == []  # 750 of 2,000 W


def test_a_job_that_was_held_counts_until_its_scheduler_lets_it_go():
    fleet = Fleet(thermal="shadow").hear(*trace([50.0]), job_event("job_began", 0))
    fleet.engine.on_override(word("HOLD", kind="job", target="slurm-7", until_s=20))
    fleet.hear(job_event("job_ended", 5)).tick(1)
    assert fleet.engine._decider.jobs.held == {"slurm-7"}
    fleet.tick(200)
    assert fleet.states() == ["HOLD", "RUN"]
    assert not fleet.engine._job_targets


def test_a_clock_that_jumps_by_an_hour_breaks_no_hold():
    fleet, second = Fleet(thermal="enforce").hear(*trace(HOT)), len(HOT)
    for jump_s in (-3600.0, 3600.0, 3600.0):
        fleet.clock.jump_utc(jump_s)
        for _ in range(130):
            second += 1
            fleet.clock.pass_time(1)
            fleet.engine.on_points(NODE, trace([89.0], start=second))
            fleet.engine.tick()
            assert fleet.engine.held == {NODE}
        assert last_of(fleet.take(), NODE).valid_at(fleet.clock.utc_ns())
    assert set(fleet.states()) == {"HOLD"}
    seqs = [one.seq for one in fleet.said]
    assert seqs == sorted(set(seqs))
    assert [recompute(inputs) for inputs in fleet.inputs] == fleet.said

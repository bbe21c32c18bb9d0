"""The engine over a fleet: late samples, restarts, silence; and what must hold for any trace."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.analytics.enginery import FORGET_S, Fleet
from tests.unit.analytics.making import NODE, START_NS, at, event, heating, point, trace
from thermogate.analytics.config import GateSettings
from thermogate.analytics.inputs import recompute
from thermogate.core.clock import NS
from thermogate.core.decision import State
from thermogate.core.model import DeviceInfo, Event, Status

GATE = GateSettings()
HOT = heating(to_c=86.0)


def held():
    """The decision that holds the hot node."""
    return Fleet().hear(*trace(HOT)).said[-1]


def test_a_hot_node_is_held_and_let_go():
    fleet = Fleet().hear(*trace([*HOT, *[70.0] * 100]))
    assert fleet.states() == ["HOLD", "HOLD", "RUN"]
    hold, renewed, run = fleet.said
    assert renewed.issued_at_ns - hold.issued_at_ns == 60 * NS
    assert run.why.endswith("work may go on after 65 s of HOLD")


def test_nodes_are_decided_on_their_own():
    fleet = Fleet()
    for sample in trace(HOT):
        cool = msgspec.structs.replace(sample, node="n18", fields={**sample.fields, "temp_c": 50.0})
        fleet.hear(sample, cool)
    assert [(decision.target, decision.state) for decision in fleet.said] == [(NODE, "HOLD")]


def test_a_replayed_node_says_so():
    replayed = [msgspec.structs.replace(sample, origin="replay") for sample in trace(HOT)]
    assert Fleet().hear(*replayed).said[0].why.endswith("look at the cooling (replay)")


def test_samples_of_the_agent_itself_are_not_looked_at():
    own = msgspec.structs.replace(point(0, temp_c=1000.0), measurement="agent")
    assert Fleet().hear(own).said == []


def test_the_limits_of_the_inventory_are_kept_across_an_offline_status():
    devices = (DeviceInfo(kind="gpu", device="0", model="x", temp_limit_c=90.0),)
    fleet = Fleet()
    fleet.engine.on_status(Status(node=NODE, online=True, time_ns=START_NS, devices=devices))
    fleet.engine.on_status(Status(node=NODE, online=False, time_ns=START_NS))
    assert fleet.hear(*trace(HOT, temp_limit_c=None)).states() == ["HOLD"]


def test_a_hold_whose_node_falls_silent_is_not_renewed():
    fleet = Fleet().hear(*trace(HOT))
    fleet.clock.pass_time(300)
    assert fleet.states() == ["HOLD"]
    assert not fleet.said[-1].valid_at(fleet.clock.utc_ns())


def test_a_hold_of_a_node_that_comes_back_hot_is_said_again():
    fleet = Fleet().hear(*trace(HOT))
    fleet.hear(*trace([89.0] * 30, start=400))
    assert fleet.states() == ["HOLD", "HOLD"]
    assert fleet.said[1].supersedes == fleet.said[0].id


def test_a_silent_node_is_forgotten():
    fleet = Fleet().hear(*trace([50.0] * len(HOT)))
    other = [msgspec.structs.replace(sample, node="n18") for sample in trace([50.0] * 2, start=99 + 600)]
    fleet.hear(other[0])
    assert len(fleet.engine) == 2
    fleet.clock.pass_time(10)
    fleet.hear(other[1]).tick(1)
    assert len(fleet.engine) == 1


def test_a_node_whose_clock_was_ahead_is_heard_again_once_it_is_forgotten():
    fleet = Fleet().hear(point(10_000, temp_c=50.0))
    late = trace(HOT)
    assert fleet.hear(*late).said == []
    fleet.clock.pass_time(600)
    fleet.tick(1)
    assert fleet.hear(*late).states() == ["HOLD"]


def test_an_event_of_a_clock_that_was_ahead_changes_nothing_for_the_samples():
    ahead = event(86_400, "collapse_began")
    fleet = Fleet()
    for sample in trace(HOT):
        fleet.hear(sample)
        fleet.engine.on_event(ahead)
    assert fleet.states() == ["HOLD"]


def restarted(decision, *, second):
    fleet = Fleet()
    fleet.follow(at(second))
    fleet.engine.on_retained(decision)
    return fleet


def test_after_a_restart_a_hold_goes_on_until_its_own_release():
    before = held()
    fleet = restarted(before, second=110)
    fleet.hear(*trace([88.0] * 10, start=110))
    assert fleet.said == []
    fleet.hear(*trace([70.0] * 100, start=120))
    renewed, run = fleet.said
    assert (renewed.state, run.state) == ("HOLD", "RUN")
    assert renewed.supersedes == before.id
    assert renewed.seq > before.seq
    assert renewed.why == before.why
    assert run.why == (
        "gpu0 is at 70 C and has kept at least 5 C and 120 s from its limit of 90 C for 60 s (RUN at 60 s): "
        f"work may go on after {(run.issued_at_ns - before.issued_at_ns) // NS} s of HOLD"
    )


def test_after_a_restart_a_repair_goes_on_until_the_gpu_answers():
    lost = Fleet().hear(event(10, "gpu_lost"), *trace([50.0] * 40, start=10, device="cpu0"))
    assert lost.states() == ["REPAIR"]
    fleet = restarted(lost.said[0], second=60)
    fleet.hear(*trace([50.0] * 100, start=60, device="cpu0"))
    assert set(fleet.states()) == {"REPAIR"}
    fleet.hear(*trace([50.0] * 70, start=160))
    assert fleet.states()[-1] == "RUN"


@pytest.mark.parametrize(
    "change",
    [{"policy": "power"}, {"kind": "job"}, {"expires_at_ns": START_NS}, {"state": State.RUN}],
    ids=lambda change: next(iter(change)),
)
def test_a_retained_decision_that_is_not_a_hold_of_this_policy_in_force_holds_nothing(change):
    fleet = restarted(msgspec.structs.replace(held(), **change), second=110)
    fleet.hear(*trace([88.0] * 20, start=110))
    assert fleet.said == []


def test_reasons_of_a_newer_version_that_this_one_does_not_know_are_left_out():
    before = held()
    unknown = tuple(msgspec.structs.replace(reason, metric="volts") for reason in before.because)
    fleet = restarted(msgspec.structs.replace(before, because=unknown), second=110)
    assert fleet.hear(*trace([60.0] * 60, start=110)).states() == ["RUN"]


def test_a_retained_decision_does_not_undo_what_was_decided_since():
    fleet = Fleet().hear(*trace(HOT))
    state = fleet.engine._nodes[NODE].gate
    fleet.engine.on_retained(held())
    assert fleet.engine._nodes[NODE].gate == state


# What must hold for any trace: spells of samples at 1 Hz, with events and silence between them.

DEVICES = st.sampled_from(["gpu0", "gpu1", "cpu0"])
TEMPS = st.sampled_from([None, 40, 75, 80, 84, 86, 88, 89, 95])
SAMPLES = st.tuples(
    st.integers(1, 120), DEVICES, TEMPS, TEMPS, st.sampled_from([0.0, 0.9]), st.sampled_from([0, 0, 10, 20])
)
"""(seconds, device, temperature at the beginning and at the end, utilization, a collapse every so often)"""
EVENTS = st.tuples(
    st.sampled_from(["gpu_lost", "gpu_back", "driver_hung", "driver_back", "collapse_began"]),
    st.sampled_from(["gpu0", "gpu1", ""]),
)
SPELLS = st.lists(st.one_of(SAMPLES, SAMPLES, EVENTS, st.integers(1, 400)), min_size=4, max_size=15)


def played(spells):
    heard, now_s = [], 0
    for spell in spells:
        if isinstance(spell, int):
            now_s += spell
        elif len(spell) == 2:
            now_s += 1
            heard.append(event(now_s, spell[0], device=spell[1]))
        else:
            heard += samples(now_s, *spell)
            now_s += spell[0]
    return heard


def samples(start_s, count, device, from_c, to_c, util_ratio, collapse_every):
    for n in range(1, count + 1):
        temp_c = None if from_c is None or to_c is None else from_c + (to_c - from_c) * n / count
        collapse = float(n % collapse_every < 5) if collapse_every else None
        yield point(start_s + n, device=device, temp_c=temp_c, util_ratio=util_ratio, collapse=collapse)


def test_the_generated_traces_reach_every_state_and_reason():
    hot = [(80, "gpu0", 80, 89, 0.9, 20)] * 2
    fleet = Fleet().hear(*played([*hot, ("gpu_lost", "gpu0"), (80, "cpu0", 50, 50, 0.0, 0)]))
    assert fleet.states()[-1] == "REPAIR"
    assert {reason.metric for decision in fleet.said for reason in decision.because} >= {
        "temp_c",
        "collapse",
        "gpu_lost_s",
    }


@given(SPELLS)
@settings(max_examples=60, deadline=None)
def test_no_trace_makes_the_gate_change_its_mind_within_the_dwell_but_for_repair(spells):
    said = Fleet().hear(*played(spells)).said
    assert not said or said[0].state is not State.RUN
    changed_at_ns = -(10**18)
    for before, after in zip([None, *said], said, strict=False):
        if before is not None and (before.state, before.pace) == (after.state, after.pace):
            continue
        urgent = after.state is State.REPAIR and before is not None and before.state is not State.REPAIR
        assert urgent or after.issued_at_ns - changed_at_ns >= GATE.dwell_s * NS
        changed_at_ns = after.issued_at_ns


@given(SPELLS)
@settings(max_examples=60, deadline=None)
def test_every_decision_expires_counts_up_names_its_predecessor_and_can_be_undone(spells):
    before = None
    for decision in Fleet().hear(*played(spells)).said:
        assert decision.expires_at_ns > decision.issued_at_ns
        assert decision.why
        assert (decision.state is State.RUN) == (decision.cjp.path == "")
        assert 0.0 <= decision.pace <= 1.0
        assert (decision.pace == 0.0) == (decision.state is State.REPAIR)
        forgotten = before is None or decision.issued_at_ns - before.issued_at_ns >= FORGET_S * NS
        assert decision.supersedes == (before.id if before else "") or (forgotten and not decision.supersedes)
        assert before is None or decision.seq > before.seq
        before = decision


@given(SPELLS)
@settings(max_examples=40, deadline=None)
def test_whatever_happened_a_node_that_is_well_runs_again(spells):
    heard = played(spells)
    fleet = Fleet().hear(*heard)
    end_s = (heard[-1].time_ns - START_NS) / NS if heard else 0
    for second in range(1, 400):
        when = end_s + second
        fleet.hear([point(when, device=name, temp_c=40.0, collapse=0.0) for name in ("gpu0", "gpu1", "cpu0")])
    last = fleet.said[-1] if fleet.said else None
    assert last is None or last.state is State.RUN or not last.valid_at(fleet.clock.utc_ns())
    assert fleet.engine._nodes[NODE].states["thermal"].standing.alarms == {}


@given(SPELLS)
@settings(max_examples=40, deadline=None)
def test_every_decision_can_be_made_again_from_its_inputs_to_the_last_byte(spells):
    fleet = Fleet(thermal="enforce", hardware="shadow").hear(*played(spells))
    assert [recompute(inputs) for inputs in fleet.inputs] == fleet.said


@given(SPELLS)
@settings(max_examples=40, deadline=None)
def test_the_same_trace_gives_the_same_decisions_to_the_last_byte(spells):
    assert Fleet().hear(*played(spells)).said == Fleet().hear(*played(spells)).said


@given(SPELLS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_backlog_in_any_order_beside_what_is_live_changes_nothing(spells, random):
    live = played(spells)
    mixed = []
    for number, item in enumerate(live):
        mixed.append(item)
        seen = [sample for sample in live[: number + 1] if not isinstance(sample, Event)]
        old = random.sample(seen, min(len(seen), random.randrange(4)))
        hotter = [
            msgspec.structs.replace(sample, fields={**sample.fields, "temp_c": 200.0}) for sample in old
        ]
        mixed += [[sample] for sample in hotter]
    assert Fleet().hear(*mixed).said == Fleet().hear(*live).said

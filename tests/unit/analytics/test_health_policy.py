"""The health policy: bounds, the time on end to fire and to release, words, restart and replay."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.analytics.signal_traces import at
from thermogate.analytics.config import HealthSettings
from thermogate.analytics.policies import health
from thermogate.analytics.policies.base import Observation, Verdict
from thermogate.core.decision import GateDecision, State
from thermogate.core.gate_messages import DeviceSignals

CALM = {"overload": 0.5, "incoherence": 0.05, "repair_severity": 0.1}
ILL = {"overload": 4.0, "incoherence": 0.5, "repair_severity": 0.6}
STATES = {"overload": State.HOLD, "incoherence": State.SYNC, "repair_severity": State.REPAIR}
FIRES_S = {"overload": 60, "incoherence": 60, "repair_severity": 600}
RELEASES_S = {"overload": 300, "incoherence": 120, "repair_severity": 600}


class Watched:
    """One node under the health policy alone."""

    def __init__(self, **bounds: float) -> None:
        self.params = HealthSettings(**bounds)
        self.state = health.initial()
        self.second = 0
        self.verdict: Verdict | None = None

    def see(self, seconds: int, *, device: str = "gpu0", **signals: float | None) -> Verdict:
        """So many seconds of these signals of one device; those that are not named are calm."""
        for _ in range(seconds):
            self.look(DeviceSignals(device=device, volatility=0.8, **{**CALM, **signals}))
        return self.verdict

    def look(self, *signals: DeviceSignals) -> Verdict:
        """One second."""
        found = {one.device: one for one in signals}
        seen = Observation(target="n17", now_ns=at(self.second), signals=found)
        self.second += 1
        self.state, self.verdict = health.step(self.params, self.state, seen)
        return self.verdict


@pytest.fixture
def node() -> Watched:
    return Watched()


def test_a_calm_node_runs_and_keeps_no_state(node):
    assert node.see(1000).asks is False
    assert node.state == health.initial()


def test_a_node_without_signals_runs(node):
    assert node.look().asks is False
    assert node.look(DeviceSignals(device="gpu0")).asks is False


@pytest.mark.parametrize("signal", ILL)
def test_a_signal_above_its_bound_fires_after_its_time_on_end(node, signal):
    assert node.see(FIRES_S[signal], **{signal: ILL[signal]}).state is State.RUN
    assert node.see(1, **{signal: ILL[signal]}).state is STATES[signal]


@pytest.mark.parametrize("signal", ILL)
def test_one_calm_second_begins_the_time_anew(node, signal):
    node.see(FIRES_S[signal], **{signal: ILL[signal]})
    node.see(1)
    assert node.see(FIRES_S[signal], **{signal: ILL[signal]}).state is State.RUN


def test_a_second_without_the_signal_does_not_begin_the_time_anew_but_a_gap_does(node):
    node.see(30, overload=4.0)
    node.see(5, overload=None)
    assert node.see(30, overload=4.0).state is State.HOLD
    other = Watched()
    other.see(30, overload=4.0)
    other.see(40, overload=None)
    assert other.see(40, overload=4.0).state is State.RUN


@pytest.mark.parametrize("signal", ILL)
def test_it_is_released_when_it_has_been_at_its_release_bound_for_its_time_on_end(node, signal):
    node.see(FIRES_S[signal] + 1, **{signal: ILL[signal]})
    assert node.see(RELEASES_S[signal]).state is STATES[signal]
    verdict = node.see(1)
    assert verdict.state is State.RUN
    assert f"(RUN at {RELEASES_S[signal]} s)" in verdict.why
    assert verdict.because[0].metric == signal
    assert verdict.because[0].value == CALM[signal]


def test_an_observation_without_the_signal_does_not_begin_the_release_anew(node):
    node.see(61, overload=4.0)
    for _ in range(10):
        node.see(29)
        assert node.look().state is State.HOLD
    assert node.see(2).state is State.RUN


@pytest.mark.parametrize("signal", ILL)
def test_between_the_bounds_what_stands_stays_and_nothing_begins(node, signal):
    name = signal.removeprefix("repair_")
    between = (getattr(node.params, f"{name}_bound") + getattr(node.params, f"{name}_release")) / 2
    assert node.see(2000, **{signal: between}).state is State.RUN
    node.see(FIRES_S[signal] + 1, **{signal: ILL[signal]})
    assert node.see(2000, **{signal: between}).state is STATES[signal]


def test_a_hold_lets_go_when_its_signal_is_gone_and_a_repair_only_after_a_day(node):
    node.see(601, **ILL)
    assert node.verdict.state is State.REPAIR
    node.see(200, overload=None, incoherence=None, repair_severity=None)
    assert [stands.rule for stands in node.state.alarms.values()] == ["repair_severity"]
    node.second += 86_400
    assert node.look(DeviceSignals(device="gpu0")).state is State.RUN
    assert "has not been known for 86400 s" in node.verdict.why


def test_repair_goes_before_sync_before_hold_and_the_least_pace_is_asked_for(node):
    assert node.see(61, overload=4.0).pace == 0.8
    both = node.see(61, overload=4.0, incoherence=0.5)
    assert (both.state, both.pace) == (State.SYNC, 0.8)
    everything = node.see(601, **ILL)
    assert (everything.state, everything.pace) == (State.REPAIR, 0.0)
    assert {reason.metric for reason in everything.because} == {*ILL, "volatility"}


def test_a_sync_alone_changes_no_pace(node):
    assert node.see(61, incoherence=0.5).pace == 1.0


def test_the_words_for_overload(node):
    verdict = node.see(61, overload=4.0)
    assert verdict.why == (
        "gpu0 is in overload, 4.00 (HOLD above 2 for 60 s), as its efficiency (RLE) varies by 80% of its "
        "usual level at a load of 6.2 times its thermal headroom: start nothing new here, keep to 0.8 of "
        "full power and look at the cooling"
    )
    assert verdict.cjp.path == "RUN when the overload of gpu0 has been 1 or less for 300 s on end"


def test_the_words_for_a_straggler_name_it(node):
    verdict = node.see(61, device="gpu5", incoherence=0.5)
    assert verdict.why == (
        "gpu5 is out of step with its job: its power is 50% off what is usual at the job's pace (SYNC above "
        "20% for 60 s): keep what runs here, and see whether it is slowed down, waits for data, or has other "
        "work"
    )


def test_the_words_for_repair_tell_a_way_out_for_a_node_that_has_no_load(node):
    verdict = node.see(601, repair_severity=0.62)
    assert verdict.why == (
        "gpu0 runs 62% hotter above the air than at this load when healthy (REPAIR above 40% for 600 s): "
        "drain this node, then look at the fan, the heat sink and the air before it"
    )
    assert "run a burn-in, or take it back as operator" in verdict.cjp.path


def test_the_gravest_is_told_and_the_others_are_named(node):
    for _ in range(61):
        verdict = node.look(
            DeviceSignals(device="gpu1", incoherence=0.3), DeviceSignals(device="gpu6", incoherence=0.9)
        )
    assert verdict.why.startswith("gpu1 is out of step with its job")
    assert "(also gpu6)" in verdict.why


def test_what_was_held_before_a_restart_stays_held_with_the_same_words_until_it_is_calm(node):
    verdict = node.see(601, **ILL)
    resumed = Watched()
    resumed.state, resumed.second = health.resume(_decision(verdict)), node.second
    again = resumed.see(1, **ILL)
    assert (again.state, again.pace, again.why) == (verdict.state, verdict.pace, verdict.why)
    assert again.because[0].since_ns == verdict.because[0].since_ns
    assert resumed.see(601).state is State.RUN


def test_a_run_before_a_restart_resumes_as_nothing(node):
    node.see(61, overload=4.0)
    assert health.resume(_decision(node.see(301))) == health.initial()


def test_the_memory_is_bounded_whatever_devices_are_told():
    node = Watched()
    for second in range(100):
        node.look(*(DeviceSignals(device=f"gpu{second % 5}{number}", **ILL) for number in range(300)))
    assert len(node.state.over) <= 256
    assert len(node.state.alarms) <= 512


VALUE = st.one_of(st.none(), st.floats(0.0, 10.0))


@given(st.lists(st.tuples(st.integers(0, 400), VALUE, VALUE, VALUE), max_size=40))
@settings(deadline=None)
def test_its_state_is_carried_by_json_and_a_replay_gives_the_same_verdicts(seen):
    params, second = HealthSettings(), 0
    state = carried = health.initial()
    for passed_s, overload, incoherence, severity in seen:
        second += passed_s
        signals = DeviceSignals(
            device="gpu0",
            volatility=1.0,
            overload=overload,
            incoherence=incoherence,
            repair_severity=severity,
        )
        observation = Observation(target="n17", now_ns=at(second), signals={"gpu0": signals})
        state, verdict = health.step(params, state, observation)
        read = msgspec.json.decode(msgspec.json.encode(observation), type=Observation)
        carried, again = health.step(params, carried, read)
        assert again == verdict
        carried = msgspec.json.decode(msgspec.json.encode(carried), type=health.HealthState)
        assert carried == state


@pytest.mark.parametrize("signal", ["overload", "incoherence", "severity"])
def test_a_release_bound_must_be_below_the_bound(signal):
    with pytest.raises(ValueError, match=f"{signal}_release must be less than {signal}_bound"):
        HealthSettings(**{f"{signal}_bound": 0.1, f"{signal}_release": 0.1})


def _decision(verdict: Verdict) -> GateDecision:
    return GateDecision(
        id="",
        seq=1,
        kind="node",
        target="n17",
        state=verdict.state,
        pace=verdict.pace,
        mode="shadow",
        issued_at_ns=at(0),
        expires_at_ns=at(120),
        policy=health.NAME,
        policy_version=health.VERSION,
        why=verdict.why,
        because=verdict.because,
        cjp=verdict.cjp,
        inputs="",
    )

"""The gate: when a verdict becomes a decision."""

import msgspec
import pytest

from tests.unit.analytics.making import NODE, START_NS, at
from thermogate.analytics import gate
from thermogate.analytics.combine import Ruling
from thermogate.analytics.config import GateSettings
from thermogate.analytics.gate import About, GateState
from thermogate.analytics.policies.base import Verdict
from thermogate.core.decision import Cjp, State

NEW = GateState()
SETTINGS = GateSettings(ttl_s=120.0, renew_share=0.5, dwell_s=60.0)
RUN = Verdict(State.RUN, 1.0, "all is well", (), Cjp("", "", ""))
HOLD = Verdict(State.HOLD, 0.7, "it is hot", (), Cjp("a", "b", "c"))
SLOWER = msgspec.structs.replace(HOLD, pace=0.5)
REPAIR = Verdict(State.REPAIR, 0.0, "it is gone", (), Cjp("a", "b", "c"))


class Spoken:
    """A gate that hears verdicts and keeps what it says."""

    def __init__(self, settings=SETTINGS, state=NEW):
        self.settings = settings
        self.state = state
        self.said = []

    def hear(self, second, verdict, *, mode="shadow", policy="thermal", origin=None):
        ruling = Ruling(verdict, policy, 1, mode)
        if not gate.due(self.settings, self.state, ruling, at(second)):
            return None
        about = About("node", NODE, origin)
        self.state, decision = gate.issue(self.settings, self.state, about, ruling, at(second), "ab")
        self.said.append((second, decision.state, decision.pace))
        return decision


def test_a_target_that_has_always_run_gets_no_decision():
    spoken = Spoken()
    for second in range(1000):
        spoken.hear(second, RUN)
    assert spoken.said == []


def test_a_decision_says_all_that_a_scheduler_needs():
    decision = Spoken().hear(0, HOLD)
    assert (decision.kind, decision.target, decision.state, decision.pace) == ("node", NODE, "HOLD", 0.7)
    assert (decision.mode, decision.policy, decision.policy_version) == ("shadow", "thermal", 1)
    assert (decision.issued_at_ns, decision.expires_at_ns) == (START_NS, at(120))
    assert (decision.why, decision.cjp, decision.inputs) == ("it is hot", HOLD.cjp, "ab")
    assert (decision.schema, decision.supersedes) == ("thermogate/1", "")
    assert len(decision.id) == 26


@pytest.mark.parametrize("origin", ["replay", "simulated"])
def test_what_is_not_measured_now_is_marked_in_the_why_line(origin):
    assert Spoken().hear(0, HOLD, origin=origin).why == f"it is hot ({origin})"


def test_a_standing_verdict_is_said_once_and_renewed_at_half_its_life():
    spoken = Spoken()
    for second in range(181):
        spoken.hear(second, HOLD)
    assert [second for second, *_ in spoken.said] == [0, 60, 120, 180]


def test_each_decision_names_the_one_before_it_and_counts_up():
    spoken = Spoken()
    first, second, third = spoken.hear(0, HOLD), spoken.hear(60, HOLD), spoken.hear(61, RUN)
    assert (second.supersedes, third.supersedes) == (first.id, second.id)
    assert first.seq < second.seq < third.seq


def test_a_change_waits_for_the_dwell_and_a_renewal_does_not_begin_it_again():
    spoken = Spoken()
    for second, verdict in (
        (0, HOLD),
        (59, RUN),
        (60, HOLD),
        (61, RUN),
        (62, HOLD),
        (120, HOLD),
        (121, HOLD),
    ):
        spoken.hear(second, verdict)
    assert spoken.said == [(0, "HOLD", 0.7), (60, "HOLD", 0.7), (61, "RUN", 1.0), (121, "HOLD", 0.7)]


def test_a_new_pace_is_a_change():
    spoken = Spoken()
    for second in range(70):
        spoken.hear(second, SLOWER if second else HOLD)
    assert spoken.said == [(0, "HOLD", 0.7), (60, "HOLD", 0.5)]


def test_repair_does_not_wait_but_leaving_it_does():
    spoken = Spoken()
    spoken.hear(0, HOLD)
    for second in range(10, 80):
        spoken.hear(second, REPAIR if second == 10 else RUN)
    assert spoken.said == [(0, "HOLD", 0.7), (10, "REPAIR", 0.0), (70, "RUN", 1.0)]


def test_a_run_is_not_renewed():
    spoken = Spoken()
    for second, verdict in ((0, HOLD), *((second, RUN) for second in range(60, 1000))):
        spoken.hear(second, verdict)
    assert [state for _, state, _ in spoken.said] == ["HOLD", "RUN"]


def test_switching_to_enforce_says_a_standing_hold_again():
    shadow = Spoken()
    before = shadow.hear(0, HOLD)
    enforce = Spoken(state=gate.recover(SETTINGS, before, at(10)))
    assert enforce.hear(30, HOLD, mode="enforce") is None
    assert enforce.hear(60, HOLD, mode="enforce").mode == "enforce"


def test_after_a_restart_the_retained_decision_goes_on():
    before = Spoken().hear(0, HOLD)
    spoken = Spoken(state=gate.recover(SETTINGS, before, at(30)))
    assert spoken.hear(31, HOLD) is None
    after = spoken.hear(60, RUN)
    assert after.supersedes == before.id
    assert after.seq > before.seq


def test_of_an_expired_decision_only_the_sequence_is_kept():
    before = msgspec.structs.replace(Spoken().hear(0, HOLD), seq=2**52)
    spoken = Spoken(state=gate.recover(SETTINGS, before, at(121)))
    assert spoken.hear(121, RUN) is None
    after = spoken.hear(122, HOLD)
    assert (after.seq, after.supersedes) == (2**52 + 1, "")


def test_the_sequence_grows_across_a_restart_even_when_nothing_was_retained():
    before = Spoken().hear(0, HOLD)
    assert Spoken().hear(1, HOLD).seq > before.seq


def test_a_clock_that_was_set_back_does_not_stop_the_gate():
    spoken = Spoken()
    spoken.hear(3600, HOLD)
    decision = spoken.hear(0, HOLD)
    assert decision.expires_at_ns == at(120)
    assert decision.seq == (START_NS + 3600 * 10**9) // 10**6 + 1


def test_the_id_is_made_of_what_is_decided():
    assert Spoken().hear(0, HOLD).id == Spoken().hear(0, HOLD).id
    assert Spoken().hear(0, HOLD).id != Spoken().hear(1, HOLD).id


def test_a_pace_below_full_power_is_renewed_and_taken_back():
    slower = msgspec.structs.replace(RUN, pace=0.8)
    spoken = Spoken()
    for second in range(200):
        spoken.hear(second, slower if second < 130 else RUN)
    assert spoken.said == [(0, "RUN", 0.8), (60, "RUN", 0.8), (120, "RUN", 0.8), (130, "RUN", 1.0)]


def test_an_operator_waits_for_no_dwell_and_neither_does_taking_it_back():
    spoken = Spoken()
    spoken.hear(0, HOLD)
    assert spoken.hear(1, RUN, policy="operator", mode="enforce").state == "RUN"
    assert spoken.hear(2, HOLD, policy="operator", mode="enforce").state == "HOLD"
    assert spoken.hear(3, RUN).state == "RUN"


def test_a_target_that_is_let_go_too_often_has_to_stay_for_the_rest_of_the_hour():
    spoken, settings = Spoken(), GateSettings(eased_most_count=2)
    for second in range(0, 480, 120):
        spoken.hear(second, HOLD)
        spoken.hear(second + 60, RUN)
    kept = gate.kept(settings, msgspec.structs.replace(spoken.state, last=Spoken().hear(480, HOLD)), at(480))
    assert (kept.state, kept.count, kept.until_ns) == ("HOLD", 2, at(300 + 3600))
    assert gate.kept(settings, spoken.state, at(60 + 2 * 3600)) is None


def test_what_is_held_is_what_a_scheduler_that_obeys_holds():
    spoken = Spoken()
    spoken.hear(0, HOLD)
    assert not gate.is_held(spoken.state, at(0))
    spoken.hear(60, HOLD, mode="enforce")
    assert gate.is_held(spoken.state, at(60))
    sync = Verdict(State.SYNC, 1.0, "who knows", (), Cjp("", "", ""))
    spoken.hear(120, sync, mode="enforce")
    assert gate.is_held(spoken.state, at(239))
    assert not gate.is_held(spoken.state, at(240))
    fresh = Spoken()
    fresh.hear(0, sync, mode="enforce")
    assert not gate.is_held(fresh.state, at(1))


def test_a_dwell_that_outlives_a_decision_is_refused():
    with pytest.raises(ValueError, match=r"dwell_s 90 is longer than ttl_s \* renew_share = 60"):
        GateSettings(ttl_s=120.0, dwell_s=90.0)

"""Several policies about one target: who decides, what the others say, and what the breaker leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermogate.analytics.combine import Case, Kept, Room, Said, Silence, combine
from thermogate.analytics.policies.base import Verdict
from thermogate.core.decision import Cjp, State
from thermogate.core.gate_messages import Override

FULL = Room(False, "10 of 100 nodes are held already (10% at most)")
HOUR_NS = 3600 * 10**9


def said(policy, state="RUN", pace=1.0, mode="enforce"):
    return Said(policy, 1, mode, Verdict(State(state), pace, f"{policy} says {state}", (), Cjp("", "", "")))


def word(state="HOLD", **more):
    given = {
        "id": "a",
        "kind": "node",
        "target": "n17",
        "issued_at_ns": 0,
        "from_ns": 0,
        "until_ns": HOUR_NS,
        "why": "fan is being changed",
        "by": "ada",
    }
    return Override(state=State(state), **{**given, **more})


def ruled(*said, **more):
    return combine(Case(said=said, **more))


@pytest.mark.parametrize(
    ("one", "other", "wins"),
    [
        (("HOLD", 0.5), ("REPAIR", 0.0), "b"),
        (("SYNC", 1.0), ("HOLD", 0.5), "a"),
        (("REPAIR", 0.0), ("SYNC", 1.0), "a"),
        (("RUN", 0.8), ("HOLD", 0.9), "b"),
        (("RUN", 0.8), ("RUN", 1.0), "a"),
    ],
)
def test_the_gravest_decides(one, other, wins):
    assert ruled(said("a", *one), said("b", *other)).policy == wins


def test_what_is_enforced_goes_before_what_is_in_shadow_and_the_shadow_is_still_told():
    ruling = ruled(said("a", "REPAIR", 0.0, "shadow"), said("b", "HOLD", 0.7))
    assert (ruling.policy, ruling.mode, ruling.verdict.pace) == ("b", "enforce", 0.7)
    assert [(one.policy, one.state, one.mode) for one in ruling.others] == [("a", "REPAIR", "shadow")]


def test_the_pace_is_the_least_that_is_enforced():
    assert ruled(said("a", "HOLD", 0.7), said("b", "RUN", 0.4)).verdict.pace == 0.4
    assert ruled(said("a", "HOLD", 0.7), said("b", "RUN", 0.4, "shadow")).verdict.pace == 0.7


def test_an_operator_goes_before_every_policy():
    ruling = ruled(said("a", "REPAIR", 0.0), override=word("RUN"), room=FULL)
    assert (ruling.verdict.state, ruling.policy, ruling.mode) == ("RUN", "operator", "enforce")
    assert ruling.verdict.why == "fan is being changed (ada, until 1970-01-01 01:00 UTC)"
    assert [one.policy for one in ruling.others] == ["a"]


def test_what_the_breaker_does_not_leave_room_for_is_told_in_shadow():
    ruling = ruled(said("a", "HOLD", 0.7), room=FULL)
    assert (ruling.verdict.state, ruling.mode) == ("HOLD", "shadow")
    assert ruling.verdict.why == f"a says HOLD; not enforced: {FULL.why}"


def test_a_full_breaker_leaves_what_is_held_and_every_pace():
    assert ruled(said("a", "HOLD", 0.7), room=FULL, holding=True).mode == "enforce"
    ruling = ruled(said("a", "HOLD", 0.7), said("b", "RUN", 0.8), room=FULL)
    assert (ruling.policy, ruling.mode, ruling.verdict.pace) == ("b", "enforce", 0.8)


def test_a_silent_node_that_is_held_stays_until_it_has_been_silent_for_too_long():
    ruling = ruled(said("a", "HOLD", 0.7), silence=Silence(40.0, 1800.0, over=False))
    assert (ruling.verdict.state, ruling.mode) == ("SYNC", "enforce")
    assert ruling.verdict.why.startswith("nothing new has been heard of this node for 40 s")
    assert ruled(silence=Silence(1801.0, 1800.0, over=True)).verdict.state == "RUN"


def test_what_is_let_go_too_often_stays_and_says_why():
    kept = Kept(State.HOLD, 0.7, "enforce", "a", 1, 6, HOUR_NS)
    ruling = ruled(said("a"), kept=kept)
    assert (ruling.verdict.state, ruling.verdict.pace, ruling.policy) == ("HOLD", 0.7, "a")
    assert ruling.verdict.why == (
        "let go 6 times within an hour: HOLD stays until 1970-01-01 01:00 UTC; now a says RUN"
    )
    assert ruled(said("a", "REPAIR", 0.0), kept=kept).verdict.state == "REPAIR"
    assert ruled(said("a"), kept=kept, override=word("RUN")).verdict.state == "RUN"


def test_what_has_cleared_is_told_by_the_policy_that_decided():
    assert ruled(said("a"), said("b"), by="b").verdict.why == "b says RUN"
    assert ruled().verdict.state == "RUN"


STATES = st.sampled_from(["RUN", "HOLD", "SYNC", "REPAIR"])
SAID = st.lists(
    st.tuples(STATES, st.sampled_from([0.2, 0.5, 1.0]), st.sampled_from(["enforce", "shadow"])), max_size=5
)


@given(SAID, st.booleans(), st.booleans())
def test_nothing_new_is_ever_held_past_the_breaker_and_no_shadow_is_ever_enforced(several, free, holding):
    asked = [said(f"p{number}", *one) for number, one in enumerate(several)]
    ruling = ruled(*asked, room=Room() if free else FULL, holding=holding)
    if ruling.mode == "enforce" and ruling.verdict.state in ("HOLD", "REPAIR"):
        assert free or holding
    if ruling.mode == "enforce" and ruling.verdict.asks:
        assert any(one.mode == "enforce" and one.verdict.asks for one in asked)
    assert ruling.policy not in [other.policy for other in ruling.others]

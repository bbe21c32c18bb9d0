"""The power budget: who is paced down when a group draws more than its cap, how far, and the way back."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from thermogate.analytics.config import PowerSettings
from thermogate.analytics.policies import power
from thermogate.analytics.policies.base import Drawer, GroupObservation, Verdict
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, State

START_NS = 1_763_712_000 * NS
RATED_W = 5600.0
FLOOR_W = 1400.0


class Feed:
    """A feed under the policy. Nodes draw what the test says, and follow unless it says otherwise."""

    def __init__(self, cap_w: float, **settings: float | bool) -> None:
        self.params = PowerSettings(**settings)  # type: ignore[arg-type]
        self.cap_w = cap_w
        self.state = power.initial()
        self.second = 0
        self.work_w: dict[str, float | None] = {}
        self.deaf: set[str] = set()
        self.others: dict[str, Drawer] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.paces: list[dict[str, float]] = []

    def seen(self) -> GroupObservation:
        """What is seen of it now."""
        drawers = tuple(self._drawer(name, work_w) for name, work_w in self.work_w.items())
        now_ns = START_NS + self.second * NS
        return GroupObservation(target="feed-A", now_ns=now_ns, cap_w=self.cap_w, drawers=drawers)

    def run(self, seconds: int, **work_w: float | None) -> dict[str, Verdict]:
        """So many seconds, with these nodes asking for this from now on; None is "not measured"."""
        self.work_w.update(work_w)
        for _ in range(seconds):
            before = msgspec.json.encode(self.state)
            after, self.verdicts = power.step(self.params, self.state, self.seen())
            assert msgspec.json.encode(self.state) == before
            assert msgspec.json.decode(msgspec.json.encode(after), type=power.PowerState) == after
            self.state = after
            self.paces.append({name: one.pace for name, one in self.verdicts.items()})
            self.second += 1
        return self.verdicts

    def draws_w(self) -> float:
        """What all of it draws now."""
        return sum(drawer.power_w or 0.0 for drawer in self.seen().drawers)

    def _drawer(self, name: str, work_w: float | None) -> Drawer:
        like = self.others.get(name, Drawer(node=name, power_w=None, rated_w=RATED_W))
        if work_w is None:
            return like
        verdict = self.verdicts.get(name)
        if verdict is not None and name not in self.deaf:
            most = 0.1 if verdict.state is State.HOLD else min(verdict.pace, like.pace)
            work_w = min(work_w, most * RATED_W)
        return replace(like, power_w=work_w + FLOOR_W, floor_w=FLOOR_W)


def busy(count: int) -> dict[str, float]:
    """So many nodes at full power."""
    return {f"n{number:02}": RATED_W for number in range(count)}


def test_a_group_within_its_cap_hears_nothing():
    feed = Feed(cap_w=10 * 7000)
    verdicts = feed.run(120, **busy(9))
    assert not any(verdict.asks for verdict in verdicts.values())
    assert feed.state.changed_ns == 0


def test_over_the_cap_every_node_gets_the_same_share_of_its_rated_power():
    feed = Feed(cap_w=40_000)
    feed.run(10, **busy(6))
    verdicts = feed.run(1)
    assert {verdict.pace for verdict in verdicts.values()} == {0.88}
    assert {verdict.state for verdict in verdicts.values()} == {State.RUN}
    feed.run(30)
    assert 0.94 * 40_000 < feed.draws_w() <= 0.96 * 40_000
    assert verdicts["n03"].why == (
        "feed-A draws 42 kW of its 40 kW (over 5 s): n03 to 0.88 of full power, its fair share is 6.328 kW"
    )
    assert verdicts["n03"].because[0].metric == "group_power_w"
    assert verdicts["n03"].because[0].threshold == 40_000


def test_while_the_nodes_follow_nobody_is_slowed_down_twice():
    feed = Feed(cap_w=40_000)
    feed.deaf = set(busy(6))  # as long as the scheduler takes
    feed.run(20, **busy(6))
    assert feed.state.level == 0.88
    feed.deaf = set()
    feed.run(120)
    assert feed.state.level == 0.88


def test_who_needs_less_than_its_share_is_let_be_and_what_it_leaves_is_the_others():
    feed = Feed(cap_w=30_000)
    verdicts = feed.run(30, **busy(4), small=600.0, middle=2800.0)
    assert verdicts["small"].pace == verdicts["middle"].pace == 1.0
    assert "goes on, it draws 2 kW and its fair share is" in verdicts["small"].why
    assert {verdicts[name].pace for name in busy(4)} == {0.74}
    assert feed.draws_w() <= 0.96 * 30_000


def test_a_new_load_is_counted_with_all_of_it_at_once_and_not_bit_by_bit():
    feed = Feed(cap_w=40_000)
    feed.run(60, **busy(5), n05=600.0)
    assert feed.state.level == 1.0
    feed.run(4, n05=RATED_W)
    assert feed.state.level == 0.88
    feed.run(120)
    assert {pace["n05"] for pace in feed.paces[70:]} == {0.88}


def test_room_is_used_again_in_small_steps_a_minute_apart():
    feed = Feed(cap_w=40_000)
    feed.run(120, **busy(8))
    low = feed.state.level
    feed.run(30, n00=600.0, n01=600.0)
    assert feed.state.level == low
    feed.run(600)
    rises = [
        (second, paces["n05"] - before["n05"])
        for second, (before, paces) in enumerate(pairwise(feed.paces))
        if paces["n05"] > before["n05"]
    ]
    assert len(rises) >= 2
    assert all(by <= 0.1 + 1e-9 for _, by in rises)
    assert all(later - first >= 60 for (first, _), (later, _) in pairwise(rises))
    assert feed.draws_w() <= 0.96 * 40_000
    feed.run(1200, n02=600.0, n03=600.0)
    assert feed.state.level == 1.0
    assert feed.verdicts["n07"].why == "feed-A draws 36 kW of its 40 kW: full power for all"


def test_a_pause_shorter_than_a_minute_raises_nobody():
    feed = Feed(cap_w=40_000)
    feed.run(60, **busy(8))
    low = feed.state.level
    for _ in range(10):
        feed.run(40, **dict.fromkeys(busy(8), 600.0))
        feed.run(40, **busy(8))
        assert feed.state.level == low


def test_a_lower_cap_is_kept_at_once():
    feed = Feed(cap_w=60_000)
    feed.run(60, **busy(8))
    feed.cap_w = 40_000
    feed.run(1)
    assert feed.state.level < 0.8
    feed.run(2)
    assert feed.draws_w() <= 40_000


def test_a_node_without_measured_power_is_counted_at_its_rated_power_and_it_is_said():
    feed = Feed(cap_w=40_000)
    verdicts = feed.run(60, **busy(5), blind=None)
    assert "(1 without measured power counted at full)" in verdicts["n00"].why
    assert verdicts["blind"].pace == verdicts["n00"].pace == 0.88


def test_a_second_without_power_changes_nothing():
    feed = Feed(cap_w=40_000)
    feed.run(60, **busy(5), small=600.0)
    feed.run(20, small=None)
    assert feed.state.level == 1.0
    feed.run(30)
    assert feed.state.level < 1.0


def test_of_a_node_without_any_power_nothing_is_asked():
    feed = Feed(cap_w=40_000)
    feed.others["odd"] = Drawer(node="odd", power_w=None, rated_w=None)
    verdicts = feed.run(60, **busy(6), odd=None)
    assert not verdicts["odd"].asks
    assert "neither its power nor its rated power is known" in verdicts["odd"].why


def test_a_node_that_does_not_follow_is_counted_at_what_it_draws_and_named():
    feed = Feed(cap_w=40_000)
    feed.deaf = {"n00"}
    feed.run(60, **busy(8))
    assert feed.draws_w() > 0.97 * 40_000
    verdicts = feed.run(200)
    assert feed.draws_w() <= 0.97 * 40_000
    assert "n00 does not follow" in verdicts["n05"].why
    assert verdicts["n00"].pace == verdicts["n05"].pace


def test_when_nobody_follows_as_in_shadow_the_paces_stay_what_would_be_asked():
    feed = Feed(cap_w=40_000)
    feed.deaf = set(busy(8))
    feed.run(600, **busy(8))
    assert {round(pace["n00"], 2) for pace in feed.paces[30:]} == {feed.state.level}
    assert not any(verdict.state is State.HOLD for verdict in feed.verdicts.values())


def test_a_power_limit_lowered_for_the_pace_does_not_lower_the_share_again():
    feed = Feed(cap_w=40_000)
    feed.run(60, **busy(8))
    level = feed.state.level
    feed.others = {
        name: Drawer(node=name, power_w=None, rated_w=feed.state.level * RATED_W) for name in busy(8)
    }
    feed.run(300)
    assert feed.state.level == level


def test_what_others_ask_of_a_node_is_kept_in_mind():
    feed = Feed(cap_w=40_000)
    feed.others["n00"] = Drawer(node="n00", power_w=None, rated_w=RATED_W, pace=0.2)
    feed.run(60, **busy(6))
    assert feed.state.level == 1.0
    assert feed.draws_w() == pytest.approx(5 * 7000 + FLOOR_W + 0.2 * RATED_W)


def test_too_much_at_the_least_pace_holds_as_few_as_will_do_the_newest_first():
    feed = Feed(cap_w=28_000)
    feed.run(60, **dict.fromkeys(busy(8), 600.0))
    for name in busy(8):
        feed.run(5, **{name: RATED_W})
    feed.run(20)
    assert feed.state.level == 0.4
    assert not [name for name, one in feed.verdicts.items() if one.state is State.HOLD]
    feed.run(20)
    held = {name for name, one in feed.verdicts.items() if one.state is State.HOLD}
    assert held == {"n06", "n07"}
    assert "too much even with every node at 0.4 of full power: checkpoint n07" in feed.verdicts["n07"].why
    feed.run(600)
    assert {name for name, one in feed.verdicts.items() if one.state is State.HOLD} == held


def test_who_is_held_goes_on_one_a_minute_when_it_fits():
    feed = Feed(cap_w=28_000)
    feed.run(200, **busy(8))
    held = [name for name, one in feed.verdicts.items() if one.state is State.HOLD]
    assert len(held) == 2
    feed.cap_w = 60_000
    feed.run(59)
    assert [name for name, one in feed.verdicts.items() if one.state is State.HOLD] == held
    feed.run(3)
    assert len([name for name, one in feed.verdicts.items() if one.state is State.HOLD]) == len(held) - 1
    feed.run(1500)
    assert feed.state.level == 1.0
    assert not any(verdict.asks for verdict in feed.verdicts.values())


def test_nobody_is_held_where_the_settings_forbid_it():
    feed = Feed(cap_w=20_000, hold=False)
    feed.run(600, **busy(8))
    assert {(one.state, one.pace) for one in feed.verdicts.values()} == {(State.RUN, 0.4)}


def test_after_a_restart_paces_and_holds_go_on():
    feed = Feed(cap_w=28_000)
    feed.run(300, **busy(8))
    decisions = {name: decided(name, verdict) for name, verdict in feed.verdicts.items() if verdict.asks}
    before = {name: (verdict.state, verdict.pace) for name, verdict in feed.verdicts.items()}
    feed.state = power.resume(decisions)
    for _ in range(60):
        feed.run(1)
        assert {name: (one.state, one.pace) for name, one in feed.verdicts.items()} == before
    feed.cap_w = 80_000
    feed.run(2000)
    assert not any(verdict.asks for verdict in feed.verdicts.values())


def test_nothing_to_resume_is_a_group_of_which_nothing_is_known():
    feed = Feed(cap_w=80_000)
    feed.run(30, **busy(4))
    decisions = {name: decided(name, verdict) for name, verdict in feed.verdicts.items()}
    assert power.resume(decisions) == power.initial()


def test_nodes_that_leave_the_group_are_forgotten():
    feed = Feed(cap_w=40_000)
    feed.run(60, **busy(8))
    del feed.work_w["n07"]
    feed.run(1)
    assert set(feed.state.nodes) == set(feed.verdicts) == set(feed.work_w)


def test_settings_that_cannot_be_are_refused():
    for wrong in ({"aim_share": 0.99}, {"far_share": 0.9}, {"held_ratio": 0.5}, {"rise_ratio": 0.01}):
        with pytest.raises(ValueError, match="must be"):
            PowerSettings(**wrong)


nodes = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(0, 6000)),
        st.one_of(st.none(), st.floats(100, 6000)),
        st.floats(0, 2000),
        st.sampled_from([1.0, 1.0, 0.5, 0.0]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(nodes, min_size=4, max_size=12), st.floats(1000, 60_000))
def test_whatever_is_measured_paces_are_of_the_scale_and_what_is_asked_fits(ticks, cap_w):
    params, state = PowerSettings(), power.initial()
    for second, drawn in enumerate(ticks):
        drawers = tuple(
            Drawer(
                node=f"n{number}",
                power_w=None if work_w is None else work_w + floor_w,
                rated_w=rated_w,
                floor_w=floor_w,
                pace=pace,
                held=held,
            )
            for number, (work_w, rated_w, floor_w, pace, held) in enumerate(drawn)
        )
        seen = GroupObservation(
            target="feed-A", now_ns=START_NS + 5 * second * NS, cap_w=cap_w, drawers=drawers
        )
        again = msgspec.json.decode(msgspec.json.encode(state), type=power.PowerState)
        assert power.step(params, again, seen) == power.step(params, state, seen)
        before, (state, verdicts) = state, power.step(params, state, seen)
        assert set(verdicts) == {drawer.node for drawer in drawers}
        assert 0.4 <= state.level <= 1.0
        assert round(state.level / 0.02, 6) == int(state.level / 0.02 + 0.5)
        assert state.level <= before.level + 0.1 + 1e-9
        assert {one.pace for one in verdicts.values() if one.asks} <= {state.level}
        assert all(one.why and one.cjp.justify for one in verdicts.values())


def decided(name: str, verdict: Verdict) -> GateDecision:
    """The decision that the gate makes of a verdict."""
    return GateDecision(
        id="1",
        seq=1,
        kind="node",
        target=name,
        state=verdict.state,
        pace=verdict.pace,
        mode="enforce",
        issued_at_ns=START_NS,
        expires_at_ns=START_NS + 120 * NS,
        policy=power.NAME,
        policy_version=power.VERSION,
        why=verdict.why,
        because=verdict.because,
        cjp=verdict.cjp,
        inputs="",
    )

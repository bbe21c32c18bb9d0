"""The RLE pace ladder: four steps, down at once, up one at a time, only under load."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermogate.analytics.config import LadderSettings
from thermogate.analytics.policies import ladder
from thermogate.analytics.policies.base import MAX_DEVICES, Observation, Verdict
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, State
from thermogate.core.wire import Point

START_NS = 1_763_712_000 * NS
PACES = (1.0, 0.85, 0.7, 0.5)


def sample(second: float, share: float | None, *, device: str = "0", **fields: float) -> Point:
    """A busy GPU whose RLE is at this share of its peak; None is "no RLE"."""
    values = {"util_ratio": 0.95, "a_load_ratio": 0.9, **fields}
    if share is not None:
        values |= {"rle": 0.8 * share, "rle_peak": 0.8}
    return Point("gpu", "n17", device, "", "", values, START_NS + round(second * NS))


class Watched:
    """A node under the ladder, a message a second."""

    def __init__(self, **changed: float) -> None:
        self.params = LadderSettings(**changed)
        self.state = ladder.initial()
        self.second = 0.0
        self.paces: list[float] = []

    def run(self, seconds: int, *shares: float | None, **fields: float) -> Verdict:
        """So long with devices at these shares of their peaks."""
        for _ in range(seconds):
            points = [
                sample(self.second, share, device=str(number), **fields)
                for number, share in enumerate(shares)
            ]
            verdict = self.hear(*points)
            self.second += 1
        return verdict

    def hear(self, *points: Point) -> Verdict:
        """One message."""
        seen = Observation(target="n17", now_ns=max(point.time_ns for point in points), points=points)
        before = msgspec.json.encode(self.state)
        after, verdict = ladder.step(self.params, self.state, seen)
        assert msgspec.json.encode(self.state) == before
        assert msgspec.json.decode(msgspec.json.encode(after), type=ladder.LadderState) == after
        self.state = after
        self.paces.append(verdict.pace)
        return verdict


@pytest.mark.parametrize(
    ("share", "pace"), [(1.0, 1.0), (0.62, 1.0), (0.58, 0.85), (0.42, 0.85), (0.35, 0.7), (0.15, 0.5)]
)
def test_each_published_range_has_its_pace(share, pace):
    node = Watched()
    verdict = node.run(120, share)
    assert (verdict.state, verdict.pace) == (State.RUN, pace)


def test_the_why_says_who_how_far_from_its_peak_and_at_what_pace():
    verdict = Watched().run(120, 0.9, 0.34, 0.5)
    assert verdict.why == (
        "the efficiency (RLE) of gpu1 is at 0.34 of its own peak (under load, over 15 s; step 3 of 4, "
        "degraded, below 0.4, or after a collapse) (also gpu2): go on at 0.7 of full power"
    )
    assert [(reason.device, reason.metric) for reason in verdict.because] == [
        ("gpu1", "rle_degraded"),
        ("gpu2", "rle_efficient"),
    ]
    assert "kept 0.45 of its own peak" in verdict.cjp.path


def test_it_goes_down_after_half_a_minute_at_once_as_far_as_it_takes():
    node = Watched()
    node.run(60, 1.0)
    node.run(90, 0.05)
    changes = [
        (second, later) for second, (first, later) in enumerate(pairwise(node.paces)) if first != later
    ]
    assert [pace for _, pace in changes] in ([0.5], [0.85, 0.7, 0.5], [0.7, 0.5], [0.85, 0.5])
    assert 60 + 30 <= changes[0][0] < 60 + 50
    assert changes[-1][0] < 60 + 70


def test_a_dip_of_seconds_changes_nothing():
    node = Watched()
    for _ in range(20):
        node.run(40, 1.0)
        node.run(8, 0.05)
    assert set(node.paces) == {1.0}


def test_it_comes_up_one_step_in_five_minutes():
    node = Watched()
    node.run(120, 0.1)
    node.run(1200, 1.0)
    changes = [
        (second, later) for second, (first, later) in enumerate(pairwise(node.paces)) if first != later
    ]
    ups = changes[-3:]
    assert [pace for _, pace in ups] == [0.7, 0.85, 1.0]
    assert all(later - first >= 300 for (first, _), (later, _) in pairwise(ups))
    assert node.hear(sample(node.second, 1.0)).why.startswith(
        "the efficiency (RLE) of every device is above 0.6"
    )


def test_within_the_hysteresis_it_stays_where_it_is():
    node = Watched()
    node.run(120, 0.5)
    node.run(3000, 0.63)
    assert node.paces[-1] == 0.85
    node.run(400, 0.67)
    assert node.paces[-1] == 1.0


def test_a_collapse_is_step_three_at_once():
    node = Watched()
    node.run(60, 0.9)
    verdict = node.run(1, 0.9, collapse=1.0)
    assert verdict.pace == 0.7
    node.run(299, 0.9)
    assert node.paces[-1] == 0.7
    node.run(10, 0.9)
    assert node.paces[-1] == 0.85


def test_without_load_nothing_is_slowed_down_and_what_was_comes_up():
    node = Watched()
    node.run(600, 0.05, util_ratio=0.3, a_load_ratio=0.2)
    assert set(node.paces) == {1.0}
    node.run(60, 0.05)
    assert node.paces[-1] == 0.5
    node.run(1000, None, util_ratio=0.0, a_load_ratio=0.1)
    assert node.paces[-1] == 1.0


def test_what_is_not_measured_moves_nobody():
    node = Watched()
    node.run(60, 0.3)
    node.run(3000, None)
    assert node.paces[-1] == 0.7
    fresh = Watched()
    fresh.run(300, None)
    fresh.run(300, 0.0, rle_peak=0.0)
    assert fresh.paces[-1] in (1.0, 0.5)
    assert set(fresh.paces[:300]) == {1.0}


def test_the_pace_of_a_node_is_that_of_its_slowest_device():
    node = Watched()
    node.run(120, 1.0, 0.5, 0.3, 1.0)
    assert node.paces[-1] == 0.7
    node.run(400, 1.0, 0.5, 1.0, 1.0)
    assert node.paces[-1] == 0.85


def test_a_device_that_is_gone_slows_nobody_down():
    node = Watched()
    node.run(60, 1.0, 0.1)
    assert node.paces[-1] == 0.5
    node.run(310, 1.0)
    assert node.paces[-1] == 1.0


def test_a_gap_is_not_time_on_end():
    node = Watched()
    node.run(60, 0.1)
    for _ in range(30):
        node.second += 60
        node.run(1, 1.0)
    assert node.paces[-1] == 0.5


def test_after_a_restart_each_device_is_where_it_was():
    node = Watched()
    node.run(120, 0.3, 0.5)
    seen = Observation(
        target="n17", now_ns=START_NS + 120 * NS, points=(sample(120, 0.3), sample(120, 0.5, device="1"))
    )
    _, verdict = ladder.step(node.params, node.state, seen)
    resumed = Watched()
    resumed.state = ladder.resume(decided(verdict))
    resumed.second = 130
    resumed.run(200, 1.0, 1.0)
    assert set(resumed.paces) == {0.7}
    resumed.run(110, 1.0, 1.0)
    assert resumed.paces[-1] == 0.85
    assert {rung.step for rung in resumed.state.devices.values()} == {1, 0}


def test_no_message_can_fill_the_memory():
    node = Watched()
    node.hear(*(sample(1, 1.0, device=str(number)) for number in range(MAX_DEVICES + 50)))
    assert len(node.state.devices) == MAX_DEVICES


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="must be less"):
        LadderSettings(degraded_ratio=0.7)


shares = st.lists(st.tuples(st.floats(0, 1), st.sampled_from([1, 20, 60, 200, 400])), min_size=1, max_size=25)


def stepped(parts: list[tuple[float, int]], less: float = 0.0, **fields: float) -> list[float]:
    """The paces of a device with these shares, each for so long, a sample every 5 s."""
    node = Watched(gap_s=60)
    for share, seconds in parts:
        for _ in range(max(1, seconds // 5)):
            node.hear(sample(node.second, max(0.0, share - less), **fields))
            node.second += 5
    return node.paces


@settings(max_examples=60, deadline=None)
@given(shares)
def test_it_never_skips_a_step_up_and_goes_up_twelve_times_an_hour_at_most(parts):
    paces = stepped(parts)
    assert set(paces) <= set(PACES)
    ups = []
    for number, (first, later) in enumerate(pairwise(paces)):
        if later > first:
            assert PACES.index(first) - PACES.index(later) == 1
            ups.append(5 * (number + 1))
    assert all(later - first >= 300 for first, later in pairwise(ups))


@settings(max_examples=60, deadline=None)
@given(shares, st.floats(0, 0.5))
def test_who_does_worse_in_every_sample_is_never_on_a_better_step(parts, less):
    assert all(worse <= better for worse, better in zip(stepped(parts, less), stepped(parts), strict=True))


@settings(max_examples=30, deadline=None)
@given(shares)
def test_without_load_every_share_is_full_power(parts):
    assert set(stepped(parts, util_ratio=0.2, a_load_ratio=0.2)) == {1.0}


def decided(verdict: Verdict) -> GateDecision:
    """The decision that the gate makes of a verdict."""
    return GateDecision(
        id="1",
        seq=1,
        kind="node",
        target="n17",
        state=verdict.state,
        pace=verdict.pace,
        mode="enforce",
        issued_at_ns=START_NS + 120 * NS,
        expires_at_ns=START_NS + 240 * NS,
        policy=ladder.NAME,
        policy_version=ladder.VERSION,
        why=verdict.why,
        because=verdict.because,
        cjp=verdict.cjp,
        inputs="",
    )

"""What happens between two samples of a device must neither keep an alarm for ever nor end it."""

import pytest

from tests.unit.analytics.making import (
    Watched,
    WatchedConsistency,
    WatchedHardware,
    at,
    event,
    heating,
    point,
    trace,
)
from thermogate.core.decision import GateDecision, State


def heated(node):
    """A node that is held for heat, and when."""
    samples = trace(heating(to_c=89.0))
    for sample in samples:
        node.hear(sample)
    assert node.verdicts[-1][1].state is State.HOLD
    return len(samples)


def test_events_of_a_node_do_not_begin_the_time_to_a_release_anew():
    node = Watched()
    start = heated(node)
    for second in range(start, start + 200):
        node.hear(point(second, temp_c=60.0))
        if second % 20 == 0:
            node.hear(event(second, "job_began", job="1", manager="user"))
    assert node.changes()[-1][1] is State.RUN


def test_messages_of_other_devices_do_not_begin_the_time_to_a_release_anew():
    node = Watched()
    start = heated(node)
    for second in range(start, start + 200):
        node.hear(point(second, temp_c=60.0))
        node.hear(point(second + 0.5, device="gpu1", temp_c=60.0))
    assert node.changes()[-1][1] is State.RUN


def test_a_device_that_was_not_seen_for_long_begins_its_time_to_a_release_anew():
    node = Watched()
    start = heated(node)
    for second in range(start, start + 50):
        node.hear(point(second, temp_c=60.0))
    for second in range(start + 50, start + 150):
        node.hear(point(second, device="gpu1", temp_c=60.0))
    node.hear(point(start + 150, temp_c=60.0))
    assert node.verdicts[-1][1].state is State.HOLD


@pytest.mark.parametrize("temp_c", [60.0, 88.0])
def test_a_hold_ends_when_a_node_samples_too_seldom_to_be_judged_unless_it_is_hot(temp_c):
    node = Watched()
    start = heated(node)
    for second in range(start, start + 1800, 15):
        node.hear(point(second, temp_c=temp_c))
    assert node.verdicts[-1][1].state is (State.RUN if temp_c < 80 else State.HOLD)


@pytest.mark.parametrize("every_s", [1, 5, 10.3, 15])
def test_a_power_brake_is_seen_at_every_rate_of_sampling(every_s):
    node = WatchedHardware()
    for n in range(int(120 / every_s) + 1):
        node.hear(point(n * every_s, clock_event_hw_power_brake=1.0))
    assert node.verdicts[-1][1].state is State.HOLD


def test_a_power_brake_that_nobody_saw_for_long_did_not_last():
    node = WatchedHardware()
    node.hear(point(0, clock_event_hw_power_brake=1.0), point(300, clock_event_hw_power_brake=1.0))
    assert node.verdicts[-1][1].state is State.RUN


def test_stamps_that_are_apart_are_told_by_what_was_measured():
    node = WatchedConsistency()
    for second in range(100, 300):
        node.hear([point(second, temp_c=50.0), point(second - 60, device="gpu1", temp_c=50.0)])
        node.hear(point(second + 0.5, device="gpu2", temp_c=50.0))
    state, verdict = node.verdicts[-1][1].state, node.verdicts[-1][1]
    assert state is State.SYNC
    assert all(reason.value > reason.threshold for reason in verdict.because)


def said(node):
    """What the policy of a node says, as a decision."""
    verdict = node.verdicts[-1][1]
    return GateDecision(
        kind="node",
        target="n17",
        state=verdict.state,
        pace=0.3,
        mode="enforce",
        policy=node.policy.NAME,
        policy_version=node.policy.VERSION,
        issued_at_ns=at(2000),
        expires_at_ns=at(2120),
        id="1",
        seq=1,
        inputs="",
        why=verdict.why,
        because=verdict.because,
        cjp=verdict.cjp,
    )


STUCK = [point(s, temp_c=50.0, power_w=100.0 + 500 * (s > 450), power_limit_w=700.0) for s in range(1000)]
FAR = [point(s, temp_c=40.0, clock_event_sw_thermal=1.0) for s in range(100)]
OVER = [point(s, temp_c=40.0, power_w=900.0, power_limit_w=500.0) for s in range(100)]
JUMP = [point(s, temp_c=20.0 if s < 50 else 60.0) for s in range(100)]


@pytest.mark.parametrize(
    ("watched", "samples"),
    [
        (WatchedConsistency, STUCK),
        (WatchedConsistency, FAR),
        (WatchedConsistency, OVER),
        (WatchedConsistency, JUMP),
        (Watched, trace(heating(to_c=89.0))),
        (Watched, trace([89.0] * 60)),
        (Watched, trace([80.0] * 60, clock_event_sw_thermal=1.0)),
        (WatchedHardware, [point(s, clock_event_hw_power_brake=1.0) for s in range(100)]),
        (WatchedHardware, [point(s, ecc_uncorrected_count=s) for s in range(3)]),
        (WatchedHardware, [point(s, ecc_corrected_count=2000 * s) for s in range(3)]),
    ],
)
def test_after_a_restart_a_policy_says_in_the_same_words_what_stands(watched, samples):
    node = watched()
    node.hear(*samples)
    before = node.verdicts[-1][1]
    assert before.asks
    resumed = watched()
    resumed.state = resumed.policy.resume(said(node))
    after = resumed.hear(event(2001, "job_began", job="1"))
    assert (after.state, after.why, after.because) == (before.state, before.why, before.because) or (
        # the pace of the decision was lower, as somebody else asked for that
        after.why == before.why.replace(f"{before.pace:g} of full", "0.3 of full")
    )
    if after.state is State.SYNC:
        assert after.pace == 1.0

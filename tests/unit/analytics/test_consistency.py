"""Signals that contradict one another: SYNC, and back; and what is a matter of others."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.analytics.making import Watched, WatchedConsistency, point, through_json, trace
from tests.unit.analytics.test_hardware_xids import decision
from thermogate.analytics.policies import consistency
from thermogate.core.decision import State

LIMIT_W = 700.0


def watt(second, power_w=600.0, temp_c=70.0, **fields):
    return point(second, **{"temp_c": temp_c, "power_w": power_w, "power_limit_w": LIMIT_W, **fields})


def states(node):
    return [state for _, state in node.changes()]


@pytest.mark.parametrize("impossible_c", [0.0, -40.0, 255.0])
@pytest.mark.parametrize("device", ["gpu0", "cpu0"])
def test_a_temperature_that_silicon_cannot_have_is_told(impossible_c, device):
    node = WatchedConsistency()
    node.hear(*[point(second, device=device, temp_c=60.0) for second in range(60)])
    verdict = node.hear(*[point(60 + n, device=device, temp_c=impossible_c) for n in range(15)])
    assert verdict.state is State.SYNC
    assert verdict.pace == 1.0
    assert verdict.why.startswith(f"{device} reads {impossible_c:g} C for 10 s (SYNC ")
    assert verdict.why.endswith(f"change nothing here until they agree, and look at the sensors of {device}")


def test_one_impossible_reading_is_none():
    node = WatchedConsistency()
    node.hear(*trace([*[60.0] * 60, 255.0, *[60.0] * 60, 0.0, *[60.0] * 60]))
    assert node.changes() == []


def test_a_jump_that_stays_is_told_and_one_that_comes_back_is_not():
    stays, spike = WatchedConsistency(), WatchedConsistency()
    verdict = stays.hear(*trace([*[80.0] * 60, *[40.0] * 15]))
    spike.hear(*trace([*[80.0] * 60, 40.0, 40.0, *[80.0] * 60]))
    assert states(stays) == [State.SYNC]
    assert verdict.why.startswith(
        "the temperature of gpu0 jumped by -40 C within 2.5 s and stayed (SYNC above 35 C): "
    )
    assert spike.changes() == []


def test_a_jump_is_forgiven_after_ten_minutes_of_following_the_load():
    node = WatchedConsistency()
    node.hear(*trace([*[80.0] * 60, *[40.0] * 800]))
    assert states(node) == [State.SYNC, State.RUN]
    assert 600 <= node.changes()[1][0] - node.changes()[0][0] <= 630


def test_after_a_pause_of_the_samples_any_temperature_is_possible():
    node = WatchedConsistency()
    node.hear(*trace([80.0] * 60), *trace([30.0] * 60, start=300))
    mute = WatchedConsistency()
    mute.hear(*trace([80.0] * 60), *trace([None] * 100, start=60), *trace([30.0] * 60, start=160))
    assert node.changes() == mute.changes() == []


def test_slowing_down_for_heat_while_cool_is_a_contradiction():
    node = WatchedConsistency()
    verdict = node.hear(*[watt(second, temp_c=50.0, clock_event_hw_thermal=1.0) for second in range(65)])
    assert states(node) == [State.SYNC]
    assert verdict.why.startswith(
        "gpu0 says for 60 s that it slows down for heat, 40 C below its limit (SYNC from 30 C)"
    )


@pytest.mark.parametrize("fields", [{"temp_c": 85.0}, {"temp_c": 61.0}, {"temp_c": 50.0, "mem_temp_c": 96.0}])
@pytest.mark.parametrize("event", ["clock_event_hw_thermal", "clock_event_sw_thermal"])
def test_slowing_down_for_heat_is_the_thermal_policys_or_this_ones_but_never_both(fields, event):
    heard = [watt(second, **{event: 1.0, **fields}) for second in range(120)]
    here, thermal = WatchedConsistency(), Watched()
    here.hear(*heard)
    thermal.hear(*heard)
    assert here.changes() == []
    assert states(thermal) == [State.HOLD]


def test_what_this_policy_calls_a_contradiction_the_thermal_one_does_not_call_heat():
    node = Watched()
    node.hear(*[watt(second, temp_c=50.0, clock_event_hw_thermal=1.0) for second in range(120)])
    assert node.changes() == []


def test_power_far_above_the_limit_is_told_but_no_short_overshoot():
    high, short = WatchedConsistency(), WatchedConsistency()
    verdict = high.hear(*[watt(second, power_w=1400.0) for second in range(65)])
    short.hear(*[watt(second, power_w=1400.0 if second % 60 < 30 else 600.0) for second in range(600)])
    assert states(high) == [State.SYNC]
    assert "gpu0 reads 2.00 times its power limit for 60 s (SYNC above 1.5)" in verdict.why
    assert short.changes() == []


def test_busy_with_the_power_and_clock_of_an_idle_gpu_is_told():
    node = WatchedConsistency()
    idle = [watt(s, power_w=70.0, temp_c=35.0, util_ratio=1.0, sm_clock_hz=345e6) for s in range(310)]
    verdict = node.hear(*idle)
    assert states(node) == [State.SYNC]
    assert "gpu0 says for 300 s that it is busy, at the clock of an idle GPU and 10% of" in verdict.why


@pytest.mark.parametrize(
    "fields",
    [{"sm_clock_hz": 1.7e9}, {"sm_clock_hz": None}, {"util_ratio": 0.2}, {"power_w": 150.0}],
    ids=lambda fields: next(iter(fields)),
)
def test_waiting_in_a_kernel_or_idling_is_none(fields):
    node = WatchedConsistency()
    usual = {"power_w": 70.0, "util_ratio": 1.0, "sm_clock_hz": 345e6, "temp_c": 35.0}
    node.hear(*[watt(second, **{**usual, **fields}) for second in range(600)])
    assert node.changes() == []


def test_a_temperature_that_does_not_move_under_changing_load_is_stuck():
    node = WatchedConsistency()
    load = [watt(second, power_w=650.0 if second // 300 % 2 else 90.0) for second in range(1000)]
    verdict = node.hear(*load)
    assert states(node) == [State.SYNC]
    assert verdict.why.startswith("the temperature of gpu0 has not moved for ")
    after = node.hear(*[watt(1000 + n, temp_c=70.0 + n % 3) for n in range(200)])
    assert after.state is State.RUN


def test_a_temperature_that_does_not_move_under_steady_or_fast_changing_load_is_fine():
    steady, fast = WatchedConsistency(), WatchedConsistency()
    steady.hear(*[watt(second) for second in range(3600)])
    fast.hear(*[watt(second, power_w=650.0 if second // 2 % 2 else 250.0) for second in range(3600)])
    assert steady.changes() == []
    assert fast.changes() == []


def test_a_temperature_that_is_not_measured_is_not_stuck():
    node = WatchedConsistency()
    load = [watt(second, power_w=650.0 if second // 300 % 2 else 90.0, temp_c=None) for second in range(2000)]
    node.hear(*load)
    assert node.changes() == []


def test_stamps_of_one_message_that_run_apart_are_told_and_released():
    node = WatchedConsistency()
    for second in range(100):
        node.hear([point(second, temp_c=60.0), point(second + 100, device="gpu1", temp_c=60.0)])
    assert states(node) == [State.SYNC]
    assert "devices of this node are stamped 100 s apart in one message" in node.verdicts[-1][1].why
    for second in range(300, 600):
        node.hear([point(second, temp_c=60.0), point(second, device="gpu1", temp_c=60.0)])
    assert states(node) == [State.SYNC, State.RUN]


def test_devices_that_send_by_themselves_are_not_compared():
    node = WatchedConsistency()
    for second in range(0, 600, 2):
        node.hear(point(second, temp_c=60.0), point(second + 100, device="gpu1", temp_c=60.0))
    assert node.changes() == []


def test_a_device_that_is_gone_lets_go_of_its_node():
    node = WatchedConsistency()
    node.hear(*[point(second, temp_c=255.0) for second in range(20)])
    verdict = node.hear(*[point(second, device="gpu1", temp_c=60.0) for second in range(20, 700)])
    assert states(node) == [State.SYNC, State.RUN]
    assert verdict.why.startswith("gpu0 has sent nothing to judge it by for 600 s")


def test_a_restart_goes_on_with_it():
    node = WatchedConsistency()
    verdict = node.hear(*[point(second, temp_c=255.0) for second in range(20)])
    after = WatchedConsistency()
    after.state = through_json(consistency.resume(decision(verdict)))
    after.hear(*trace([60.0] * 100, start=30))
    assert after.verdicts[-1][1].state is State.SYNC
    after.hear(*trace([60.0] * 100, start=130))
    assert after.verdicts[-1][1].state is State.RUN


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(20, 200))
def test_a_gpu_that_obeys_physics_is_never_contradicted(seed, period_s):
    """A first-order heat sink (60 s, 0.08 K/W) and 20 C that come at once, sensors in steps of 1 C."""
    rng, node, sink_c = random.Random(seed), WatchedConsistency(), 35.0
    power_w = 90.0
    for second in range(1200):
        if second % period_s == 0:
            power_w = rng.uniform(60.0, LIMIT_W)
        noisy_w = power_w * rng.uniform(0.8, 1.2)
        sink_c += (30.0 + 0.05 * noisy_w - sink_c) / 60.0
        temp_c = round(sink_c + 0.03 * noisy_w)
        node.hear(watt(second, noisy_w, float(temp_c), util_ratio=min(1.0, power_w / 600), sm_clock_hz=1.7e9))
    assert node.changes() == []


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                ["temp_c", "power_w", "power_limit_w", "util_ratio", "sm_clock_hz", "temp_limit_c"]
            ),
            st.floats(-1e308, 1e308),
        ),
        max_size=30,
    )
)
def test_no_numbers_break_it(samples):
    node = WatchedConsistency()
    for second, fields in enumerate(samples):
        node.hear(point(second * 30, **fields))
    assert all(verdict.state in (State.RUN, State.SYNC) for _, verdict in node.verdicts)

"""The pace as a share of time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermogate.schedulers.trainer.pacing import Pacer


def share_of(pace, steps_s, late_s=0.0):
    """What share of the time was computed, if every sleep takes `late_s` longer than asked for."""
    pacer, now_s, busy_s = Pacer(), 100.0, 0.0
    pacer.begin(now_s)
    for step_s in steps_s:
        now_s += step_s
        busy_s += step_s
        rest_s = pacer.rest_s(pace, now_s)
        if rest_s:
            slept_s = rest_s + late_s
            now_s += slept_s
            pacer.slept(slept_s, now_s)
    return busy_s / (now_s - 100.0)


@given(st.floats(0.05, 0.99), st.lists(st.floats(0.001, 0.5), min_size=50, max_size=200))
def test_the_share_of_computing_is_the_pace_whatever_the_steps(pace, steps_s):
    assert share_of(pace, steps_s) == pytest.approx(pace, abs=1e-6)


@given(st.floats(0.05, 0.95), st.floats(0.0, 0.005))
def test_sleeps_that_take_longer_are_made_up_for(pace, late_s):
    assert share_of(pace, [0.02] * 500, late_s) == pytest.approx(pace, abs=0.05 if late_s else 1e-6) or (
        late_s
        > 0.02 * (1 / pace - 1)  # a sleep is longer than the share of a step: nothing is asked for then
    )


def test_at_full_pace_there_is_no_sleep():
    assert share_of(1.0, [0.125] * 10) == 1.0


def test_one_sleep_is_never_long_and_pace_0_is_a_hundredth():
    pacer = Pacer()
    pacer.begin(0.0)
    assert pacer.rest_s(0.0, 1.0) == 10.0
    pacer.slept(10.0, 11.0)
    assert pacer.rest_s(0.0, 11.0) == 10.0


def test_a_debt_ends_when_the_pace_is_full_again():
    pacer = Pacer()
    pacer.begin(0.0)
    assert pacer.rest_s(0.5, 30.0) == 10.0
    assert pacer.rest_s(1.0, 30.0) == 0.0
    assert pacer.rest_s(0.5, 31.0) == 1.0


def test_a_wait_pays_the_debt():
    pacer = Pacer()
    pacer.begin(0.0)
    assert pacer.rest_s(0.0, 1.0) == 10.0
    pacer.begin(100.0)
    assert pacer.rest_s(0.5, 101.0) == 1.0

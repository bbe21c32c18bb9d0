import math
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermogate.core import rle
from thermogate.core.profiles import params

MONITOR = params("monitor", rated_power_w=200.0, temp_limit_c=83.0)
PERCENTS = st.floats(0.0, 100.0)


@given(st.lists(PERCENTS, min_size=1, max_size=20))
def test_stability_is_that_of_the_population_standard_deviation(window):
    expected = 1 / (1 + pstdev(window))
    assert rle.stability(tuple(window), 1) == pytest.approx(expected, rel=1e-12)


def test_stability_stays_exact_for_a_hair_of_spread_on_a_high_level():
    window = tuple(99.0 + 1e-9 * (k % 3) for k in range(10))
    assert 1 / rle.stability(window, 1) - 1 == pytest.approx(pstdev(window), rel=1e-6)


@given(PERCENTS, st.integers(1, 20))
def test_a_constant_utilization_is_perfectly_stable(util_pct, count):
    assert rle.stability((util_pct,) * count, 1) == 1.0


def test_stability_is_in_percent_points():
    assert rle.stability((40.0, 60.0), 2) == pytest.approx(1 / 11)


def test_stability_is_one_until_there_are_enough_utilizations():
    assert rle.stability((0.0, 100.0, 0.0, 100.0), 5) == 1.0
    assert rle.stability((0.0, 100.0, 0.0, 100.0, 0.0), 5) < 0.03


@given(st.lists(PERCENTS, max_size=14), PERCENTS, st.integers(1, 14), st.integers(1, 14))
def test_the_written_out_window_gives_the_very_numbers_of_the_loop(window, util_pct, count, least):
    window, least = tuple(window[-count:]), min(least, count)
    shifted, stability = rle.next_stability(window, util_pct, count, least)
    assert shifted == (*window, util_pct)[-count:]
    assert stability == rle.stability(shifted, least)


@given(st.lists(PERCENTS, max_size=9), PERCENTS, st.integers(1, 9))
def test_the_written_out_mean_is_the_very_number_of_the_loop(window, value, count):
    window = tuple(window[-count:])
    shifted, mean = rle.next_mean(window, value, count)
    assert shifted == (*window, value)[-count:]
    assert mean == rle.mean(shifted)
    assert mean == pytest.approx(fmean(shifted), rel=1e-12)


@pytest.mark.parametrize(
    ("temp_c", "rise_c", "interval_s", "expected_s"),
    [
        (63.0, 0.5, 1.0, 40.0),
        (63.0, 0.5, 2.0, 80.0),
        (63.0, 0.0, 1.0, 600.0),
        (63.0, -2.0, 1.0, 600.0),
        (82.9, 0.0, 1.0, 100.0),
        (82.9, 1.0, 1.0, 1.0),
        (83.0, 0.5, 1.0, 1.0),
        (90.0, 0.5, 1.0, 1.0),
        (90.0, -0.5, 1.0, 1.0),
        (63.0, 0.01, 0.0, 2.0),
    ],
)
def test_time_to_the_limit_follows_the_rate_and_stays_within_its_bounds(
    temp_c, rise_c, interval_s, expected_s
):
    assert rle.t_sustain_s(MONITOR, temp_c, rise_c, interval_s) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("temp_c", "rise_c", "over_s", "expected_s"),
    [
        (63.0, 1.0, 2.0, 40.0),
        (63.0, None, 2.0, 600.0),
        (63.0, 0.0, 2.0, 600.0),
        (63.0, -1.0, 2.0, 600.0),
        (63.0, 1e-6, 2.0, 600.0),
        (82.9, 1.0, 2.0, 0.2),
        (83.0, -1.0, 2.0, 0.0),
        (83.0, None, 2.0, 0.0),
    ],
)
def test_headroom_time_to_the_limit_ends_at_zero(temp_c, rise_c, over_s, expected_s):
    assert rle.headroom_t_sustain_s(MONITOR, temp_c, rise_c, over_s) == pytest.approx(expected_s)


def test_headroom_is_the_share_of_the_limit_that_is_left():
    assert rle.headroom(MONITOR, 41.5) == 0.5
    assert rle.headroom(MONITOR, 83.0) == rle.headroom(MONITOR, 99.0) == 0.0


def test_load_is_power_over_rated_power():
    assert rle.a_load(MONITOR, 50.0) == 0.25
    assert rle.a_load(MONITOR, 0.0) == 0.0


@pytest.mark.parametrize("power_w", [None, -1.0, math.nan, math.inf])
def test_a_power_that_is_missing_or_impossible_is_refused(power_w):
    with pytest.raises(ValueError, match="power_w"):
        rle.a_load(MONITOR, power_w)


@pytest.mark.parametrize("power_w", [None, 30.0])
def test_without_a_rated_power_the_load_is_zero_whatever_the_power(power_w):
    unrated = params("monitor", rated_power_w=0.0, temp_limit_c=80.0)
    assert rle.a_load(unrated, power_w) == 0.0


def test_core_takes_zero_power_for_no_measurement():
    core = params("core", rated_power_w=200.0, temp_limit_c=83.0)
    with pytest.raises(ValueError, match="not measured"):
        rle.a_load(core, 0.0)

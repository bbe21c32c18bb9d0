from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.core.rle_samples import any_samples, at_work, run
from thermogate.analytics import rle_batch
from thermogate.core.profiles import PROFILES, Params, Result, Sample, params

GPU = {"rated_power_w": 200.0, "temp_limit_c": 83.0}


def batch(made: Params, samples: list[Sample]) -> rle_batch.Results:
    return rle_batch.run(
        made,
        [sample.util_ratio for sample in samples],
        [sample.temp_c for sample in samples],
        [sample.power_w for sample in samples],
        [sample.elapsed_s for sample in samples],
    )


def assert_equal_to_step(made: Params, samples: list[Sample]) -> rle_batch.Results:
    """Equal, not close: the two do the same operations in the same order."""
    got = batch(made, samples)
    stepped = run(made, samples)
    assert got._fields == Result.__struct_fields__
    for name, values in got._asdict().items():
        np.testing.assert_array_equal(values, [getattr(result, name) for result in stepped], err_msg=name)
    return got


@pytest.mark.parametrize("profile", PROFILES)
@given(data=st.data(), interval_s=st.none() | st.floats(0.1, 5.0))
def test_any_samples_give_the_numbers_of_step(profile, data, interval_s):
    samples = data.draw(any_samples(with_temp=profile == "headroom"))
    assert_equal_to_step(params(profile, **GPU, interval_s=interval_s), samples)


@pytest.mark.parametrize("rise_c", [5e-324, 2.225e-313])
@pytest.mark.parametrize("gap_s", [0.0, 30.0])
def test_a_rise_next_to_nothing_is_no_heating(rise_c, gap_s):
    samples = [Sample(0.5, temp_c, 100.0, n * gap_s) for n, temp_c in enumerate([0.0, 0.0, rise_c])]
    got = assert_equal_to_step(params("headroom", **GPU, interval_s=None), samples)
    assert got.t_sustain_s[2] == 600.0


@pytest.mark.parametrize("profile", PROFILES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 1500))
def test_a_device_at_work_gives_the_numbers_of_step(profile, seed, count):
    assert_equal_to_step(params(profile, **GPU), at_work(seed, count, with_temp=profile == "headroom"))


@pytest.mark.parametrize("profile", PROFILES)
def test_the_numbers_of_step_come_out_across_blocks_with_collapses_among_them(profile):
    count = 2 * rle_batch.BLOCK_COUNT + 77
    got = assert_equal_to_step(params(profile, **GPU), at_work(3, count, with_temp=profile == "headroom"))
    assert 50 < got.collapse.sum() < count / 2


@pytest.mark.parametrize(
    "overrides",
    [
        {"stability_window_count": 1, "stability_min_count": 1, "smoothing_count": 1},
        {"stability_window_count": 23, "stability_min_count": 4, "smoothing_count": 9},
        {"hysteresis_count": 1, "warmup_s": 0.0, "peak_floor": 0.5},
        {"warmup_count": 100, "heating_needs_reading": True},
        {"warmup_s": 1e9},
        {"warmup_s": None},
    ],
)
def test_other_parameters_give_the_numbers_of_step_too(overrides):
    assert_equal_to_step(params("monitor", **GPU, **overrides), at_work(5, 900))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_headroom_with_another_window_gives_the_numbers_of_step(count):
    made = params("headroom", **GPU, smoothing_count=count)
    assert_equal_to_step(made, at_work(6, 300, with_temp=True))


def test_without_power_and_rated_power_the_numbers_are_those_of_step():
    samples = [Sample(0.01 * n, None, None, float(n)) for n in range(100)]
    assert_equal_to_step(params("monitor", rated_power_w=0.0, temp_limit_c=80.0), samples)


@given(
    st.lists(st.floats(0.0, 1e6), max_size=300),
    st.sampled_from([0.998, 0.5, 1.0]),
    st.integers(0, 3000),
)
def test_the_peak_is_the_recursion_to_the_last_bit(values, decay, quiet):
    values = [*values, *[0.0] * quiet, *values[:3]]
    expected = list(accumulate(values, lambda peak, value: max(value, peak * decay)))
    assert rle_batch.decaying_peak(np.array(values, dtype=float), decay).tolist() == expected


def test_a_peak_fades_through_a_million_samples_without_overflow():
    values = np.zeros(1_000_000)
    values[0] = 1.0
    peaks = rle_batch.decaying_peak(values, 0.998)
    assert peaks[346] == pytest.approx(0.5, rel=1e-3)
    assert 0.0 <= peaks[-1] < 1e-300


BAD = [
    ("monitor", 0, 1.5, "util_ratio is 1.5, not 0 to 1"),
    ("monitor", 0, np.nan, "util_ratio is nan, not 0 to 1"),
    ("headroom", 1, np.nan, "temp_c was not measured"),
    ("monitor", 1, np.inf, "temp_c is inf"),
    ("monitor", 2, np.nan, "power_w was not measured"),
    ("monitor", 2, -1.0, "power_w is -1.0"),
    ("core", 2, 0.0, "power_w was not measured"),
    ("monitor", 3, 0.5, "elapsed_s is 0.5 after 1.0"),
    ("headroom", 3, np.inf, "elapsed_s is inf after 1.0"),
]


@pytest.mark.parametrize(("profile", "column", "value", "why"), BAD)
def test_what_step_refuses_is_refused_with_its_index(profile, column, value, why):
    columns = [np.full(4, 0.5), np.full(4, 60.0), np.full(4, 100.0), np.arange(4.0)]
    columns[column][2] = value
    with pytest.raises(ValueError, match=f"^index 2: {why}$"):
        rle_batch.run(params(profile, **GPU), *columns)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="four columns of one length"):
        rle_batch.run(params("monitor", **GPU), [0.5, 0.5], [60.0], [100.0], [0.0])

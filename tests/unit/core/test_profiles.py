import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.core.rle_growing import GrowingRle
from tests.unit.core.rle_samples import any_samples, at_work, run
from thermogate.core import profiles
from thermogate.core.profiles import PROFILES, Params, Sample, State, initial, params, step, why_absent

GPU = {"rated_power_w": 200.0, "temp_limit_c": 83.0}


@pytest.mark.parametrize("profile", ["monitor", "core"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_profile_is_its_formula_written_with_growing_lists(profile, seed):
    growing = GrowingRle(200.0, 83.0, core=profile == "core")
    samples = at_work(seed, 400)
    for result, sample in zip(run(params(profile, **GPU), samples), samples, strict=True):
        expected = growing.sample(sample.util_ratio, sample.temp_c, sample.power_w, sample.elapsed_s)
        got = msgspec.structs.asdict(result)
        assert got.pop("collapse") is expected.pop("collapse")
        assert got == pytest.approx(expected, rel=1e-10)


def test_the_runs_that_are_compared_do_collapse():
    for profile in ("monitor", "core"):
        flags = [r.collapse for seed in range(10) for r in run(params(profile, **GPU), at_work(seed, 400))]
        assert 20 < sum(flags) < len(flags) / 2


@pytest.mark.parametrize("profile", PROFILES)
@given(data=st.data())
def test_every_result_is_within_its_bounds(profile, data):
    samples = data.draw(any_samples(with_temp=profile == "headroom"))
    made = params(profile, **GPU)
    for result in run(made, samples):
        assert 0 <= result.stability <= 1
        assert 0 <= result.e_th <= result.stability
        assert 0 <= result.t_sustain_s <= 600
        assert result.t_sustain_s >= 1 or profile == "headroom"
        assert 0 <= result.rle_raw == result.e_th * result.e_pw < float("inf")
        assert 0 <= result.rle_smoothed < float("inf")
        assert result.rolling_peak == 0 or profile == "headroom" or result.rolling_peak >= result.rle_smoothed
        assert not result.collapse or result.rolling_peak > 0


@pytest.mark.parametrize("profile", PROFILES)
@given(data=st.data())
def test_the_same_state_and_sample_give_the_same_again_and_the_state_stays(profile, data):
    samples = data.draw(any_samples(with_temp=profile == "headroom"))
    made = params(profile, **GPU)
    state = initial(made)
    for sample in samples:
        before = msgspec.structs.replace(state)
        after, result = step(made, state, sample)
        assert step(made, state, sample) == (after, result)
        assert state == before
        state = after


def size_bytes(value: object) -> int:
    if isinstance(value, State):
        return sys.getsizeof(value) + sum(size_bytes(item) for item in msgspec.structs.astuple(value))
    items = value if isinstance(value, tuple) else ()
    return sys.getsizeof(value) + sum(size_bytes(item) for item in items)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_state_stops_growing_once_its_windows_are_full(profile):
    made = params(profile, **GPU)
    state, sizes = initial(made), []
    for sample in at_work(1, 5000, with_temp=True):
        state, _ = step(made, state, sample)
        sizes.append(size_bytes(state))
    assert max(sizes[100:]) <= max(sizes[70:100])


def test_windows_can_have_other_lengths():
    made = params("monitor", **GPU, stability_window_count=3, stability_min_count=3, smoothing_count=2)
    samples = [Sample(util, 50.0, 100.0, float(n)) for n, util in enumerate([0.0, 0.5, 0.8, 0.9, 1.0])]
    results = run(made, samples)
    assert results[1].stability == 1.0
    assert results[4].stability == pytest.approx(1 / (1 + (200 / 3) ** 0.5))
    assert results[4].rle_smoothed == (results[3].rle_raw + results[4].rle_raw) / 2


def test_published_profiles_take_one_second_whatever_the_clock_says():
    samples = [Sample(0.5, 60.0, 100.0, 0.0), Sample(0.5, 61.0, 100.0, 10.0)]
    assert run(params("monitor", **GPU), samples)[1].t_sustain_s == 22.0


@pytest.mark.parametrize("profile", ["monitor", "core"])
def test_without_an_interval_the_clock_of_the_samples_counts(profile):
    samples = [
        Sample(0.5, 60.0, 100.0, 0.0),
        Sample(0.5, None, 100.0, 4.0),
        Sample(0.5, 61.0, 100.0, 10.0),
    ]
    assert run(params(profile, **GPU, interval_s=None), samples)[2].t_sustain_s == 220.0


def test_headroom_takes_its_rate_over_two_intervals():
    samples = [Sample(0.5, temp_c, None, at_s) for temp_c, at_s in [(60.0, 0.0), (60.0, 5.0), (61.0, 10.0)]]
    assert run(params("headroom", **GPU), samples)[2].t_sustain_s == 44.0
    assert run(params("headroom", **GPU, interval_s=None), samples)[2].t_sustain_s == 220.0


def test_two_samples_at_one_instant_stay_finite():
    samples = [Sample(0.5, 60.0, 100.0, 1.0), Sample(0.5, 61.0, 100.0, 1.0), Sample(0.5, 62.0, 100.0, 1.0)]
    for profile in PROFILES:
        results = run(params(profile, **GPU, interval_s=None), samples)
        assert results[2].t_sustain_s <= 1.0


def test_a_missing_temperature_keeps_what_the_last_two_gave():
    samples = [
        Sample(0.5, 60.0, 100.0, 0.0),
        Sample(0.5, 61.0, 100.0, 1.0),
        Sample(0.5, None, 100.0, 2.0),
        Sample(0.5, None, 100.0, 3.0),
    ]
    assert [r.t_sustain_s for r in run(params("monitor", **GPU), samples)] == [600.0, 22.0, 22.0, 22.0]


def test_without_any_temperature_the_time_to_the_limit_is_the_longest():
    samples = [Sample(0.5, None, 100.0, float(second)) for second in range(5)]
    assert {r.t_sustain_s for r in run(params("monitor", **GPU), samples)} == {600.0}


def test_without_a_rated_power_monitor_divides_by_its_floor():
    unrated = params("monitor", rated_power_w=0.0, temp_limit_c=80.0)
    (result,) = run(unrated, [Sample(0.49, None, None, 0.0)])
    assert (result.a_load, result.e_pw) == (0.0, pytest.approx(490.0))


def test_the_first_sample_of_headroom_is_zero_but_counts_in_the_mean():
    samples = [Sample(0.8, 41.5, None, float(second)) for second in range(5)]
    results = run(params("headroom", **GPU), samples)
    assert results[0] == profiles.Result(0.0, 0.0, 0.0, 0.0, 0.8, 0.0, 0.0, False, 0.0)
    assert results[4].rle_smoothed == pytest.approx(results[4].rle_raw)


GOOD = Sample(0.5, 60.0, 100.0, 0.0)
REFUSED = [
    (("monitor", "core"), {"power_w": None}, "power_w was not measured"),
    (("core",), {"power_w": 0.0}, "power_w was not measured"),
    (("monitor", "core"), {"power_w": -1.0}, "power_w is -1.0"),
    (("monitor", "core"), {"power_w": float("nan")}, "power_w is nan"),
    (("monitor", "core"), {"power_w": float("inf")}, "power_w is inf"),
    (PROFILES, {"temp_c": float("nan")}, "temp_c is nan"),
    (PROFILES, {"temp_c": float("-inf")}, "temp_c is -inf"),
    (("headroom",), {"temp_c": None}, "temp_c was not measured"),
    (PROFILES, {"util_ratio": -0.01}, "util_ratio is -0.01"),
    (PROFILES, {"util_ratio": 1.01}, "util_ratio is 1.01"),
    (PROFILES, {"util_ratio": float("nan")}, "util_ratio is nan"),
]


@pytest.mark.parametrize(
    ("profile", "change", "why"),
    [(profile, change, why) for names, change, why in REFUSED for profile in names],
)
def test_a_sample_without_rle_is_refused_with_its_reason(profile, change, why):
    made = params(profile, **GPU)
    bad = msgspec.structs.replace(GOOD, **change)
    assert why in why_absent(made, bad)
    with pytest.raises(ValueError, match=why):
        step(made, initial(made), bad)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_sample_with_rle_has_no_reason_against_it(profile):
    assert why_absent(params(profile, **GPU), GOOD) is None


def test_headroom_needs_no_power():
    assert why_absent(params("headroom", **GPU), Sample(0.5, 60.0, None, 0.0)) is None


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("at_s", [4.9, float("nan"), float("inf")])
def test_time_that_goes_back_or_nowhere_is_refused(profile, at_s):
    made = params(profile, **GPU)
    state, _ = step(made, initial(made), msgspec.structs.replace(GOOD, elapsed_s=5.0))
    with pytest.raises(ValueError, match="elapsed_s is"):
        step(made, state, msgspec.structs.replace(GOOD, elapsed_s=at_s))


OTHER = {
    "interval_s": 3.0,
    "interval_floor_s": 1.5,
    "stability_window_count": 7,
    "stability_min_count": 3,
    "smoothing_count": 3,
    "t_sustain_min_s": 90.0,
    "t_sustain_max_s": 300.0,
    "peak_decay_ratio": 0.9,
    "drop_ratio": 0.8,
    "a_load_floor_ratio": 0.5,
    "temp_rate_floor_c_per_s": 0.2,
    "warmup_s": 30.0,
    "warmup_count": 100,
    "peak_floor": 3.0,
    "hysteresis_count": 4,
    "util_gate_ratio": 0.3,
    "a_load_gate_ratio": 0.2,
    "heating_gate_c": 0.3,
    "evidence_t_sustain_s": 10.0,
    "evidence_margin_c": 20.0,
    "evidence_a_load_ratio": 0.7,
}
"""A value of each parameter that no profile has."""
BY_PROFILE = {"monitor": {"zero_power_is_missing": True, "heating_needs_reading": True}}
BY_PROFILE["core"] = dict.fromkeys(BY_PROFILE["monitor"], False)
BY_PROFILE["headroom"] = {"a_load_fixed_ratio": 0.5}
NOT_IN_HEADROOM = set(OTHER) - {
    "interval_s",
    "interval_floor_s",
    "smoothing_count",
    "t_sustain_min_s",
    "t_sustain_max_s",
    "peak_decay_ratio",
    "drop_ratio",
}


def others(profile: str) -> dict[str, float]:
    """The parameters that a profile reads, each with a value that is not its own."""
    unread = NOT_IN_HEADROOM if profile == "headroom" else set()
    return {name: value for name, value in OTHER.items() if name not in unread} | BY_PROFILE[profile]


def played(profile: str, **overrides: float | None) -> list[profiles.Result | None]:
    """Results over runs with idle and zero power, and missing temperatures; None where refused."""
    made = params(profile, **GPU, **overrides)
    results: list[profiles.Result | None] = []
    for seed in range(20):
        state = initial(made)
        for number, sample in enumerate(at_work(seed, 300, with_temp=profile == "headroom")):
            if number == 290:  # late, as the peak that it sets hides every later one
                sample = msgspec.structs.replace(sample, power_w=0.0)
            if why_absent(made, sample):
                results.append(None)
                continue
            state, result = step(made, state, sample)
            results.append(result)
    return results


@pytest.mark.parametrize(
    ("profile", "name"), [(profile, name) for profile in PROFILES for name in others(profile)]
)
def test_every_parameter_of_a_profile_changes_its_results(profile, name):
    assert played(profile, **{name: others(profile)[name]}) != played(profile)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_parameter_that_a_profile_does_not_read_is_refused(profile):
    unread = set(Params.__struct_fields__) - {"profile", *GPU} - set(others(profile))
    assert unread
    for name in unread:
        with pytest.raises(ValueError, match=f"{profile} has no parameter '{name}'"):
            params(profile, **GPU, **{name: 1.0})


@pytest.mark.parametrize(
    ("kwargs", "why"),
    [
        ({"profile": "best"}, "unknown RLE profile 'best': expected one of monitor, core, headroom"),
        ({"rated_power_w": None}, "monitor needs rated_power_w"),
        ({"profile": "core", "rated_power_w": 0.0}, "core needs rated_power_w"),
        ({"temp_limit_c": None}, "monitor needs temp_limit_c"),
        ({"profile": "headroom", "temp_limit_c": None}, "headroom needs temp_limit_c"),
        ({"rated_power_w": -1.0}, "rated_power_w: Expected `float` >= 0.0"),
        ({"rated_power_w": float("nan")}, "rated_power_w"),
        ({"rated_power_w": float("inf")}, "rated_power_w"),
        ({"temp_limit_c": 0.0}, "temp_limit_c: Expected `float` > 0.0"),
        ({"temp_limit_c": float("nan")}, "temp_limit_c"),
        ({"hysteresis_count": 0}, "hysteresis_count"),
        ({"smoothing_count": 2.5}, "smoothing_count: Expected `int`"),
        ({"stability_window_count": 4}, "stability_min_count: more than stability_window_count"),
        ({"t_sustain_min_s": 601.0}, "t_sustain_min_s: more than t_sustain_max_s"),
        ({"drop_ratio": 1.5}, "drop_ratio"),
        ({"interval_s": 0.0}, "interval_s"),
        ({"warmup_s": float("nan")}, "warmup_s"),
        ({"drop_frac": 0.7}, "monitor has no parameter 'drop_frac'"),
    ],
)
def test_parameters_that_cannot_be_are_refused_in_words(kwargs, why):
    with pytest.raises(ValueError, match=why):
        params(**{"profile": "monitor", **GPU, **kwargs})


def test_headroom_may_go_without_a_rated_power():
    assert params("headroom", rated_power_w=None, temp_limit_c=83.0).temp_limit_c == 83.0

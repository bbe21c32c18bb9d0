"""The detector of `monitor` and `core` on runs made so that it fires, and each condition in turn.

No recorded session makes it fire. A run here is a calm phase that sets the peak and a hot phase
with less than 0.65 of that RLE; times are 1 s apart.
"""

from dataclasses import dataclass, replace

import pytest

from tests.unit.core.rle_samples import run
from thermogate.core import collapse
from thermogate.core.profiles import Sample, params


@dataclass(frozen=True)
class Phases:
    """A calm phase of constant temperature, then a hot one in which it rises every second."""

    calm_count: int = 70
    calm_util: float = 0.9
    calm_power_w: float = 60.0
    hot_count: int = 20
    hot_util: float = 0.9
    hot_power_w: float = 150.0
    start_c: float = 60.0
    rise_c: float = 0.5
    pause_every: int = 1000
    """Each so-manieth hot sample the temperature stands still."""

    def samples(self) -> list[Sample]:
        calm = [
            Sample(self.calm_util, self.start_c, self.calm_power_w, float(second))
            for second in range(self.calm_count)
        ]
        hot, temp_c = [], self.start_c
        for number in range(1, self.hot_count + 1):
            temp_c += self.rise_c if number % self.pause_every else 0.0
            second = float(self.calm_count + number - 1)
            hot.append(Sample(self.hot_util, temp_c, self.hot_power_w, second))
        return calm + hot


def collapses(phases: Phases, profile: str = "monitor", **overrides: float | None) -> list[int]:
    """The numbers of the hot samples, from 1, that are in collapse; none may be in the calm phase."""
    made = params(profile, rated_power_w=200.0, temp_limit_c=83.0, **overrides)
    flags = [result.collapse for result in run(made, phases.samples())]
    assert not any(flags[: phases.calm_count])
    return [number for number, flag in enumerate(flags[phases.calm_count :], 1) if flag]


HOT = Phases()
"""Load by utilization, evidence by time to the limit."""
AT_POWER_LIMIT = Phases(hot_power_w=196.0, rise_c=0.06)
"""Load and evidence by power; far from the limit."""
NEAR_LIMIT = Phases(start_c=78.5, rise_c=0.055)
"""Evidence by temperature alone: more than 60 s from the limit, but less than 5 C."""
BUSY_BY_POWER = Phases(hot_util=0.55, hot_power_w=155.0)
"""Load by power alone."""


@pytest.mark.parametrize("phases", [HOT, AT_POWER_LIMIT, NEAR_LIMIT, BUSY_BY_POWER])
@pytest.mark.parametrize("profile", ["monitor", "core"])
def test_a_hot_phase_with_a_third_of_rle_lost_is_a_collapse(phases, profile):
    assert collapses(phases, profile)


def test_a_collapse_begins_with_the_seventh_sample_on_end_that_has_dropped():
    made = params("monitor", rated_power_w=200.0, temp_limit_c=83.0)
    results = run(made, HOT.samples())[HOT.calm_count :]
    first_drop = next(
        number for number, result in enumerate(results, 1) if result.rle_smoothed < 0.65 * result.rolling_peak
    )
    assert collapses(HOT)[0] == first_drop + 6


def test_a_collapse_lasts_as_long_as_its_conditions():
    lasting = collapses(HOT)
    assert lasting == list(range(lasting[0], HOT.hot_count + 1))


@pytest.mark.parametrize(
    ("condition", "phases", "without", "with_"),
    [
        ("drop", replace(HOT, calm_power_w=110.0), {}, {"drop_ratio": 0.95}),
        ("load by utilization", replace(HOT, hot_util=0.6), {}, {"util_gate_ratio": 0.5}),
        ("load by power", BUSY_BY_POWER, {"a_load_gate_ratio": 0.8}, {}),
        ("heating", replace(AT_POWER_LIMIT, rise_c=0.04), {}, {"heating_gate_c": 0.03}),
        ("hysteresis on end", replace(HOT, pause_every=7), {}, {"hysteresis_count": 6}),
        ("hysteresis at the end", replace(HOT, hot_count=8), {}, {"hysteresis_count": 6}),
        ("warm-up by time", replace(HOT, calm_count=40), {}, {"warmup_s": 0.0}),
        ("warm-up by count", HOT, {"warmup_count": 91}, {}),
        ("evidence by time to the limit", HOT, {"evidence_t_sustain_s": 20.0}, {}),
        ("evidence by temperature", NEAR_LIMIT, {"evidence_margin_c": 2.0}, {}),
        ("evidence by power", AT_POWER_LIMIT, {"evidence_a_load_ratio": 0.98}, {}),
        ("a peak that fades slowly", HOT, {"peak_decay_ratio": 0.9}, {}),
    ],
)
def test_without_one_condition_there_is_no_collapse(condition, phases, without, with_):
    assert not collapses(phases, **without), condition
    assert collapses(phases, **with_), condition


def test_core_warms_up_by_five_samples_whatever_the_time():
    short = replace(HOT, calm_count=5)
    assert collapses(short, "core")
    assert not collapses(short, "core", warmup_count=30)
    assert not collapses(short, "monitor")


def test_before_the_warm_up_is_over_the_peak_is_zero():
    made = params("monitor", rated_power_w=200.0, temp_limit_c=83.0)
    peaks = [result.rolling_peak for result in run(made, HOT.samples())]
    assert peaks[:61] == [0.0] * 61
    assert all(peak > 0 for peak in peaks[61:])


def test_an_old_peak_fades_by_half_in_346_samples():
    made = params("monitor", rated_power_w=200.0, temp_limit_c=83.0)
    idle = [Sample(0.0, 60.0, 60.0, 70.0 + second) for second in range(400)]
    peaks = [result.rolling_peak for result in run(made, replace(HOT, hot_count=0).samples() + idle)]
    assert peaks[69 + 346] / peaks[69] == pytest.approx(0.5, rel=1e-3)


def blind(phases: Phases) -> list[Sample]:
    """The run with a temperature only in every calm sample and the first hot one."""
    samples = phases.samples()
    seen = phases.calm_count + 1
    return samples[:seen] + [Sample(s.util_ratio, None, s.power_w, s.elapsed_s) for s in samples[seen:]]


def test_monitor_goes_by_old_temperatures_and_core_does_not():
    samples = blind(HOT)
    monitor = params("monitor", rated_power_w=200.0, temp_limit_c=83.0)
    assert any(result.collapse for result in run(monitor, samples))
    core = params("core", rated_power_w=200.0, temp_limit_c=83.0)
    assert not any(result.collapse for result in run(core, samples))
    relaxed = params("core", rated_power_w=200.0, temp_limit_c=83.0, heating_needs_reading=False)
    assert any(result.collapse for result in run(relaxed, samples))


def test_no_temperature_at_all_is_no_heating():
    samples = [Sample(s.util_ratio, None, s.power_w, s.elapsed_s) for s in AT_POWER_LIMIT.samples()]
    made = params("monitor", rated_power_w=200.0, temp_limit_c=83.0, heating_gate_c=0.0)
    assert not any(result.collapse for result in run(made, samples))


def test_in_core_no_rle_at_all_is_a_drop_even_from_no_peak():
    nothing = Phases(calm_util=0.0, hot_util=0.0, hot_power_w=196.0)
    assert collapses(nothing, "core")
    assert not collapses(nothing, "core", peak_floor=0.0)


def test_headroom_compares_with_the_best_of_the_last_five_and_asks_nothing_else():
    made = params("headroom", rated_power_w=None, temp_limit_c=83.0)
    utils = [0.9] * 8 + [0.5] * 8
    results = run(made, [Sample(util, 60.0, None, float(n)) for n, util in enumerate(utils)])
    assert [n for n, result in enumerate(results) if result.collapse] == [8, 9, 10, 11]


def test_headroom_peak_is_the_sample_itself_until_five_are_there():
    made = params("headroom", rated_power_w=None, temp_limit_c=83.0)
    peak, dropped = collapse.headroom_detect(made, (3.0, 1.0, 1.0, 1.0), 1.0)
    assert (peak, dropped) == (1.0, False)
    peak, dropped = collapse.headroom_detect(made, (3.0, 1.0, 1.0, 1.0, 1.0), 1.0)
    assert (peak, dropped) == (3.0 * 0.998, True)

"""What the study makes ill, it makes ill as it says; and the settings of the signals are checked."""

import pytest

from benchmarks.signal_ill import ill_row
from benchmarks.signal_recordings import Row, straggler, worse_cooler
from benchmarks.signal_series import only
from thermogate.analytics.config import SignalSettings
from thermogate.core.clock import NS


def rows(count: int, device: str = "0") -> list[Row]:
    return [Row(second * NS, "gpu", device, 1.0, 65.0, 100.0 + second) for second in range(1, count + 1)]


def test_a_worse_cooler_adds_its_share_of_the_rise_with_the_time_of_the_heat_sink():
    change = worse_cooler(0.5, from_ns=100 * NS, limit_c=200.0, ambient_c=25.0, heat_s=60.0)
    temps = [change(row).temp_c for row in rows(1000)]
    assert temps[:99] == [65.0] * 99
    assert temps[160] == pytest.approx(65 + 20 * 0.63, abs=0.5)
    assert temps[-1] == pytest.approx(85.0, abs=0.01)


def test_a_worse_cooler_stops_at_the_limit():
    change = worse_cooler(0.5, from_ns=0, limit_c=80.0, ambient_c=25.0, heat_s=60.0)
    assert max(change(row).temp_c for row in rows(1000)) == 80.0


@pytest.mark.parametrize(
    ("how", "expected"), [("slow", 101 + 0.6 * (200 - 101)), ("late", 170.0), ("stopped", 101.0)]
)
def test_a_straggler_is_made_as_it_says_and_nobody_else_is_touched(how, expected):
    both = sorted(rows(200) + rows(200, "1"))
    made = straggler(both, "gpu1", how, 100 * NS)
    assert next(row for row in made if row.time_ns == 100 * NS and row.device == "1") is not None
    assert next(row.power_w for row in made if row.time_ns == 100 * NS and row.device == "0") == 200.0
    assert next(row.power_w for row in made if row.time_ns == 100 * NS and row.device == "1") == expected
    assert [row for row in made if row.time_ns < 100 * NS] == [row for row in both if row.time_ns < 100 * NS]


def test_a_case_that_was_not_seen_has_no_time():
    assert ill_row("x", "SYNC", [(None, False), (90.0, True)])["seen"] == 1
    assert ill_row("x", "SYNC", [(None, False)])["median s until"] == "-"


def test_a_sweep_moves_one_bound_and_silences_the_others():
    moved = only("repair_severity", 0.1)
    assert (moved.severity_bound, moved.severity_release) == (0.1, pytest.approx(0.06))
    assert moved.overload_bound > 1e6


@pytest.mark.parametrize("wrong", [{"fast_s": 600.0}, {"learn_s": 1e9}])
def test_windows_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="must be less than"):
        SignalSettings(**wrong)

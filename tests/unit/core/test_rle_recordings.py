"""Recorded sessions, with the columns that their own program computed, come out again.

`monitor` sessions have their inputs and outputs rounded (power to 0.01 W, RLE to 1e-6, a_load to
1e-3, t_sustain to 0.1 s), so the bound of each row is that rounding carried through the formula.
"""

import csv
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from thermogate.core.collapse import detect
from thermogate.core.profiles import Params, Result, Sample, initial, params, step

SESSIONS = Path(__file__).parents[2] / "recordings" / "rle_sessions"
CHAIN_GAP_S = 10.0
POWER_ROUNDING_W = 0.005
WRITTEN = {"e_th": 5e-7, "e_pw": 5e-7, "rle_raw": 5e-7, "rle_smoothed": 5e-7, "a_load": 5e-4}
SLACK = 1e-9
"""For the last digits of the arithmetic, in the bounds of rounded columns."""
FULL_WINDOWS = 14
"""A recording that begins in the middle has its own windows full after so many rows: 10 and 4."""

Row = dict[str, str]


def chains(name: str, device: str) -> list[list[Row]]:
    """The rows of one device, split where its program started anew."""
    with (SESSIONS / f"{name}.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["device"] == device]
    split: list[list[Row]] = []
    for row in rows:
        if not split or at_s(row) - at_s(split[-1][-1]) > CHAIN_GAP_S:
            split.append([])
        split[-1].append(row)
    return split


def at_s(row: Row) -> float:
    return datetime.fromisoformat(row["timestamp"].rstrip("Z") + "+00:00").timestamp()


def number(text: str) -> float | None:
    return float(text) if text else None


def sample(row: Row) -> Sample:
    return Sample(float(row["util_pct"]) / 100, number(row["temp_c"]), number(row["power_w"]), at_s(row))


def column(row: Row, name: str) -> float:
    return float(row[{"e_th": "E_th", "e_pw": "E_pw"}.get(name, name)])


def results(made: Params, rows: list[Row]) -> list[Result]:
    state, out = initial(made), []
    for row in rows:
        state, result = step(made, state, sample(row))
        out.append(result)
    return out


def bounds(made: Params, rows: list[Row], got: list[Result]) -> list[dict[str, float]]:
    """How far each column of each row may be off, by the rounding of power and of the column."""
    out, raw_bounds, peak_bound = [], [], 0.0
    for row, result in zip(rows, got, strict=True):
        rounding_w = POWER_ROUNDING_W if made.rated_power_w else 0.0
        share = rounding_w / (float(row["power_w"]) - rounding_w) if rounding_w else 0.0
        load = rounding_w / made.rated_power_w if made.rated_power_w else 0.0
        raw_bounds.append(result.rle_raw * share)
        smoothed = sum(raw_bounds[-5:]) / len(raw_bounds[-5:])
        peak_bound = max(smoothed, made.peak_decay_ratio * peak_bound)
        carried = {
            "e_th": 0.0,
            "e_pw": result.e_pw * share,
            "rle_raw": raw_bounds[-1],
            "rle_smoothed": smoothed,
            "a_load": load,
        }
        bound = {name: carried[name] + WRITTEN[name] + SLACK for name in WRITTEN}
        out.append(bound | {"t_sustain_s": 0.05 + SLACK, "rolling_peak": peak_bound + 5e-7 + SLACK})
    return out


MONITOR_SESSIONS = [
    ("monitor_gpu_light", "gpu", 0, 813, params("monitor", rated_power_w=200.0, temp_limit_c=83.0)),
    ("monitor_gpu_light", "cpu", 0, 813, params("monitor", rated_power_w=0.0, temp_limit_c=80.0)),
    *(
        ("monitor_cpu_hwinfo", "cpu", chain, count, params("monitor", rated_power_w=125.0, temp_limit_c=80.0))
        for chain, count in enumerate([1437, 74, 128, 69])
    ),
]


def test_the_program_of_the_cpu_session_was_started_four_times():
    starts = [rows[0]["timestamp"][11:19] for rows in chains("monitor_cpu_hwinfo", "cpu")]
    assert starts == ["04:00:00", "04:24:42", "04:27:55", "04:40:53"]


@pytest.mark.parametrize(("name", "device", "chain", "count", "made"), MONITOR_SESSIONS)
def test_a_monitor_session_is_reproduced_within_the_rounding_of_its_inputs(name, device, chain, count, made):
    rows = chains(name, device)[chain]
    assert len(rows) == count
    cut = name == "monitor_cpu_hwinfo" and chain == 0  # begins in the middle of a run of its program
    got = results(made, rows)
    compared = list(zip(rows, got, bounds(made, rows, got), strict=True))[FULL_WINDOWS if cut else 0 :]
    for row, result, bound in compared:
        for column_name, most in bound.items():
            if column_name == "rolling_peak" and cut:
                continue
            off = abs(getattr(result, column_name) - column(row, column_name))
            assert off <= most, (row["timestamp"], column_name)


@pytest.mark.parametrize(("name", "device", "chain", "count", "made"), MONITOR_SESSIONS)
def test_every_collapse_flag_of_a_monitor_session_is_the_recorded_one(name, device, chain, count, made):
    rows = chains(name, device)[chain]
    assert [result.collapse for result in results(made, rows)] == [row["collapse"] == "1" for row in rows]


def test_a_chain_that_begins_in_the_middle_goes_on_from_its_recorded_peak():
    made = params("monitor", rated_power_w=125.0, temp_limit_c=80.0)
    rows = chains("monitor_cpu_hwinfo", "cpu")[0]
    state = initial(made)
    for row in rows[:FULL_WINDOWS]:
        state, _ = step(made, state, sample(row))
    peak = column(rows[FULL_WINDOWS - 1], "rolling_peak")
    state = msgspec.structs.replace(state, warm=True, peak=peak)
    for row in rows[FULL_WINDOWS:]:
        state, result = step(made, state, sample(row))
        assert result.rolling_peak == pytest.approx(column(row, "rolling_peak"), abs=1e-4)
        assert result.collapse is (row["collapse"] == "1")


@pytest.mark.parametrize(("name", "device", "chain", "count", "made"), MONITOR_SESSIONS)
def test_the_peak_follows_from_the_recorded_smoothed_values_to_their_last_digit(
    name, device, chain, count, made
):
    rows = [row for row in chains(name, device)[chain] if column(row, "rolling_peak") > 0]
    assert rows
    for before, row in pairwise(rows):
        peak, _, _ = detect(
            made, column(before, "rolling_peak"), 0, column(row, "rle_smoothed"), 0.0, 0.0, 600.0, None, 0.0
        )
        assert peak == pytest.approx(column(row, "rolling_peak"), abs=1.1e-6)


@pytest.mark.parametrize(("name", "flags"), [("headroom_training_1", 93), ("headroom_training_2", 99)])
def test_a_headroom_session_is_reproduced_to_the_last_digits_with_every_collapse(name, flags):
    seen = 0
    for device, limit_c in (("gpu", 83.0), ("cpu", 80.0)):
        (rows,) = chains(name, device)
        assert len(rows) == 180
        made = params("headroom", rated_power_w=None, temp_limit_c=limit_c)
        for row, result in zip(rows, results(made, rows), strict=True):
            for column_name in (*WRITTEN, "t_sustain_s", "rolling_peak"):
                assert getattr(result, column_name) == pytest.approx(column(row, column_name), abs=1e-12)
            assert result.collapse is (float(row["collapse"]) == 1.0)
            seen += result.collapse
    assert seen == flags


def test_the_windows_of_another_profile_do_not_reproduce_a_session():
    made = params("core", rated_power_w=200.0, temp_limit_c=83.0)
    rows = chains("monitor_gpu_light", "gpu")[0]
    off = [
        abs(result.rle_raw - column(row, "rle_raw")) > 2e-3
        for row, result in zip(rows, results(made, rows), strict=True)
    ]
    assert sum(off) > 0.3 * len(off)

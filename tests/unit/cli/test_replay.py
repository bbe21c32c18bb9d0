import argparse
import csv
import io
import json
from pathlib import Path

import pytest

from thermogate.agent import recording
from thermogate.cli import replay
from thermogate.core.errors import ConfigError, UnavailableError

SESSIONS = Path(__file__).parents[2] / "recordings" / "rle_sessions"
HEADER = "timestamp,device,util_pct,temp_c,power_w\n"
COLUMNS = "timestamp,rle_raw,rle_smoothed,e_th,e_pw,a_load,t_sustain_s,rolling_peak,collapse"


def run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    replay.add_parser(parser.add_subparsers())
    args = parser.parse_args(["replay", *map(str, argv)])
    return args.run(args)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def recorded(name: str, device: str) -> list[dict[str, str]]:
    return [row for row in table((SESSIONS / name).read_text()) if row["device"] == device]


def seconds(*numbers: float, device: str = "gpu") -> str:
    return "".join(
        f"2025-10-29T{int(n) // 3600:02d}:{int(n) // 60 % 60:02d}:{int(n) % 60:02d}Z,{device},50,60,100\n"
        for n in numbers
    )


@pytest.fixture
def session(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "session.csv"
        path.write_text(text)
        return path

    return write


MONITOR = [
    ("monitor_gpu_light.csv", ["--device", "gpu"], "gpu", 0),
    ("monitor_gpu_light.csv", ["--device", "cpu", "--rated-power-w", 0], "cpu", 0),
    ("monitor_cpu_hwinfo.csv", ["--device", "cpu"], "cpu", 14),
]


@pytest.mark.parametrize(("name", "options", "device", "skip"), MONITOR)
def test_a_monitor_session_comes_out_as_recorded(tmp_path, name, options, device, skip):
    out = tmp_path / "out.csv"
    assert run(SESSIONS / name, "--profile", "monitor", *options, "--out", out) == 0
    rows, expected = table(out.read_text()), recorded(name, device)
    assert ",".join(rows[0]) == COLUMNS
    assert [row["timestamp"] for row in rows] == [row["timestamp"] for row in expected]
    assert [row["collapse"] for row in rows] == [row["collapse"] for row in expected]
    most = {"rle_raw": 1e-3, "rle_smoothed": 1e-3, "E_th": 1e-6, "E_pw": 2e-3, "a_load": 5.3e-4}
    for row, was in list(zip(rows, expected, strict=True))[skip:]:
        for column, off in {**most, "t_sustain_s": 0.051}.items():
            assert float(row[column.lower()]) == pytest.approx(float(was[column]), abs=off), row["timestamp"]


@pytest.mark.parametrize("name", ["headroom_training_1.csv", "headroom_training_2.csv"])
@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_a_headroom_session_comes_out_as_recorded(tmp_path, name, device):
    out = tmp_path / "out.csv"
    assert run(SESSIONS / name, "--profile", "headroom", "--device", device, "--out", out) == 0
    for row, was in zip(table(out.read_text()), recorded(name, device), strict=True):
        for column in ("rle_raw", "rle_smoothed", "E_th", "E_pw", "a_load", "t_sustain_s", "rolling_peak"):
            assert float(row[column.lower()]) == pytest.approx(float(was[column]), abs=1e-12)
        assert row["collapse"] == str(int(float(was["collapse"])))


def test_numbers_are_written_with_all_their_digits(session, capsys):
    assert run(session(HEADER + seconds(0)), "--rated-power-w", 300, "--temp-limit-c", 83) == 0
    (row,) = table(capsys.readouterr().out)
    assert row["a_load"] == repr(100 / 300)
    assert row["timestamp"] == "2025-10-29T00:00:00Z"


def test_limits_that_nobody_gave_are_the_published_ones_and_said_so(session, capsys):
    assert run(session(HEADER + seconds(0))) == 0
    said = capsys.readouterr().err
    assert "assuming rated_power_w 200, the published default for a gpu" in said
    assert "assuming temp_limit_c 83, the published default for a gpu" in said


def test_limits_that_are_given_are_not_spoken_of(session, capsys):
    assert run(session(HEADER + seconds(0)), "--rated-power-w", 300, "--temp-limit-c", 90) == 0
    assert "assuming" not in capsys.readouterr().err


def test_headroom_assumes_no_power(session, capsys):
    assert run(session(HEADER + seconds(0, 1)), "--profile", "headroom") == 0
    assert "rated_power_w" not in capsys.readouterr().err


def test_a_shipped_recording_brings_its_own_profile_and_limits(tmp_path, capsys):
    for path in recording.shipped():
        assert run(path, "--device", "gpu", "--out", tmp_path / "out.csv", "--json") == 0
        output = capsys.readouterr()
        assert "assuming" not in output.err
        assert json.loads(output.out)["profile"] == path.stem.partition("_")[0]


def test_the_summary_is_one_object_with_what_was_played(session, tmp_path, capsys):
    path = session(HEADER + seconds(0, 1, 2) + "bad\n" + seconds(60, 61))
    assert run(path, "--temp-limit-c", 90, "--out", tmp_path / "out.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": str(path),
        "device": "gpu0",
        "profile": "monitor",
        "rated_power_w": 200.0,
        "temp_limit_c": 90.0,
        "assumed": ["rated_power_w"],
        "rows_count": 5,
        "chains_count": 2,
        "collapse_rows_count": 0,
        "skipped_rows_count": 1,
    }


@pytest.mark.parametrize(("gap_s", "chains"), [(1.5, 3), (10, 2), (60, 1)])
def test_a_gap_longer_than_the_setting_starts_afresh(session, tmp_path, capsys, gap_s, chains):
    path = session(HEADER + seconds(0, 1, 3, 4, 40, 41))
    assert run(path, "--chain-gap-s", gap_s, "--out", tmp_path / "out.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["chains_count"] == chains


def test_after_a_gap_nothing_is_remembered(session, capsys):
    varied = "".join(
        f"2025-10-29T00:00:{second:02d}Z,gpu,{util},60,100\n" for second, util in enumerate([0, 100] * 5)
    )
    assert run(session(HEADER + varied + seconds(50))) == 0
    rows = table(capsys.readouterr().out)
    assert rows[-1]["rle_smoothed"] == rows[-1]["rle_raw"]
    assert float(rows[-1]["rle_raw"]) == pytest.approx(1 / (1 + 1 / 600))


def test_bad_rows_are_named_by_line_and_counted_and_the_rest_plays(session, capsys):
    path = session(
        HEADER
        + seconds(0)
        + "2025-10-29T00:00:01Z,gpu,nan,60,100\n"
        + "2025-10-29T00:00:02Z,gpu,50,60,\n"
        + seconds(3)
        + "2025-10-29T00:00:04Z,gpu,,60,100\n"
        + "2025-10-29T00:00:05Z,gp"
    )
    assert run(path) == 0
    output = capsys.readouterr()
    assert len(table(output.out)) == 2
    assert f"{path}, line 3: util_pct is 'nan', not a finite number: skipped" in output.err
    assert f"{path}, line 4: power_w was not measured: skipped" in output.err
    assert f"{path}, line 6: util_pct was not measured: skipped" in output.err
    assert f"{path}, line 7: 2 fields where the header has 5: cut short: skipped" in output.err
    assert "bad rows skipped: 4" in output.err


def test_of_many_bad_rows_the_first_are_shown_and_all_counted(session, capsys):
    path = session(HEADER + seconds(0) + "bad\n" * 500)
    assert run(path) == 0
    said = capsys.readouterr().err
    assert said.count(": skipped\n") == replay.SHOWN_COMPLAINTS_COUNT
    assert "500 rows skipped in all" in said


def test_refused_rows_do_not_start_a_chain(session, tmp_path, capsys):
    blind = seconds(0, 1).replace(",100\n", ",\n")
    path = session(HEADER + blind + seconds(2, 3))
    assert run(path, "--out", tmp_path / "out.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["chains_count"] == 1


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (HEADER, ["--device", "gpu"]),
        (HEADER + seconds(0), ["--device", "gpu1"]),
        (HEADER + seconds(0).replace(",100\n", ",\n"), []),
    ],
)
def test_nothing_to_play_is_a_failure_and_writes_nothing(session, tmp_path, capsys, text, options):
    out = tmp_path / "out.csv"
    assert run(session(text), *options, "--out", out) == 1
    assert "could be played" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--rated-power-w", "-5"], "rated_power_w"),
        (["--rated-power-w", "nan"], "rated_power_w"),
        (["--temp-limit-c", "0"], "temp_limit_c"),
        (["--profile", "core", "--rated-power-w", "0"], "core needs rated_power_w"),
        (["--device", "fan"], "unknown device 'fan'"),
        (["--chain-gap-s", "0"], "--chain-gap-s 0"),
        (["--chain-gap-s", "nan"], "--chain-gap-s nan"),
        (["--json"], "--json"),
    ],
)
def test_arguments_that_cannot_be_are_a_configuration_error(session, options, why):
    with pytest.raises(ConfigError, match=why):
        run(session(HEADER + seconds(0)), *options)


def test_of_several_devices_one_must_be_chosen(session):
    path = session(HEADER + seconds(0) + seconds(0, device="gpu1"))
    with pytest.raises(ConfigError, match="it has gpu0, gpu1: choose with --device"):
        run(path)
    assert run(path, "--device", "gpu1") == 0


def test_an_unusable_file_is_a_configuration_error(session):
    with pytest.raises(ConfigError, match="line 1: no column"):
        run(session("a,b\n1,2\n"))


def test_the_recording_is_never_written_over(session):
    path = session(HEADER + seconds(0))
    with pytest.raises(ConfigError, match="that is the recording itself"):
        run(path, "--out", path)
    assert path.read_text() == HEADER + seconds(0)


def test_a_place_that_cannot_be_written_is_one_sentence(session, tmp_path):
    with pytest.raises(UnavailableError, match=r"cannot write .*: No such file or directory"):
        run(session(HEADER + seconds(0)), "--out", tmp_path / "no" / "out.csv")

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermogate.agent import recording
from thermogate.agent.recording import Complaint, RecordingError
from thermogate.core.errors import ConfigError

SESSIONS = Path(__file__).parents[2] / "recordings" / "rle_sessions"
HEADER = "timestamp,device,util_pct,temp_c,power_w\n"
GOOD = "2025-10-29T00:00:00Z,gpu,50,60,100\n"


@pytest.fixture
def written(tmp_path):
    def write(text: str | bytes) -> recording.Recording:
        path = tmp_path / "session.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return recording.read(path)

    return write


@pytest.mark.parametrize(
    ("name", "devices", "count"),
    [
        ("monitor_gpu_light", (("gpu", "0"), ("cpu", "0")), 1626),
        ("monitor_cpu_hwinfo", (("cpu", "0"),), 1708),
        ("headroom_training_1", (("cpu", "0"), ("gpu", "0")), 360),
        ("headroom_training_2", (("cpu", "0"), ("gpu", "0")), 360),
    ],
)
def test_every_row_of_a_real_session_is_read(name, devices, count):
    read = recording.read(SESSIONS / f"{name}.csv")
    assert read.complaints == ()
    assert len(read.rows) == count
    assert read.devices() == devices
    assert read.has_utc


def test_a_row_keeps_its_line_its_stamp_and_its_values(written):
    read = written(HEADER + GOOD + "2025-10-29T00:00:01.5,cpu1,12.5,,\n")
    assert read.rows[1] == recording.Row(
        line=3,
        stamp="2025-10-29T00:00:01.5",
        time_ns=1_761_696_001_500_000_000,
        kind="cpu",
        device="1",
        util_pct=12.5,
        temp_c=None,
        power_w=None,
    )


def test_what_was_not_measured_is_absent_and_the_rest_of_the_row_stays(written):
    (row,) = written(HEADER + "2025-10-29T00:00:00Z,gpu,,,612.4\n").rows
    assert (row.util_pct, row.temp_c, row.power_w) == (None, None, 612.4)


@pytest.mark.parametrize(
    ("stamp", "time_ns"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:01", 1_000_000_000),
        ("1970-01-01 00:00:01.25", 1_250_000_000),
        ("1970-01-01T02:00:01+02:00", 1_000_000_000),
        ("1970-01-01T00:00:00.123456789Z", 123_456_789),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
    ],
)
def test_a_time_is_utc_to_the_nanosecond_and_without_a_zone_utc_too(written, stamp, time_ns):
    assert written(f"{HEADER}{stamp},gpu,1,2,3\n").rows[0].time_ns == time_ns


def test_columns_may_stand_in_any_order_among_others(written):
    read = written(
        "\ufeffnode,power_w, device ,alerts,temp_c,util_pct,timestamp\n"
        'n1,1,gpu3,"a,b",2,3,1970-01-01T00:00:00Z\n'
    )
    (row,) = read.rows
    assert (row.device, row.power_w, row.temp_c, row.util_pct) == ("3", 1.0, 2.0, 3.0)


def test_seconds_from_zero_may_stand_for_the_timestamp(written):
    read = written("t_s,device,util_pct,temp_c,power_w\n0.0,gpu0,1,2,3\n0.1,gpu0,1,2,3\n")
    assert [row.time_ns for row in read.rows] == [0, 100_000_000]
    assert not read.has_utc


def test_rows_of_one_instant_come_together_and_instants_in_order(written):
    by_device = "".join(
        f"1970-01-01T00:00:0{second}Z,{tag},1,2,3\n" for tag in ("gpu0", "gpu1") for second in range(3)
    )
    ticks = list(written(HEADER + by_device).ticks())
    assert [[(row.device, row.time_ns // 10**9) for row in tick] for tick in ticks] == [
        [("0", 0), ("1", 0)],
        [("0", 1), ("1", 1)],
        [("0", 2), ("1", 2)],
    ]


def test_rows_of_one_device_are_told_from_those_of_another(written):
    read = written(HEADER + GOOD + GOOD.replace("gpu", "gpu1") + GOOD.replace("gpu", "cpu"))
    assert [row.line for row in read.of(("gpu", "1"))] == [3]
    assert read.of(("cpu", "7")) == ()


BAD_ROWS = [
    ("2025-10-29T00:00:01Z,gpu,5", "3 fields where the header has 5: cut short"),
    ("2025-10-29T00:00:01Z,gpu,50,60,100,7", "6 fields where the header has 5"),
    ("2025-10-29T00:00:01Z,gpu,nan,60,100", "util_pct is 'nan', not a finite number"),
    ("2025-10-29T00:00:01Z,gpu,50,inf,100", "temp_c is 'inf', not a finite number"),
    ("2025-10-29T00:00:01Z,gpu,50,60,-inf", "power_w is '-inf', not a finite number"),
    ("2025-10-29T00:00:01Z,gpu,50,60,1x", "power_w is '1x', not a number"),
    ("2025-10-29T00:00:01Z,gpu,100.5,60,100", "util_pct is 100.5, not 0 to 100"),
    ("2025-10-29T00:00:01Z,gpu,-1,60,100", "util_pct is -1, not 0 to 100"),
    ("2025-10-29T00:00:01Z,gpu,, ,", "nothing in util_pct, temp_c, power_w"),
    ("2025-10-29T00:00:01Z,gpu,50,60,-3", "power_w is -3, below 0"),
    ("2025-10-28T23:59:59Z,gpu,50,60,100", "time goes back on gpu0"),
    ("2025-10-29T00:00:00Z,gpu0,50,60,100", "a second row of gpu0 at 2025-10-29T00:00:00Z"),
    ("soon,gpu,50,60,100", "timestamp is 'soon', not an ISO 8601 time"),
    ("2025-13-29T00:00:01Z,gpu,50,60,100", "timestamp is '2025-13-29T00:00:01Z'"),
    ("2025-10-29T00:00:01Z,node,50,60,100", "unknown device 'node'"),
    ("2025-10-29T00:00:01Z,gpu-1,50,60,100", "unknown device 'gpu-1'"),
    ("2025-10-29T00:00:01Z,,50,60,100", "unknown device ''"),
    ('2025-10-29T00:00:01Z,"gpu,50,60,100', "2 fields"),
    ("x" * 200_000, "not a line of CSV"),
]


@pytest.mark.parametrize(("bad", "why"), BAD_ROWS)
def test_a_bad_row_is_skipped_with_its_line_and_the_rest_plays(written, bad, why):
    read = written(f"{HEADER}{GOOD}{bad}\n2025-10-29T00:00:02Z,gpu,51,60,100\n")
    assert [row.line for row in read.rows] == [2, 4]
    ((line, text),) = read.complaints
    assert line == 3
    assert text.startswith(why)


def test_a_line_cut_at_the_end_of_the_file_is_a_bad_row(written):
    read = written(HEADER + GOOD + "2025-10-29T00:00:01Z,gp")
    assert read.complaints == (Complaint(3, "2 fields where the header has 5: cut short"),)


def test_a_whole_last_line_needs_no_newline(written):
    assert len(written(HEADER + GOOD.rstrip("\n")).rows) == 1


def test_empty_lines_and_the_line_ends_of_windows_are_nothing_wrong(written):
    read = written((HEADER + "\n" + GOOD + "\n\n").replace("\n", "\r\n"))
    assert (len(read.rows), read.complaints) == (1, ())


def test_bytes_that_are_no_text_spoil_their_own_line_only(written):
    read = written(HEADER.encode() + b"\xff\xfe\x00,gpu,1,2,3\n" + GOOD.encode())
    assert [row.line for row in read.rows] == [3]
    assert read.complaints[0].line == 2


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("", "timestamp (or t_s), device, util_pct, temp_c, power_w"),
        ("timestamp,device,util_pct,temp_c", "power_w"),
        ("time,device,util_pct,temp_c,power_w", "timestamp (or t_s)"),
        ("t_s,device,power_w", "util_pct, temp_c"),
    ],
)
def test_missing_columns_are_named_with_file_and_line(written, tmp_path, header, missing):
    with pytest.raises(RecordingError) as refused:
        written(header + "\n" + GOOD)
    assert str(refused.value) == f"{tmp_path / 'session.csv'}, line 1: no column {missing}"


def test_a_file_that_cannot_be_opened_is_a_configuration_error(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ConfigError, match="cannot read the recording"):
            recording.read(path)


@given(st.integers(0, 2**32))
def test_a_damaged_file_gives_only_rows_that_were_in_the_whole_one(tmp_path_factory, seed):
    rng = random.Random(seed)
    path = tmp_path_factory.mktemp("damaged") / "session.csv"
    whole = (SESSIONS / "headroom_training_1.csv").read_bytes()[:6000]
    start = whole.index(b"\n") + 1
    cut = whole[: rng.randrange(start, len(whole))]
    place = rng.randrange(start, len(cut) + 1)
    path.write_bytes(cut[:place] + bytes(rng.randrange(128, 256) for _ in range(3)) + cut[place:])
    read = recording.read(path)
    lines = whole.splitlines()
    for row in read.rows:
        fields = lines[row.line - 1].decode().split(",")
        assert (row.stamp, row.kind) == (fields[0], fields[1])
        assert row.power_w == float(fields[7])
    assert len(read.rows) + len(read.complaints) == len([x for x in path.read_bytes().split(b"\n")[1:] if x])


def test_the_shipped_recordings_are_read_whole_and_say_where_they_come_from():
    paths = recording.shipped()
    assert [path.name for path in paths] == ["headroom_training_1.csv", "monitor_gpu_light.csv"]
    for path in paths:
        assert recording.read(path).complaints == ()
        known = recording.sidecar(path)
        assert "Nemeca99/RLE" in known.source
        assert known.licence == "MIT, Copyright (c) 2025 Nemeca99"
        assert known.gpu.model == "GeForce-RTX-3060-Ti"
        assert path.with_name("LICENSE").read_text().startswith("MIT License")
        assert path.read_bytes() == (SESSIONS / path.name).read_bytes()


def test_constants_in_a_recording_do_not_pass_for_measurements():
    (path,) = [path for path in recording.shipped() if path.stem == "headroom_training_1"]
    read, known = recording.read(path), recording.sidecar(path)
    cpu, gpu = read.of(("cpu", "0"))[5], read.of(("gpu", "0"))[5]
    assert (cpu.temp_c, cpu.power_w) == (50.0, 125.0)
    assert (known.measured(cpu).temp_c, known.measured(cpu).power_w) == (None, None)
    assert known.measured(cpu).util_pct == cpu.util_pct
    assert known.measured(gpu) == gpu


def test_a_recording_without_a_sidecar_has_none(tmp_path):
    assert recording.sidecar(tmp_path / "session.csv") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('source = "here"', "licence"),
        ('source = "here"\nlicence = "MIT"\nrated_w = 3', "rated_w"),
        ('source = "here"\nlicence = "MIT"\nprofile = "best"', "best"),
        ("source = ", "not valid TOML"),
    ],
)
def test_a_wrong_sidecar_is_a_configuration_error_that_says_what(tmp_path, text, why):
    (tmp_path / "session.toml").write_text(text)
    with pytest.raises(ConfigError, match=why):
        recording.sidecar(tmp_path / "session.csv")

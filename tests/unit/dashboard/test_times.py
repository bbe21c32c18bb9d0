import pytest

from thermogate.core.clock import NS
from thermogate.core.errors import ConfigError
from thermogate.dashboard.times import format_clock, format_time, parse_duration, parse_time

NOW = 1_763_712_000 * NS  # 2025-11-21T08:00:00Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("2025-11-21T08:00:00Z", NOW),
        ("2025-11-21t08:00:00z", NOW),
        ("2025-11-21 08:00:00", NOW),
        ("2025-11-21T08:00", NOW),
        ("2025-11-21T09:30:00+01:30", NOW),
        ("2025-11-21T08:00:00.000000001Z", NOW + 1),
        ("2025-11-21T08:00:00.5Z", NOW + NS // 2),
        ("2025-11-21", NOW - 8 * 3600 * NS),
        ("1763712000", NOW),
        ("1763712000.25", NOW + NS // 4),
        ("1763712000000000001", NOW + 1),
        ("-15m", NOW - 900 * NS),
        ("15m", NOW - 900 * NS),
        ("1.5h", NOW - 5400 * NS),
        ("2d", NOW - 172_800 * NS),
        ("0", 0),
    ],
)
def test_every_way_to_write_a_time_is_read_to_the_nanosecond(text, expected):
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2025-13-01",
        "2025-11-21T25:00:00Z",
        "15 m",
        "--15m",
        "1e9",
        "2025-11-21T08:00:00+99:00",
    ],
)
def test_what_is_no_time_is_refused_with_what_was_expected(text):
    with pytest.raises(ConfigError, match="expected RFC 3339"):
        parse_time(text, NOW)


def test_a_time_before_1970_ago_is_the_beginning():
    assert parse_time("99999w", NOW) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", NS // 2), ("5s", 5 * NS), ("2m", 120 * NS), ("1w", 604_800 * NS), ("3", 3 * NS)],
)
def test_durations_carry_their_unit_or_are_seconds(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "5 s", "-5s", "5y", "five"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ConfigError, match="expected a number and a unit"):
        parse_duration(text)


def test_a_formatted_time_is_read_back_to_the_nanosecond():
    for time_ns in (0, NOW, NOW + 1, NOW + 999_999_999):
        assert parse_time(format_time(time_ns), 0) == time_ns
    assert format_time(NOW + 7) == "2025-11-21T08:00:00.000000007Z"


def test_the_day_is_named_only_when_it_is_another_one():
    assert format_clock(NOW, NOW + 60 * NS) == "08:00:00 UTC"
    assert format_clock(NOW, NOW + 86_400 * NS) == "2025-11-21 08:00:00 UTC"

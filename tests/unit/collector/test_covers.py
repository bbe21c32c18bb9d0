"""Which times windows answer, by the fields that they have."""

from pathlib import Path

import pytest

from thermogate.collector.config import CollectorSettings
from thermogate.collector.store.covers import EVERY, Covers, decoded, encoded, having, remade, told
from thermogate.collector.store.resolution import STEP_NS, Window, sampled_fields
from thermogate.core.config import load
from thermogate.core.errors import ConfigError

HOUR_NS = STEP_NS["1h"]
TEMP, POWER, BOTH = frozenset({"temp_c"}), frozenset({"power_w"}), frozenset({"temp_c", "power_w"})


def hours(first: float, last: float) -> tuple[int, int]:
    return round(first * HOUR_NS), round(last * HOUR_NS)


COVERS: Covers = {"1m": {TEMP: (hours(0, 2),), POWER: (hours(1, 3), hours(5, 6)), BOTH: (hours(2.5, 4),)}}


def test_a_question_is_answered_where_every_field_has_windows() -> None:
    assert having(COVERS, TEMP) == {"1m": (hours(0, 2), hours(2.5, 4))}
    assert having(COVERS, POWER) == {"1m": (hours(1, 4), hours(5, 6))}
    assert having(COVERS, BOTH) == {"1m": (hours(1, 2), hours(2.5, 4))}
    assert having(COVERS, {"rle"}) == having(COVERS, {"rle", "temp_c"}) == {}


def test_windows_that_are_made_anew_keep_what_they_had() -> None:
    assert remade(COVERS, "1m", [Window(*hours(0, 1))], frozenset({"rle"})) == {"rle", "temp_c"}
    assert remade(COVERS, "1m", [Window(*hours(4, 5))], TEMP) == TEMP
    assert remade(COVERS, "1h", [Window(*hours(0, 1))], POWER) == POWER


def test_an_hour_has_what_all_its_minutes_have() -> None:
    assert told(COVERS, "1h", hours(0, 4), BOTH) == [
        (hours(0, 1), TEMP),
        (hours(1, 2), BOTH),
        (hours(2, 3), POWER),
        (hours(3, 4), BOTH),
    ]
    assert told(COVERS, "1h", hours(7, 9), BOTH) == [(hours(7, 9), BOTH)]
    assert told(COVERS, "1m", hours(0, 4), BOTH) == [(hours(0, 4), BOTH)]


def test_an_hour_of_which_nothing_is_complete_is_not_told() -> None:
    assert told(COVERS, "1h", hours(0, 1), POWER) == []


def test_fields_are_one_word_and_none_is_every_field() -> None:
    assert decoded(encoded(BOTH)) == BOTH
    assert encoded(BOTH) == "power_w+temp_c"
    assert decoded("") == decoded(None) == EVERY


def test_energy_is_computed_only_where_the_counter_is_known_to_tell_none() -> None:
    assert sampled_fields("gpu", POWER) == ("power_w", "energy_j")
    assert sampled_fields("gpu", TEMP) == ("temp_c",)
    assert sampled_fields("node", TEMP) == ()


@pytest.mark.parametrize("fields", ['["temp_c", "power"]', "[]", '["cpu_s"]'])
def test_field_to_roll_up_that_there_is_not_is_an_error_of_the_settings(tmp_path: Path, fields: str) -> None:
    file = tmp_path / "thermogate.toml"
    file.write_text(f"[rollup]\nfields = {fields}\n")
    with pytest.raises(ConfigError, match=r"rollup.*(power|length|cpu_s)"):
        load(CollectorSettings, file=file)

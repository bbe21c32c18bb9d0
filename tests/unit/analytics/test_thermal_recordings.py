"""The thermal policy on the recorded sessions: healthy, so it keeps still, and not for being deaf."""

from pathlib import Path

import pytest

from benchmarks.thermal_policy import play, read
from thermogate.analytics.config import ThermalSettings
from thermogate.core.profiles import PROFILES

SESSIONS = Path(__file__).parents[2] / "recordings" / "rle_sessions"
FILES = sorted(SESSIONS.glob("*.csv"))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_healthy_session_is_held_whichever_rle_is_computed(file, profile):
    recording = read(file)
    outcome = play(recording, profile)
    assert len(recording.rows) > 300
    assert outcome.holds == 0


def test_the_headroom_profile_does_collapse_there_so_it_is_the_policy_that_keeps_still():
    outcome = play(read(SESSIONS / "headroom_training_1.csv"), "headroom")
    assert outcome.collapses > 10


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_same_session_is_held_where_its_temperatures_are_at_the_limit_and_its_load_counts(file):
    recording = read(file)
    hottest_c = {
        kind: max((row.temp_c for row in recording.rows if row.kind == kind and row.temp_c), default=100.0)
        for kind in ("gpu", "cpu")
    }
    any_load = ThermalSettings(load_util_ratio=0.01)
    near = play(recording._replace(limit_c=hottest_c), "monitor", any_load)
    far = play(
        recording._replace(limit_c={kind: hottest + 15 for kind, hottest in hottest_c.items()}),
        "monitor",
        any_load,
    )
    assert near.holds >= 1
    assert far.holds == 0

"""The policies on the recorded sessions: healthy, so they keep still, and not for being deaf."""

from pathlib import Path

import pytest

from benchmarks.policies import SETTINGS, fleet, play, read
from thermogate.analytics.config import ThermalSettings
from thermogate.analytics.policies import thermal
from thermogate.core.profiles import PROFILES

SESSIONS = Path(__file__).parents[2] / "recordings" / "rle_sessions"
FILES = sorted(SESSIONS.glob("*.csv"))
TRAININGS = sorted((SESSIONS.parent / "training").glob("[!h]*_*.csv"))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_healthy_session_is_held_whichever_rle_is_computed(file, profile):
    recording = read(file)
    outcomes = play(recording, profile).outcomes
    assert len(recording.rows) > 300
    assert {name: outcome.times for name, outcome in outcomes.items()} == dict.fromkeys(SETTINGS, 0)


@pytest.mark.parametrize("file", TRAININGS, ids=lambda file: file.stem)
def test_no_policy_says_anything_of_a_healthy_training(file):
    recording = read(file)
    assert len(recording.rows) > 90
    outcomes = play(recording, "monitor", peers=fleet([recording] * 8)).outcomes
    assert [outcome.why for outcome in outcomes.values() if outcome.times] == []


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
    any_load = {"thermal": ThermalSettings(load_util_ratio=0.01)}
    further_c = {kind: hottest + 15 for kind, hottest in hottest_c.items()}
    near = play(recording._replace(limit_c=hottest_c), "monitor", any_load, (thermal,))
    far = play(recording._replace(limit_c=further_c), "monitor", any_load, (thermal,))
    assert near.outcomes["thermal"].times >= 1
    assert far.outcomes["thermal"].times == 0

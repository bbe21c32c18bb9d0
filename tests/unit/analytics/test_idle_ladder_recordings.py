"""The idle policy and the ladder on recorded trainings: nobody is held, and the ladder does not flap."""

from pathlib import Path

import pytest

from benchmarks.idle_ladder import play
from benchmarks.signal_recordings import find
from thermogate.analytics.config import IdleSettings

RECORDINGS = [
    recording
    for recording in find([Path(__file__).parents[2] / "recordings"])
    if any(row.kind == "gpu" and row.util_ratio is not None for row in recording.rows)
]


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.file.stem)
def test_no_recorded_job_is_held_and_the_pace_changes_seldom(recording):
    told = play(recording)
    assert told.holds == 0
    assert told.quiet_s < IdleSettings().after_s / 4
    assert told.hung_s < IdleSettings().hung_s / 4
    assert told.most_changes <= 12


def test_they_are_there_and_the_policy_is_not_deaf():
    assert len(RECORDINGS) >= 6
    idle = next(one for one in RECORDINGS if one.file.stem == "laptop_torch_after")
    assert play(idle, IdleSettings(start_s=60.0)).holds == 1
    training = next(one for one in RECORDINGS if one.file.stem == "rtx3070_mobilenet_v2")
    assert play(training, IdleSettings(start_s=60.0, after_s=60.0)).holds == 0

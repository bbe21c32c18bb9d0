"""What Slurm printed, recorded, is read as what it was."""

from pathlib import Path

import pytest

from thermogate.schedulers.slurm import reading
from thermogate.schedulers.slurm.reading import JobSeen, ReadingError

RECORDED = Path(__file__).parents[2] / "recordings" / "slurm"


def recorded(name):
    return (RECORDED / name).read_text()


def test_nodes_are_read_with_all_words_of_their_state_and_the_reason():
    found = reading.read_nodes(recorded("sinfo.txt"))
    assert list(found) == ["gpu0", "gpu1", "gpu2", "gpu3", "gpu4"]
    assert found["gpu0"].reason == "thermogate: gpu0 is at 89 C"
    assert found["gpu0"].drained
    assert (found["gpu1"].drained, found["gpu1"].reason) == (False, "")
    assert found["gpu4"].down
    assert not found["gpu4"].drained


def test_a_line_break_in_a_reason_makes_no_node():
    found = reading.read_nodes(recorded("sinfo.txt"))
    assert found["gpu3"].reason == "new fan,"
    assert "anna" not in found


def test_shown_nodes_are_read_likewise_also_those_of_no_partition():
    found = reading.read_shown_nodes(recorded("show-nodes.txt"))
    assert list(found) == ["gpu0", "gpu1", "gpu2", "gpu3"]
    assert found["gpu0"] == reading.NodeSeen("gpu0", frozenset({"IDLE"}), "")
    assert (found["gpu1"].states, found["gpu1"].reason) == ({"IDLE", "DRAIN"}, "thermogate: x")
    assert (found["gpu2"].drained, found["gpu2"].reason) == (True, "new fan,")


def test_jobs_are_named_so_that_a_command_reaches_them_and_no_other():
    found = {job.id: job for job in reading.read_jobs(recorded("squeue.txt"))}
    assert found[1] == JobSeen(1, "1", "RUNNING", held=False, requeueable=True)
    assert found[2].state == "SUSPENDED"
    assert (found[9].spec, found[10].spec) == ("3_1", "3_2")
    assert 3 not in found  # the tasks that still wait, together
    assert found[4].spec == "4"
    assert 5 not in found  # a part of 4
    assert {number for number, job in found.items() if job.held} == {6, 7}
    assert not found[8].requeueable


def test_line_breaks_in_a_jobs_name_and_comment_make_no_job():
    assert {job.id for job in reading.read_jobs(recorded("squeue.txt"))} <= set(range(1, 11))


def test_what_is_no_line_of_a_job_is_an_error_and_not_a_guess():
    with pytest.raises(ReadingError, match="not a line of a job"):
        reading.read_jobs("slurm_load_jobs: something else\n")


def test_the_start_of_the_controller_is_read_in_utc():
    assert reading.read_boot_s(recorded("show-config.txt")) == 1795297174.0
    assert reading.read_boot_s("BOOT_TIME = soon\n") is None
    assert reading.read_boot_s("") is None


def test_comments_of_administrators_are_read_from_json_and_what_is_no_json_is_an_error():
    assert reading.read_admin_comments(recorded("squeue.json")) == [
        "thermogate: node/gpu0 suspend 2: gpu0 is hot"
    ]
    assert reading.read_admin_comments("{}") == []
    with pytest.raises(ReadingError, match="squeue --json"):
        reading.read_admin_comments("squeue: unrecognized option '--json'")

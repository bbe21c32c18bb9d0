"""Programs are run without a shell, in an environment of their own, and never for ever."""

import asyncio
import time
from pathlib import Path

import pytest

from thermogate.core.errors import UnavailableError
from thermogate.schedulers.adapter import ActionError
from thermogate.schedulers.slurm.programs import Programs, RefusedError
from thermogate.schedulers.slurm.settings import SlurmSettings


def programs(folder, script, *, environ=None, **settings):
    for name in ("scontrol", "squeue", "sinfo", "scancel"):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return Programs(SlurmSettings(bin_dir=str(folder), **settings), environ or {"PATH": "/usr/bin:/bin"})


def alive(pid):
    return Path(f"/proc/{pid}").exists()


async def test_an_argument_arrives_as_it_is_whatever_a_shell_would_make_of_it(tmp_path):
    wild = "Reason=$(touch x) `id` 'a' \"b\" ; \\ | > y"
    assert await programs(tmp_path, 'printf "%s" "$1"').run("scontrol", wild) == wild


async def test_what_changes_the_output_of_slurm_is_not_passed_on_and_its_configuration_is(tmp_path):
    environ = {
        "PATH": "/usr/bin:/bin",
        "SQUEUE_FORMAT": "%A",
        "SLURM_TIME_FORMAT": "relative",
        "SLURM_CONF": "/a/slurm.conf",
        "HOME": "/root",
    }
    seen = (await programs(tmp_path, "env", environ=environ).run("squeue")).splitlines()
    assert "SLURM_CONF=/a/slurm.conf" in seen
    assert "TZ=UTC" in seen
    assert not [line for line in seen if line.startswith(("SQUEUE_", "SLURM_TIME"))]
    seen = (await programs(tmp_path, "env", environ=environ, conf="/b/slurm.conf").run("squeue")).splitlines()
    assert "SLURM_CONF=/b/slurm.conf" in seen


async def test_a_failure_says_what_the_program_said_on_one_line(tmp_path):
    one = programs(tmp_path, "echo slurm_update error: Access denied >&2; echo more >&2; exit 1")
    with pytest.raises(RefusedError) as failed:
        await one.run("scontrol", "update", "NodeName=n1", "State=DRAIN")
    assert str(failed.value) == "scontrol update NodeName=n1: slurm_update error: Access denied more"


async def test_one_that_does_not_answer_is_ended_and_said(tmp_path):
    one = programs(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 1000", timeout_s=0.5)
    began_s = time.monotonic()
    with pytest.raises(ActionError, match=r"scontrol did not answer within 0\.5 s"):
        await one.run("scontrol", "ping")
    assert time.monotonic() - began_s < 100
    assert not alive((tmp_path / "pid").read_text().strip())


async def test_one_whose_caller_goes_is_ended(tmp_path):
    file = tmp_path / "pid"
    task = asyncio.create_task(programs(tmp_path, f"echo $$ > {file}; exec sleep 1000").run("sinfo"))
    while not (file.exists() and file.read_text().strip()):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(file.read_text().strip())


async def test_bytes_that_are_no_text_do_not_stop_it(tmp_path):
    assert await programs(tmp_path, r"printf 'a\377b'").run("sinfo") == "a\ufffdb"


async def test_a_program_that_is_missing_is_said_at_the_start_and_later_is_only_a_failure(tmp_path):
    one = programs(tmp_path, "true")
    one.check()
    (tmp_path / "sinfo").unlink()
    with pytest.raises(UnavailableError, match=r"sinfo is not in .*schedulers\.slurm\.bin_dir"):
        one.check()
    with pytest.raises(ActionError, match="sinfo"):
        await one.run("sinfo")

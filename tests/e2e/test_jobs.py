"""Whose work it is, from a process on a GPU to `thermogate jobs`, with the stub of the NVIDIA driver."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.running import run, up
from tests.nvml_stub.driver import STATE_VARIABLE, StubDriver, build
from thermogate.agent.config import JobSettings
from thermogate.agent.processes import ProcessTable, UserNames

pytestmark = pytest.mark.e2e
QUICK = (
    "agent.nvidia.processes_interval_s=0.5",
    "agent.jobs.grace_s=2",
    "agent.node=n1",
    "agent.period_s=0.25",
)


def name_of(pid):
    """What this machine's own groups say of a process: it differs where tests run."""
    table = ProcessTable(JobSettings(), Path("/proc"), UserNames(10))
    ((name, _),) = table.look({("gpu", "0"): (pid,)}, 0.0)["gpu", "0"].items()
    return name


def test_job_on_two_gpus_is_one_row_over_kill_9_of_everything(tmp_path, monkeypatch):
    driver = StubDriver(tmp_path, count=4)
    driver.unset("*", "energy_mj")
    monkeypatch.setenv(STATE_VARIABLE, str(driver.state))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(build(tmp_path).parent))
    folder, sets = tmp_path / "data", [part for text in QUICK for part in ("--set", text)]

    def jobs(running):
        return running.get("jobs?from=1h")["rows"]

    def events(running):
        return [
            event["event"] for event in running.get("events?from=1h") if event.get("device_kind") == "gpu"
        ]

    with subprocess.Popen(["sleep", "300"]) as work:
        try:
            name = name_of(work.pid)
            for gpu in (1, 2):
                driver.process(gpu, work.pid)
            with up(folder, *sets) as first:
                (row,) = first.until(lambda: jobs(first), "a job is there")
                assert (row["job"], row["state"], row["devices"]) == (name, "running", ["n1/gpu1", "n1/gpu2"])
                first.kill()
            with up(folder, *sets) as second:
                status = second.until(lambda: second.get("nodes"), "the node is there")
                assert status[0]["node"] == "n1"
                second.until(lambda: jobs(second)[0]["device_s"] > row["device_s"] + 4, "the job goes on")
                work.kill()
                driver.end_processes()
                second.until(lambda: jobs(second)[0]["state"] == "ended", "the job has ended")
                assert sorted(events(second)) == ["job_began"] * 2 + ["job_ended"] * 2
                second.stop()
        finally:
            work.kill()
    done = run("jobs", "--json", data_dir=folder)
    (ended,) = json.loads(done.stdout)["rows"]
    assert ended["began_ns"] == row["began_ns"]
    assert ended["energy_from"] == "power"
    assert ended["energy_j"] == pytest.approx(612.4 * ended["device_s"], rel=1e-6)
    assert name in run("jobs", data_dir=folder).stdout

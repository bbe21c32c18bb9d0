"""`thermogate simulate` and `thermogate verify` as their users run them, against a `thermogate up`."""

import json
import signal
import subprocess
import time

import pytest

from tests.e2e.running import THERMOGATE, run, up

pytestmark = pytest.mark.e2e
FAST = ("--set", "collector.ack_interval_s=0.3")


@pytest.fixture
def path(tmp_path):
    """A running `up` without recordings of its own."""
    with up(tmp_path / "data", *FAST, "--set", "up.demo=false") as running:
        running.url  # noqa: B018 - waits until its store is open
        yield running


def command(path, folder, *arguments):
    out = ["--out", str(folder), "--broker", path.broker_url, "--period", "200ms", "--json"]
    return [THERMOGATE, "simulate", "--nodes", "6", "--gpus", "2", *out, *arguments]


def simulate(path, folder, *arguments):
    done = subprocess.run(
        command(path, folder, *arguments), capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def verify(folder, *arguments):
    done = run("verify", "--manifest", str(folder), "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_fleet_of_two_processes_is_stored_as_it_was_generated_and_marked(path, tmp_path):
    done = simulate(path, tmp_path / "fleet", "--for", "2s", "--processes", "2")
    assert done["waiting"] == 0
    status, verdict = verify(tmp_path / "fleet", "--url", path.url)
    assert status == 0, verdict
    assert verdict["stored"] == verdict["sent"] == done["samples"] > 6 * 3 * 5
    simulated = [node for node in path.get("nodes") if node["node"].startswith("sim-")]
    assert {node["origin"] for node in simulated} == {"simulated"}
    assert len(simulated) == 6
    assert path.stop() < 20
    assert verify(tmp_path / "fleet", "--data-dir", str(tmp_path / "data"))[0] == 0


def test_a_simulation_that_was_killed_goes_on_and_nothing_is_lost(path, tmp_path):
    process = subprocess.Popen(command(path, tmp_path / "fleet"), stdout=subprocess.DEVNULL)
    progress = tmp_path / "fleet" / "progress-0.json"
    path.until(lambda: progress.exists() and json.loads(progress.read_bytes())["samples"] > 100, "samples")
    process.kill()
    process.wait(10)
    simulate(path, tmp_path / "fleet", "--for", "1s")
    status, verdict = verify(tmp_path / "fleet", "--url", path.url)
    assert status == 0, verdict
    assert verdict["stored"] == verdict["sent"] > 100
    assert 0 <= verdict["unsure"] <= 6 * 3


def test_ctrl_c_ends_a_simulation_that_says_what_is_not_acknowledged(path, tmp_path):
    path.kill()  # nobody will acknowledge
    process = subprocess.Popen(
        [word for word in command(path, tmp_path / "fleet") if word != "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    progress = tmp_path / "fleet" / "progress-0.json"
    deadline = time.monotonic() + 30
    while not (progress.exists() and json.loads(progress.read_bytes())["samples"] > 100):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "not acknowledged" in said
    status, verdict = verify(tmp_path / "fleet", "--data-dir", str(tmp_path / "data"))
    assert status == 1
    assert verdict["missing"] == verdict["sent"] > 100

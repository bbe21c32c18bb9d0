"""The same parts as processes of their own, on a real Mosquitto and a real InfluxDB."""

import contextlib
import csv
import json
import subprocess
import time
from itertools import pairwise

import pytest

from tests.e2e.running import THERMOGATE, run
from tests.servers import free_port, influxdb, mosquitto
from thermogate.dashboard.times import parse_time

pytestmark = [pytest.mark.e2e, pytest.mark.integration]


@contextlib.contextmanager
def part(folder, name, *arguments):
    """A long-running command; stopped as systemd does, and it has to end well."""
    command = [THERMOGATE, name, *arguments, "--data-dir", str(folder / name)]
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield process
            if process.poll() is None:
                process.terminate()
                assert process.wait(10) == 0, (folder / f"{name}.log").read_text()
        finally:
            process.kill()
            process.wait(10)


def until(true, what, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := true():
            return result
        time.sleep(0.2)
    raise AssertionError(f"never: {what}")


def test_agent_collector_and_analytics_work_apart_and_a_killed_collector_loses_nothing(tmp_path):
    listen = f"127.0.0.1:{free_port()}"
    url = ("--url", f"http://{listen}")

    def fleet():
        done = run("fleet", "--json", *url)
        return done.returncode == 0 and json.loads(done.stdout)

    def samples():
        done = run("export", "--node", "n17", "--device", "cpu0", *url)
        return list(csv.DictReader(done.stdout.splitlines()))

    with mosquitto(tmp_path) as broker, influxdb(tmp_path) as influx:
        collector = ("--broker", broker, "--influx", influx, "--listen", listen)
        agent = ("--broker", broker, "--node", "n17", "--set", "agent.period_s=0.2")
        with part(tmp_path, "analytics", "--broker", broker), part(tmp_path, "agent", *agent):
            with part(tmp_path, "collector", *collector) as collecting:
                (row,) = until(fleet, "the node is in the fleet")
                assert (row["node"], row["kind"], row["state"]) == ("n17", "cpu", "ok")
                collecting.kill()
                collecting.wait(10)
            time.sleep(3)
            with part(tmp_path, "collector", *collector):
                # what was sent to nobody is sent again once its acknowledgement is overdue (20 s)
                until(lambda: len(samples()) > 40 and longest_gap_s(samples()) < 1, "the gap is closed", 60)
                rows = samples()
    assert len({row["time"] for row in rows}) == len(rows)


def longest_gap_s(rows):
    """Between two samples that follow one another; a busy machine skips a tick or two of 0.2 s."""
    times = [parse_time(row["time"], 0) for row in rows]
    return max(later - earlier for earlier, later in pairwise(times)) / 1e9

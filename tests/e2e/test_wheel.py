"""The wheel, installed into empty environments: what a node and a server get."""

import csv
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.servers import mosquitto

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
HEAVY = ("numpy", "aiohttp", "requests", "httpx", "pydantic", "duckdb", "plotly", "flask", "sklearn")


def install(wheel, folder, extra):
    """An environment with the wheel alone; the folder of its programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{wheel}[{extra}]"], check=True)
    return folder / "bin"


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_part_and_what_it_ships(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for part in ("core", "agent", "collector", "analytics", "schedulers", "dashboard", "cli"):
        assert f"thermogate/{part}/py.typed" in names
    assert "thermogate/__init__.py" not in names
    assert "thermogate/dashboard/static/index.html" in names
    assert "thermogate/agent/recordings/monitor_gpu_light.csv" in names
    assert "thermogate/agent/recordings/LICENSE" in names
    unit = zipfile.ZipFile(wheel).read("thermogate/cli/units/thermogate-agent.service")
    assert unit == (ROOT / "systemd" / "thermogate-agent.service").read_bytes()


def test_a_node_gets_a_light_agent_that_publishes(wheel, tmp_path):
    programs = install(wheel, tmp_path / "env", "agent")
    installed = run(programs / "python", "-m", "pip", "list", "--format", "freeze").lower()
    names = {line.split("==")[0].split(" @")[0] for line in installed.splitlines()}
    assert not names & set(HEAVY)
    assert names - {"pip", "setuptools"} == {"thermogate", "msgspec", "paho-mqtt", "psutil", "nvidia-ml-py"}
    with mosquitto(tmp_path) as url:
        agent = [programs / "thermogate", "agent", "--node", "n17", "--data-dir", tmp_path / "data"]
        process = subprocess.Popen([*agent, "--broker", url], stdout=subprocess.DEVNULL, cwd=tmp_path)
        try:
            topic = "thermogate/v1/node/n17/telemetry"
            shown = run(programs / "thermogate", "sub", topic, "--broker", url, "--count", "2")
        finally:
            process.terminate()
            process.wait(10)
    assert shown.count("node/n17/telemetry: seq=") == 2
    missing = subprocess.run([programs / "thermogate", "up"], capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "pip install 'thermogate[up]'" in missing.stderr


def test_a_server_gets_the_whole_path(wheel, tmp_path):
    programs = install(wheel, tmp_path / "env", "up")
    recording = ROOT / "tests" / "recordings" / "rle_sessions" / "headroom_training_1.csv"
    data = tmp_path / "data"
    listen = ("--listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0")
    replay = ("--replay", f"{recording},speed=100,node=r1")
    run(programs / "thermogate", "up", *listen, *replay, "--for", "15s", "--data-dir", data, cwd=tmp_path)
    rows = run(programs / "thermogate", "export", "--node", "r1", "--data-dir", data, cwd=tmp_path)
    assert len(list(csv.DictReader(rows.splitlines()))) == 360

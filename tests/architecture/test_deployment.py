"""The files that an operator copies are ones that work."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import VICTORIA_FLAGS, binary
from thermogate.cli.main import EXIT_CONFIG
from thermogate.cli.settings import ThermogateSettings
from thermogate.collector.config import CollectorSettings
from thermogate.core import config

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNITS = sorted(path.name for path in SYSTEMD.glob("*.service"))
EXPOSURE = {"thermogate-power-cap.service": 21}
"""Tenths, where 20 cannot be had: power limits take root with CAP_SYS_ADMIN, which alone is 7 of them."""


def test_the_example_configuration_is_valid():
    settings = config.load(ThermogateSettings, file=SYSTEMD / "thermogate.toml")
    assert settings.collector.store == "influx"


def analyzed(unit, folder, *command):
    """`systemd-analyze` of a unit as it is shipped, with a program that every machine has."""
    program = binary("systemd-analyze")
    text = (SYSTEMD / unit).read_text().replace("/opt/thermogate/bin/thermogate", shutil.which("true"))
    (folder / unit).write_text(text)
    return subprocess.run([program, *command, folder / unit], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_wrong_with_a_unit(unit, tmp_path):
    done = analyzed(unit, tmp_path, "verify")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_exposes_at_most_2_of_10_to_what_runs_in_it(unit, tmp_path):
    threshold = f"--threshold={EXPOSURE.get(unit, 20)}"
    done = analyzed(unit, tmp_path, "security", "--offline=true", threshold, "--no-pager")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_tried_again_for_ever_but_not_with_a_wrong_configuration(unit):
    lines = (SYSTEMD / unit).read_text().splitlines()
    wanted = {"Restart=always", "StartLimitIntervalSec=0", f"RestartPreventExitStatus={EXIT_CONFIG}"}
    assert wanted <= set(lines)


def test_victoriametrics_is_tested_with_the_flags_that_are_shipped():
    lines = (SYSTEMD / "victoriametrics" / "thermogate.conf").read_text().splitlines()
    shipped = {line.strip(" \\") for line in lines if line.strip().startswith("-")}
    of_the_machine = ("-httpListenAddr", "-storageDataPath", "-storage.minFreeDiskSpaceBytes")
    assert {flag for flag in shipped if not flag.startswith(of_the_machine)} == set(VICTORIA_FLAGS)
    assert set(VICTORIA_FLAGS) < shipped
    retention = f"-retentionPeriod={CollectorSettings().retention.raw_days:g}d"
    assert retention in shipped


def test_systemd_finds_nothing_wrong_with_the_unit_of_victoriametrics(tmp_path):
    unit = "[Service]\nUser=daemon\nExecStart=/bin/true\n"
    drop_in = (SYSTEMD / "victoriametrics" / "thermogate.conf").read_text()
    drop_in = drop_in.replace("/usr/bin/victoria-metrics", shutil.which("true"))
    (tmp_path / "victoria-metrics.service").write_text(unit)
    (tmp_path / "victoria-metrics.service.d").mkdir()
    (tmp_path / "victoria-metrics.service.d" / "thermogate.conf").write_text(drop_in)
    command = [binary("systemd-analyze"), "verify", tmp_path / "victoria-metrics.service"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_tells_systemd_that_it_is_ready_and_alive_and_is_bounded(unit):
    names = {line.partition("=")[0] for line in (SYSTEMD / unit).read_text().splitlines()}
    assert "Type=notify" in (SYSTEMD / unit).read_text().splitlines()
    assert {"WatchdogSec", "TimeoutStartSec", "TimeoutStopSec", "MemoryMax", "CPUQuota", "TasksMax"} <= names

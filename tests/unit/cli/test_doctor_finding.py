"""Which configuration `thermogate doctor` finds, and how its findings read."""

import argparse
import os

import pytest

from thermogate.cli import rundir
from thermogate.cli.checks import configuration, showing
from thermogate.cli.checks.finding import Finding, absent, duration, fail, ok, size, span, warn
from thermogate.cli.layout import Layout

CHECKS = [
    ok("broker.dns", "broker.example: 10.0.0.1"),
    fail("broker.login", "mqtts://broker.example", "the password is wrong", "write the right one"),
    absent("broker.subscription", "not reached"),
    warn("clock.offset", "not synchronized", "nothing keeps it right", "timedatectl set-ntp true"),
]


def find(layout, environ={}, **given):  # noqa: B006
    values = {"config": None, "sets": [], "broker": None, "node": None, "data_dir": None}
    return configuration.find(argparse.Namespace(**(values | given)), environ, layout)


@pytest.fixture
def layout(tmp_path):
    """A machine with an installed agent."""
    installed = Layout(tmp_path)
    installed.credentials.mkdir(parents=True)
    installed.config.write_text(
        '[mqtt]\nurl = "mqtts://broker.example"\nusername = "n17"\n[agent]\nnode = "n17"\n'
    )
    (installed.credentials / "mqtt.password_file").write_text("secret\n")
    (installed.state / "spool" / "n17").mkdir(parents=True)
    return installed


def test_the_installed_service_s_configuration_credentials_and_state_are_found(layout):
    found = find(layout)
    assert found.valid
    assert (found.node, found.folder) == ("n17", layout.state)
    assert found.mqtt.password_file == str(layout.credentials / "mqtt.password_file")
    assert str(layout.config) in found.findings[0].found


def test_arguments_go_before_what_is_installed(layout):
    found = find(layout, broker="mqtt://other", node="n18", data_dir="/elsewhere", sets=["agent.period_s=2"])
    assert (found.mqtt.url, found.node, str(found.folder)) == ("mqtt://other", "n18", "/elsewhere")
    assert found.settings.agent.period_s == 2


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["agent.perod_s=1"], "agent.perod_s: no such setting"),
        (["mqtt.url=http://broker"], "expected mqtt://HOST"),
        (["agent"], "expected section.key=value"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_named(layout, sets, words):
    found = find(layout, sets=sets)
    assert not found.valid
    (finding,) = found.findings
    assert finding.state == "fail"
    assert words in finding.cause
    assert "docs/settings.md" in finding.cure


def test_the_data_folder_and_broker_of_a_running_up_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    folder, nothing = tmp_path / "home" / "thermogate", Layout(tmp_path / "nothing")
    (folder / "spool").mkdir(parents=True)
    with rundir.held(folder):
        rundir.announce(folder, "http://127.0.0.1:8420", "mqtt://127.0.0.1:40000")
        found = find(nothing)
        told = find(nothing, broker="mqtt://other")
    assert (found.folder, found.mqtt.url) == (folder, "mqtt://127.0.0.1:40000")
    assert f"process {os.getpid()}" in found.findings[0].found
    assert told.mqtt.url == "mqtt://other"


def test_what_a_killed_up_left_is_not_believed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    folder = tmp_path / "home" / "thermogate"
    (folder / "spool").mkdir(parents=True)
    rundir.announce(folder, "http://127.0.0.1:8420", "mqtt://127.0.0.1:40000")
    assert find(Layout(tmp_path / "nothing")).mqtt.url == "mqtt://127.0.0.1:1883"


def test_findings_read_by_group_aligned_and_with_the_first_thing_to_do_last():
    assert showing.text("thermogate doctor", CHECKS, 72) == (
        "thermogate doctor\n"
        "\n"
        "broker\n"
        "  ok    dns           broker.example: 10.0.0.1\n"
        "  FAIL  login         mqtts://broker.example\n"
        "        cause  the password is wrong\n"
        "        cure   write the right one\n"
        "  n/a   subscription  not reached\n"
        "\n"
        "clock\n"
        "  WARN  offset        not synchronized\n"
        "        cause  nothing keeps it right\n"
        "        cure   timedatectl set-ntp true\n"
        "\n"
        "1 problem, 1 warning. First: broker.login: the password is wrong\n"
        "  write the right one"
    )


def test_a_line_that_is_too_long_goes_on_below_its_column():
    text = showing.text("t", [Finding("a.b", "ok", "word " * 12)], 40)
    lines = text.splitlines()[3:6]
    assert lines[0].startswith("  ok    b  word")
    assert lines[1].startswith("           word")
    assert max(map(len, lines)) <= 40


def test_nothing_wrong_is_said_in_three_words():
    assert showing.summary(CHECKS[:1], 80) == ["no problem found"]


def test_numbers_are_for_people():
    assert [duration(s) for s in (0.25, 119, 600, 9000, 259200)] == [
        "0.25 s",
        "119 s",
        "10 min",
        "2.5 h",
        "3.0 days",
    ]
    assert [size(n) for n in (10, 2048, 3 << 20, 5 << 40)] == ["10 bytes", "2 KiB", "3 MiB", "5 TiB"]
    assert span(["gpu0", "gpu1", "gpu2"]) == "gpu0-gpu2"
    assert span(["gpu0", "gpu2", "gpu3"]) == "gpu0, gpu2, gpu3"
    assert span(["gpu0", "gpu1", "gpu2", "gpu9", "gpu10", "gpu11"]) == "gpu0-gpu2, gpu9-gpu11"
    assert span(["gpu0.1", "gpu0.2", "gpu0.3"]) == "gpu0.1-gpu0.3"
    assert span(["gpu0.1", "gpu1.1", "gpu2.1"]) == "gpu0.1, gpu1.1, gpu2.1"
    assert span(["node"]) == "node"

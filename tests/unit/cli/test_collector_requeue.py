"""What was refused, shown to a person or a program, and asked for again."""

import json
import os

import pytest

from tests.fakes import FakeClock
from tests.unit.collector.fake_broker import received
from thermogate.cli.main import main
from thermogate.collector.quarantine import AGAIN, Quarantine, Refused, files


@pytest.fixture
def folder(tmp_path):
    quarantine = Quarantine(tmp_path / "quarantine", 10**6, FakeClock())
    topic = "thermogate/v1/node/{}/telemetry"
    quarantine.put([Refused(received(topic.format("n1"), b"x" * 10), "no header: \x1b[2J")])
    quarantine.put([Refused(received(topic.format("n2"), b"\xff"), "one more unknown field")])
    return tmp_path


def quarantine(capsys, folder, *more):
    assert main(["collector", "quarantine", "--data-dir", str(folder), *more]) == 0
    return capsys.readouterr().out


def test_every_refused_message_is_a_line_that_cannot_steer_the_terminal(capsys, folder):
    said = quarantine(capsys, folder).splitlines()
    assert said[0].split() == ["TIME", "TOPIC", "BYTES", "REASON"]
    assert "thermogate/v1/node/n1/telemetry" in said[1]
    assert said[1].endswith("no header: ?[2J")
    assert " 1  one more unknown field" in said[2]
    assert said[3] == f"2 messages in {folder}/quarantine"


def test_a_program_gets_the_same_as_json(capsys, folder):
    found = json.loads(quarantine(capsys, folder, "--json"))
    assert [(one["topic"], one["size_bytes"], one["again"]) for one in found] == [
        ("thermogate/v1/node/n1/telemetry", 10, False),
        ("thermogate/v1/node/n2/telemetry", 1, False),
    ]


@pytest.mark.parametrize(
    ("more", "count"), [(("--node", "n2"), 1), (("--reason", "field"), 1), (("--node", "n"), 0)]
)
def test_it_can_be_narrowed_down(capsys, folder, more, count):
    assert len(json.loads(quarantine(capsys, folder, "--json", *more))) == count


def test_the_newest_are_shown_and_all_are_counted(capsys, folder):
    said = quarantine(capsys, folder, "--limit", "1").splitlines()
    assert "n2" in said[1]
    assert said[2].startswith("2 messages in")


def test_options_may_stand_before_the_word_too(capsys, folder):
    assert main(["collector", "--data-dir", str(folder), "quarantine"]) == 0
    assert "2 messages in" in capsys.readouterr().out


def test_an_empty_quarantine_is_no_error(capsys, tmp_path):
    assert "0 messages in" in quarantine(capsys, tmp_path)
    assert main(["collector", "requeue", "--data-dir", str(tmp_path)]) == 0
    assert "nothing is in quarantine" in capsys.readouterr().out


def test_without_a_collector_the_next_one_is_left_to_do_it(capsys, folder):
    assert main(["collector", "requeue", "--data-dir", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "2 messages in 1 files are tried again" in said
    assert "the next one does it" in said
    assert files(folder / "quarantine") == []
    assert len(files(folder / "quarantine" / AGAIN)) == 1
    assert "2 messages in" in (shown := quarantine(capsys, folder))
    assert "2 wait to be tried again" in shown


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_who_may_not_read_it_is_told_who_may(capsys, folder):
    (folder / "quarantine").chmod(0)
    assert main(["collector", "requeue", "--data-dir", str(folder)]) == 1
    assert "it is for the collector's user, and root" in capsys.readouterr().err

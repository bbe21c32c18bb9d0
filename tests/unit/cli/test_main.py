import pytest

from thermogate.cli import main as cli


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"thermogate {command}" in capsys.readouterr().out


def test_an_unknown_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["frobnicate"])
    assert stopped.value.code == 2
    assert "frobnicate" in capsys.readouterr().err


def test_nothing_listening_is_one_sentence_with_a_cure(capsys):
    assert cli.main(["fleet", "--url", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("thermogate: no thermogate at http://127.0.0.1:9")
    assert "thermogate up" in said


def test_a_wrong_time_is_a_configuration_error(capsys):
    assert cli.main(["events", "--from", "yesterdayish"]) == 78
    assert "yesterdayish" in capsys.readouterr().err

import json
import os

import pytest

from thermogate.cli import main as cli
from thermogate.dashboard import token_file, tokens


def run(capsys, *arguments):
    status = cli.main(["tokens", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_token_is_shown_once_listed_by_name_and_revoked(capsys, tmp_path):
    file = tmp_path / "tokens.json"
    where = ("--file", str(file))
    status, text, beside = run(capsys, "create", "--name", "grafana", "--scope", "read", *where)
    assert status == 0
    assert tokens.find(text.strip(), token_file.read(file)).name == "grafana"
    assert "not shown again" in beside
    assert run(capsys, "create", "--name", "ops", "--scope", "admin", *where)[0] == 0
    status, shown, _ = run(capsys, "list", *where)
    assert (status, "grafana" in shown, text.strip() in shown) == (0, True, False)
    listed = json.loads(run(capsys, "list", "--json", *where)[1])
    assert [(one["name"], one["scope"]) for one in listed] == [("grafana", "read"), ("ops", "admin")]
    assert run(capsys, "revoke", "grafana", *where)[0] == 0
    assert [token.name for token in token_file.read(file)] == ["ops"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--name", "ops"), "there is a token ops: revoke it first"),
        (("create", "--name", "a b"), "expected 1 to 64 of A-Z a-z 0-9 . _ -"),
        (("revoke", "nobody"), "there is no token nobody"),
    ],
)
def test_what_will_not_do_changes_nothing(capsys, tmp_path, arguments, said):
    file = tmp_path / "tokens.json"
    run(capsys, "create", "--name", "ops", "--file", str(file))
    before = file.read_bytes()
    status, _, told = run(capsys, *arguments, "--file", str(file))
    assert (status, file.read_bytes() == before) == (78, True)
    assert said in told


def test_the_file_is_the_one_of_the_settings(capsys, tmp_path, monkeypatch):
    config = tmp_path / "thermogate.toml"
    config.write_text(f'[dashboard]\ntokens_file = "{tmp_path}/t.json"\n')
    assert run(capsys, "create", "--name", "ops", "--config", str(config))[0] == 0
    assert (tmp_path / "t.json").exists()
    status, _, said = run(capsys, "list")
    assert (status, "dashboard.tokens_file is not set" in said) == (78, True)
    monkeypatch.setenv("THERMOGATE_DASHBOARD_TOKENS_FILE", str(tmp_path / "t.json"))
    monkeypatch.setenv("THERMOGATE_TOKEN", "what other commands ask with, and no setting")
    assert run(capsys, "list")[0] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_new_file_that_root_makes_in_a_services_folder_is_the_services(capsys, tmp_path):
    folder = tmp_path / "service"
    folder.mkdir()
    os.chown(folder, 61234, 61234)
    for name in ("ops", "grafana"):
        assert run(capsys, "create", "--name", name, "--file", str(folder / "t.json"))[0] == 0
        made = (folder / "t.json").stat()
        assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (61234, 61234, 0o600)


def test_a_folder_that_is_not_there_is_one_sentence(capsys, tmp_path):
    status, _, said = run(capsys, "create", "--name", "ops", "--file", str(tmp_path / "no" / "t.json"))
    assert (status, said.count("\n")) == (1, 1)
    assert "cannot be written: No such file" in said

import json

import pytest

from tests.signed import KEY
from tests.unit.analytics.audited import entry, filled, log_at
from thermogate.analytics.audit import files
from thermogate.cli import main as cli
from thermogate.core import keyring
from thermogate.core.key_files import TrustedKey


@pytest.fixture
def audit(capsys, tmp_path):
    """Runs the command on a data folder with a log of four decisions."""
    filled(tmp_path / "audit")
    keyring.add(tmp_path / "keys" / "trusted", TrustedKey("gate", KEY.public_bytes))

    def run(*arguments):
        status = cli.main(["audit", *arguments, "--data-dir", str(tmp_path)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def change(tmp_path):
    file = files.segment(tmp_path / "audit", 1)
    file.write_bytes(file.read_bytes().replace(b"HOLD", b"HOLT", 1))


def test_a_whole_log_is_said_to_be_whole_and_what_to_note(audit):
    status, said, _ = audit("verify")
    assert (status, "5 records, 1 to 5: nothing was changed" in said) == (0, True)
    noted = said.split("--expect ")[1].strip()
    assert audit("verify", "--expect", noted)[0] == 0
    told = json.loads(audit("verify", "--json")[1])
    assert (told["findings"], f"{told['n']}:{told['hash']}") == ([], noted)


def test_a_change_is_named_and_fails(audit, tmp_path):
    change(tmp_path)
    status, said, _ = audit("verify")
    assert status == 1
    assert "FOUND: record 2 (000000000000001.jsonl line 2): is not what its hash says" in said
    status, said, _ = audit("verify", "--json")
    assert (status, len(json.loads(said)["findings"])) == (1, 1)
    for action in ("show", "replay"):
        status, _, beside = audit(action)
        assert (status, "this log was changed" in beside) == (1, True)


def test_a_log_that_was_rolled_back_does_not_have_what_was_noted(audit, tmp_path):
    noted = f"6:{'a' * 64}"
    status, said, _ = audit("verify", "--expect", noted)
    assert (status, "record 6, which was expected, is not in the log" in said) == (1, True)
    with log_at(tmp_path / "audit") as log:
        log.append([entry(5)])
    status, said, _ = audit("verify", "--expect", noted)
    assert (status, "record 6 is not the one expected" in said) == (1, True)
    assert audit("verify", "--expect", "6")[0] == 78


def test_a_stranger_is_not_the_author_of_the_log(audit, tmp_path):
    trusted = tmp_path / "keys" / "trusted"
    trusted.write_text("# nobody\n")
    status, said, _ = audit("verify")
    assert (status, "head.json: is not to be trusted: foreign issuer" in said) == (1, True)


def test_records_are_shown_by_time_and_target(audit):
    status, said, _ = audit("show", "--target", "n17")
    assert (status, said.count("node/n17 HOLD at 70% (enforce, thermal): gpu0 is at 85")) == (0, 4)
    assert audit("show", "--target", "n18")[1].strip() == ""
    assert audit("show", "--to", "2025-11-21T08:00:00Z")[1].strip() == ""
    assert "the log begins" in audit("show")[1]
    shown = audit("show", "--inputs", "--target", "n17")[1]
    assert '"number": 1' in shown
    assert '"why": "gpu0 is at 85' in shown


def test_what_cannot_be_made_again_is_named(audit):
    """The inputs here are no gate's."""
    status, said, _ = audit("replay")
    assert (status, said.count("DIFFERS: record")) == (1, 4)
    assert "4 decisions made again from their inputs: 0 the same, 4 not" in said
    status, said, _ = audit("replay", "--json", "--set", "analytics.thermal.heat_time_s=90")
    told = json.loads(said)
    assert (status, told["what_if"], len(told["differ"])) == (1, True, 4)
    assert all(one["problem"] for one in told["differ"])


def test_without_a_log_it_says_so(capsys, tmp_path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "trusted").write_text("# nobody\n")
    assert cli.main(["audit", "verify", "--data-dir", str(tmp_path)]) == 1
    assert "there is no audit log" in capsys.readouterr().err

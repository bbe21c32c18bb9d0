import json
import os
import time

import pytest

from thermogate.cli import main as cli
from thermogate.core import key_files, keyring
from thermogate.core.clock import NS
from thermogate.core.errors import ConfigError
from thermogate.core.key_files import TrustedKey
from thermogate.core.signing import SigningKey

DAY_NS = 86_400 * NS


@pytest.fixture
def keys(capsys, tmp_path, monkeypatch):
    """Runs the command on a data folder and a configuration folder of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(*arguments):
        status = cli.main(["keys", *arguments, "--data-dir", str(tmp_path)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def trusted(tmp_path):
    return {key.name: key for key in key_files.read(tmp_path / "keys" / "trusted")}


def test_the_gates_key_is_made_once_and_trusted_for_decisions(keys, tmp_path):
    status, said, _ = keys("make", "gate")
    key = SigningKey.load(tmp_path / "keys" / "gate.key")
    entry = trusted(tmp_path)[f"gate-{key.key_id[:8]}"]
    assert (status, entry.purpose, entry.public) == (0, "decision", key.public_bytes)
    assert entry.line in said
    assert keys("make", "gate")[0] == 78
    assert key.key_id in keys("show")[1]


def test_an_operators_key_is_made_and_its_line_trusts_it(keys, tmp_path):
    status, said, _ = keys("make", "operator", "--name", "alice")
    assert status == 0
    key = SigningKey.load(tmp_path / "config" / "thermogate" / "operator.key")
    words = said.splitlines()[-1].split()
    assert words[:2] == ["thermogate", "keys"]
    assert keys(*words[2:])[0] == 0
    assert trusted(tmp_path)["alice"] == TrustedKey("alice", key.public_bytes, None, "override")
    assert keys("make", "operator")[0] == 78


def test_an_operators_key_can_be_trusted_as_it_is_made(keys, tmp_path):
    assert keys("make", "operator", "--name", "alice", "--trust")[0] == 0
    assert trusted(tmp_path)["alice"].purpose == "override"
    status, _, said = keys(
        "make", "operator", "--name", "alice", "--trust", "--file", str(tmp_path / "other")
    )
    assert (status, "there is a key alice already" in said) == (78, True)
    assert not (tmp_path / "other").exists()


def test_rotation_signs_with_a_new_key_and_trusts_the_old_one_for_a_while(keys, tmp_path):
    keys("make", "gate")
    running = SigningKey.load(tmp_path / "keys" / "gate.key")
    old_id = running.key_id
    status, said, _ = keys("rotate", "--overlap", "2d")
    new = SigningKey.load(tmp_path / "keys" / "gate.key")
    old = trusted(tmp_path)[f"gate-{old_id[:8]}"]
    assert (status, new.key_id != old_id) == (0, True)
    assert new.public in said
    assert abs(old.until_ns - time.time_ns() - 2 * DAY_NS) < 600 * NS
    assert trusted(tmp_path)[f"gate-{new.key_id[:8]}"].until_ns is None
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["gate.key", "trusted"]


def test_a_prepared_key_is_the_one_that_rotation_takes(keys, tmp_path):
    keys("make", "gate")
    assert keys("rotate", "--prepare")[0] == 0
    prepared = SigningKey.load(tmp_path / "keys" / "gate.key.next").key_id
    assert f"gate-{prepared[:8]}" in trusted(tmp_path)
    assert keys("rotate", "--prepare")[0] == 78
    assert keys("rotate")[0] == 0
    assert SigningKey.load(tmp_path / "keys" / "gate.key").key_id == prepared
    assert not (tmp_path / "keys" / "gate.key.next").exists()


def test_a_revoked_key_stays_listed_with_its_end(keys, tmp_path):
    keys("make", "operator", "--name", "alice", "--trust")
    with (tmp_path / "keys" / "trusted").open("a") as file:
        file.write(f"bob {SigningKey.generate().public} until=2100-01-01T00:00:00Z # of the night shift\n")
    assert keys("revoke", "alice")[0] == 0
    assert keys("revoke", trusted(tmp_path)["bob"].key_id)[0] == 0
    assert all(key.until_ns <= time.time_ns() for key in trusted(tmp_path).values())
    text = (tmp_path / "keys" / "trusted").read_text()
    assert "# of the night shift" in text
    listed = json.loads(keys("list", "--json")[1])
    assert [key["name"] for key in listed] == ["alice", "bob"]
    assert keys("list")[1].count("(over)") == 2
    status, _, said = keys("revoke", "nobody")
    assert (status, "there is no key nobody" in said) == (78, True)


def test_revoking_an_end_does_not_push_it_back(tmp_path):
    key = SigningKey.generate()
    keyring.add(tmp_path / "trusted", TrustedKey("old", key.public_bytes, 5 * NS))
    assert keyring.end(tmp_path / "trusted", "old", 9 * NS).until_ns == 5 * NS


def test_a_gate_with_a_revoked_key_does_not_start(keys, tmp_path):
    keys("make", "gate")
    name = next(iter(trusted(tmp_path)))
    _, _, beside = keys("revoke", name)
    assert "nobody obeys it until `thermogate keys rotate`" in beside
    with pytest.raises(ConfigError, match="is revoked"):
        keyring.ensure_keys(tmp_path / "keys")
    assert keys("rotate")[0] == 0
    assert keyring.ensure_keys(tmp_path / "keys")[0].key_id not in name


def test_a_first_start_makes_what_is_missing_and_a_second_changes_nothing(tmp_path):
    key, file = keyring.ensure_keys(tmp_path / "keys")
    before = file.read_bytes()
    again, same = keyring.ensure_keys(tmp_path / "keys")
    assert (again.key_id, same, same.read_bytes()) == (key.key_id, file, before)
    file.unlink()
    assert key_files.read(keyring.ensure_keys(tmp_path / "keys")[1])[0].key_id == key.key_id


def test_a_key_of_elsewhere_is_used_as_it_is(tmp_path):
    with pytest.raises(ConfigError, match="there is no such key"):
        keyring.ensure_keys(tmp_path / "keys", tmp_path / "my.key")
    mine = SigningKey.generate()
    mine.save(tmp_path / "my.key")
    assert keyring.ensure_keys(tmp_path / "keys", tmp_path / "my.key")[0].key_id == mine.key_id
    assert not (tmp_path / "keys" / "gate.key").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trust", "a/b", "AAAA"), "is no name"),
        (("trust", "bob", "AAAA"), "32 bytes, and not 3"),
        (("trust", "bob", SigningKey.generate().public, "--until", "2h"), "lies in the past"),
        (("rotate",), "there is no such key"),
        (("rotate", "--overlap", "soon"), "is not a duration"),
        (("list",), "cannot read the trusted keys"),
    ],
)
def test_what_will_not_do_is_said(keys, arguments, said):
    status, _, told = keys(*arguments)
    assert (status, said in told) == (78, True), told


def test_what_a_key_signed_in_the_second_of_its_end_stays_good(keys, tmp_path):
    """Else the head of the audit log, signed just before, would be a foreign one at the next start."""
    key, file = keyring.ensure_keys(tmp_path / "keys")
    while time.time() % 1 < 0.5:
        time.sleep(0.01)
    signed_ns = time.time_ns()
    assert keys("rotate", "--overlap", "0s")[0] == 0
    ended = next(one for one in key_files.read(file) if one.key_id == key.key_id)
    assert ended.until_ns is not None
    assert signed_ns < ended.until_ns <= time.time_ns()


def test_a_file_of_trusted_keys_of_elsewhere_must_have_the_gates_own(keys, tmp_path):
    """Else the gate would set its own log aside at every start. A rotation is for that file, too."""
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(ConfigError, match="cannot read"):
        keyring.ensure_keys(tmp_path / "keys", None, elsewhere)
    elsewhere.write_text("")
    with pytest.raises(ConfigError, match="lacks the gate's own key: add the line") as told:
        keyring.ensure_keys(tmp_path / "keys", None, elsewhere)
    elsewhere.write_text(str(told.value).partition("add the line ")[2] + "\n")
    assert keyring.ensure_keys(tmp_path / "keys", None, elsewhere)[1] == elsewhere

    assert keys("rotate", "--prepare", "--set", f"analytics.trusted_file={elsewhere}")[0] == 0
    assert keys("rotate", "--set", f"analytics.trusted_file={elsewhere}")[0] == 0
    key, _ = keyring.ensure_keys(tmp_path / "keys", None, elsewhere)
    assert [one.until_ns is None for one in key_files.read(elsewhere)] == [False, True]
    assert key_files.read(elsewhere)[1].key_id == key.key_id


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what is another's")
def test_what_root_makes_in_a_services_folder_is_the_services(keys, tmp_path):
    """Also before the service has ever started: else it could neither read nor write its own keys."""
    os.chown(tmp_path, 64001, 64002)
    assert keys("make", "operator", "--name", "alice", "--trust")[0] == 0
    made = [tmp_path / "keys", tmp_path / "keys" / "trusted"]
    assert {(one.stat().st_uid, one.stat().st_gid) for one in made} == {(64001, 64002)}


@pytest.mark.parametrize(
    "arguments",
    [("show",), ("list",), ("make", "gate"), ("rotate",), ("make", "operator", "--trust"), ("revoke", "a")],
)
def test_a_folder_that_one_may_not_look_into_is_said(keys, tmp_path, arguments):
    """A service's, to an operator who is not root there."""
    if os.geteuid() == 0:
        (tmp_path / "keys").symlink_to("keys")  # who is root may look everywhere but into this
    else:
        (tmp_path / "keys").mkdir(mode=0)
    status, _, said = keys(*arguments)
    assert status in (1, 78)
    assert str(tmp_path / "keys") in said

"""What `agent install` and `agent uninstall` do to a machine, here a folder, and ask systemd for."""

import os
import stat
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.certificates import Authority
from thermogate.cli import layout
from thermogate.cli.hand import Hand
from thermogate.cli.install import Request, install
from thermogate.cli.layout import UNIT, Layout
from thermogate.cli.main import main
from thermogate.cli.settings import ThermogateSettings
from thermogate.cli.uninstall import uninstall
from thermogate.core import __version__, config
from thermogate.core.errors import ConfigError, UnavailableError

BROKER = {"mqtt.url": "mqtts://broker", "mqtt.username": "n17", "agent.node": "n17"}


class FakeSystem:
    """A machine on which systemctl and its like only keep the state that is asked about."""

    def __init__(self, root: Path) -> None:
        self.at = Layout(root)
        self.at.systemd.mkdir(parents=True)
        self.at.unit.parent.mkdir(parents=True)
        self.at.passwd.write_text("root:x:0:0:root:/root:/bin/sh\n")
        self.commands: list[str] = []
        self.said: list[str] = []
        self.enabled = False
        self.status = ""
        self.fails_to_start = False

    def run(self, command):
        match list(command):
            case ["id" | "getent", *_]:
                if "thermogate:" not in self.at.passwd.read_text():
                    raise UnavailableError("no such user")
                return "990\n"
            case ["systemctl", "is-enabled", _]:
                return "enabled\n" if self.enabled else "disabled\n"
            case ["systemctl", "is-active", _]:
                return "active\n" if self.status else "inactive\n"
            case ["systemctl", "show", *_]:
                return self.status + "\n"
            case ["systemctl", "is-failed", _]:
                return "inactive\n"
            case ["journalctl", *_]:
                return "thermogate: wrong\n"
            case _:
                self.commands.append(" ".join(command))
                return self._change(command)

    def _change(self, command):
        match list(command):
            case ["systemd-sysusers", file]:
                assert Path(file).read_text().endswith('u thermogate - "thermogate agent"\n')
                with self.at.passwd.open("a") as passwd:
                    passwd.write("thermogate:x:990:990:thermogate agent:/:/usr/sbin/nologin\n")
            case ["userdel", user]:
                lines = self.at.passwd.read_text().splitlines(keepends=True)
                self.at.passwd.write_text("".join(line for line in lines if not line.startswith(user)))
            case ["systemctl", "enable" | "disable" as verb, _]:
                self.enabled = verb == "enable"
            case ["systemctl", "stop", _]:
                self.status = ""
            case ["systemctl", "start" | "restart", *_]:
                if self.fails_to_start:
                    raise UnavailableError("job failed")
                self.status = f"{__version__}: sampling"
        return ""

    def hand(self, **options):
        return Hand(self.said.append, run=self.run, **options)

    def install(self, values=BROKER, secrets=MappingProxyType({}), start=True, dry_run=False):
        request = Request(values=values, secrets=secrets, program=Path("/srv/tg/bin/thermogate"), start=start)
        install(request, self.at, self.hand(dry_run=dry_run))

    def uninstall(self, *, unsent=0, force=False, keep_spool=False, dry_run=False):
        do = self.hand(dry_run=dry_run)
        left = unsent if isinstance(unsent, dict) else {"n17": unsent} if unsent else {}
        uninstall(self.at, do, force=force, keep_spool=keep_spool, count=lambda folder: left)

    def process(self, pid, uid, root):
        folder = self.at.processes / str(pid)
        folder.mkdir(parents=True)
        (folder / "status").write_text(f"Name:\tbash\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        (folder / "root").symlink_to(root)

    def files(self, root):
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture
def system(tmp_path):
    return FakeSystem(tmp_path)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_an_install_writes_the_shipped_unit_for_this_program_and_starts_it(system):
    system.install()
    shipped = (Path(__file__).parents[3] / "systemd" / UNIT).read_text()
    assert system.at.unit.read_text() == shipped.replace("/opt/thermogate/bin/", "/srv/tg/bin/")
    assert (
        "/srv/tg/bin/thermogate agent --config /etc/thermogate/thermogate.toml" in system.at.unit.read_text()
    )
    settings = config.load(ThermogateSettings, file=system.at.config)
    assert settings.mqtt.url == "mqtts://broker"
    assert system.commands[1:] == [
        "systemctl daemon-reload",
        f"systemctl enable {UNIT}",
        f"systemctl restart {UNIT}",
    ]


def test_secrets_are_copied_for_root_alone_and_handed_over_by_systemd(system, tmp_path):
    (tmp_path / "pw").write_text("hunter2\n")
    system.install(secrets={"mqtt.password_file": tmp_path / "pw"})
    kept = system.at.credentials / "mqtt.password_file"
    assert (mode(kept), mode(system.at.credentials)) == (0o600, 0o700)
    assert f"\nLoadCredential=mqtt.password_file:{kept}\n" in system.at.credentials_drop_in.read_text()
    assert config.load(ThermogateSettings, file=system.at.config).mqtt.password_file == str(kept)
    assert not any("hunter2" in line for line in system.said)


def test_the_same_install_again_changes_and_restarts_nothing(system, tmp_path):
    (tmp_path / "pw").write_text("hunter2\n")
    for _ in range(2):
        system.commands.clear()
        system.install(secrets={"mqtt.password_file": tmp_path / "pw"})
    assert system.commands == []


def test_an_upgrade_restarts_what_still_runs(system):
    system.install()
    system.status = "0.0.1: sampling"
    system.commands.clear()
    system.install({})
    assert system.commands == [f"systemctl restart {UNIT}"]


def test_another_install_keeps_what_the_operator_has_written(system):
    system.install()
    text = system.at.config.read_text() + "period_s = 2.0 # slow node\n\n[up] # none here\n"
    system.at.config.write_text(text)
    system.at.config.chmod(0o664)
    system.install({"mqtt.url": "mqtts://other"})
    assert system.at.config.read_text() == text.replace("mqtts://broker", "mqtts://other")
    assert mode(system.at.config) == 0o664


def test_a_configuration_that_the_service_may_not_read_is_refused_with_the_cure(system):
    system.install()
    before, commands = system.at.config.read_text(), list(system.commands)
    system.at.config.chmod(0o600)
    for values in ({}, {"mqtt.url": "mqtts://other"}):
        with pytest.raises(
            ConfigError, match=rf"^-rw------- .*may not read it: chmod o\+r {system.at.config} "
        ):
            system.install(values)
    assert (system.at.config.read_text(), system.commands) == (before, commands)


def test_a_secret_that_an_operator_deletes_is_no_longer_handed_over(system, tmp_path):
    (tmp_path / "pw").write_text("hunter2\n")
    system.install(secrets={"mqtt.password_file": tmp_path / "pw"})
    (system.at.credentials / "mqtt.password_file").unlink()
    system.at.config.write_text('[mqtt]\nurl = "mqtts://broker"\n')
    system.install({})
    assert not system.at.credentials_drop_in.exists()


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({}, "--broker is needed"),
        ({"mqtt.url": "http://b"}, "expected mqtt://"),
        ({**BROKER, "agent.perod_s": 1}, "no such setting"),
        ({**BROKER, "agent.period_s": "x"}, "expected"),
        ({**BROKER, "agent.node": "../../etc"}, r"agent\.node '\.\./\.\./etc': expected 1 to 128"),
        ({**BROKER, "agent.node": ".."}, r"agent\.node '\.\.': expected"),
        ({"mqtt.url": os.fsdecode(b"mqtts://b\xff")}, r"^mqtt\.url: has characters"),
        ({**BROKER, "mqtt.username": "n\x7f"}, r"^mqtt\.username: has characters"),
        ({**BROKER, os.fsdecode(b"agent.\xff"): 1}, r"^'agent\.\\udcff': has characters"),
    ],
)
def test_what_would_not_start_is_refused_before_anything_is_touched(system, tmp_path, values, cause):
    before = system.files(tmp_path)
    with pytest.raises(ConfigError, match=cause):
        system.install(values)
    assert (system.commands, system.files(tmp_path)) == ([], before)


@pytest.mark.parametrize("name", ["password_file", "ca_file", "cert_file"])
def test_credentials_that_would_not_do_are_refused_before_anything_is_touched(system, tmp_path, name):
    for path, cause in ((tmp_path / "nowhere", "nowhere: cannot read"), (tmp_path / "empty", "empty")):
        (tmp_path / "empty").touch()
        with pytest.raises(ConfigError, match=cause):
            system.install(secrets={f"mqtt.{name}": path})
    assert system.commands == []


def test_a_password_without_a_user_is_refused(system, tmp_path):
    (tmp_path / "pw").write_text("hunter2\n")
    with pytest.raises(ConfigError, match="needs --username"):
        system.install({"mqtt.url": "mqtts://broker"}, {"mqtt.password_file": tmp_path / "pw"})


def test_a_dry_run_touches_nothing_and_tells_everything(system, tmp_path):
    before = system.files(tmp_path)
    system.install(dry_run=True)
    assert (system.commands, system.files(tmp_path)) == ([], before)
    assert f"would run systemctl restart {UNIT}" in system.said
    assert f"would write {system.at.unit} (mode 0644)" in system.said


def test_an_image_needs_no_running_systemd(system):
    system.at.systemd.rmdir()
    with pytest.raises(UnavailableError, match="--no-start"):
        system.install()
    system.install(start=False)
    assert system.commands[1:] == [f"systemctl enable {UNIT}"]


def test_a_service_that_does_not_start_is_told_with_its_last_words(system):
    system.fails_to_start = True
    with pytest.raises(UnavailableError, match="does not start:\nthermogate: wrong"):
        system.install()


def test_a_password_in_the_clear_is_warned_of(system, tmp_path, capsys):
    (tmp_path / "pw").write_text("hunter2\n")
    system.install({**BROKER, "mqtt.url": "mqtt://broker"}, {"mqtt.password_file": tmp_path / "pw"})
    assert "! mqtt://broker is not encrypted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"agent.node": "n17"}, ""),
        ({"agent.node": "n18"}, "! this node's name is 'n18' and its user at the broker 'n17': "),
        ({"agent.node": ""}, "after its host, and its user at the broker 'n17': "),
    ],
)
def test_a_user_that_is_not_the_nodes_name_is_warned_of(system, capsys, values, said):
    system.install({**BROKER, **values})
    out = capsys.readouterr().out
    assert said in out if said else "!" not in out
    assert ("if the node is 'n17', install again with --node" in out) == bool(said)


def test_a_certificate_of_another_name_than_the_nodes_is_warned_of(system, tmp_path, capsys):
    pair = Authority(tmp_path).pair("n17")
    secrets = {"mqtt.cert_file": pair.cert, "mqtt.key_file": pair.key}
    system.install({"mqtt.url": "mqtts://broker", "agent.node": "n17"}, secrets)
    assert "!" not in capsys.readouterr().out
    system.install({"agent.node": "n18"})
    assert "! this node's name is 'n18' and its user at the broker 'n17': " in capsys.readouterr().out


def test_uninstall_leaves_nothing(system, tmp_path):
    (tmp_path / "pw").write_text("hunter2\n")
    before = system.files(tmp_path)
    system.install(secrets={"mqtt.password_file": tmp_path / "pw"})
    (system.at.state / "spool/n17").mkdir(parents=True)
    (system.at.drop_ins / "override.conf").write_text("[Service]\nMemoryMax=64M\n")
    system.uninstall()
    assert system.files(tmp_path) == before
    assert not system.at.state.exists()
    assert not system.at.folder.exists()
    assert not system.at.drop_ins.exists()
    assert "thermogate" not in system.at.passwd.read_text()
    assert (system.enabled, system.status) == (False, "")


def test_uninstall_does_not_throw_away_what_no_store_has(system):
    system.install()
    with pytest.raises(UnavailableError, match=r"12 messages .* would be lost"):
        system.uninstall(unsent=12)
    assert system.status
    assert system.at.unit.exists()
    system.uninstall(unsent=12, force=True)
    assert not system.at.unit.exists()


def test_what_was_sampled_under_a_former_name_is_not_waited_for(system):
    system.install()
    with pytest.raises(UnavailableError) as former:
        system.uninstall(unsent={"vm": 23})
    assert "23 messages" in str(former.value)
    assert "those of vm are sent only by an agent of that name, and this node's is n17" in str(former.value)
    assert "wait until" not in str(former.value)
    with pytest.raises(UnavailableError, match=r"25 .*: wait until .*; those of vm are sent only"):
        system.uninstall(unsent={"vm": 23, "n17": 2})


@pytest.mark.parametrize("force", [False, True])
def test_a_user_whose_processes_run_stops_uninstall_before_anything_is_removed(system, tmp_path, force):
    system.install()
    system.process(41, 990, tmp_path)
    with pytest.raises(UnavailableError, match=r"while processes of it run: 41 .*nothing was removed"):
        system.uninstall(force=force)
    assert system.status
    assert system.at.unit.exists()
    system.uninstall(keep_spool=True)
    assert "thermogate:" in system.at.passwd.read_text()


def test_processes_of_others_and_in_containers_stop_no_uninstall(system, tmp_path):
    system.install()
    system.process(41, 1000, tmp_path)
    (tmp_path / "container").mkdir()
    system.process(42, 990, tmp_path / "container")
    system.uninstall()
    assert "thermogate:" not in system.at.passwd.read_text()


def test_an_uninstall_that_only_removes_the_user_has_done_something(system):
    system.run(["systemd-sysusers", str(layout.shipped("thermogate-sysusers.conf"))])
    do = system.hand()
    uninstall(system.at, do, force=False, keep_spool=False, count=lambda folder: {})
    assert (do.idle, system.said) == (False, ["ran userdel thermogate"])


def test_a_command_that_fails_is_not_told_as_done(system):
    system.fails_to_start = True
    with pytest.raises(UnavailableError):
        system.hand().run("systemctl", "start", UNIT)
    assert system.said == []


def test_an_interrupted_uninstall_starts_the_service_again(system):
    def interrupted(folder):
        raise KeyboardInterrupt

    system.install()
    with pytest.raises(KeyboardInterrupt):
        uninstall(system.at, system.hand(), force=False, keep_spool=False, count=interrupted)
    assert system.status


def test_a_spool_that_cannot_be_read_is_not_thrown_away(system):
    def unreadable(folder):
        raise UnavailableError("another agent has this spool")

    system.install()
    with pytest.raises(UnavailableError, match="another agent"):
        uninstall(system.at, system.hand(), force=False, keep_spool=False, count=unreadable)
    assert system.status
    assert system.at.unit.exists()


def test_uninstall_can_leave_the_spool_to_its_owner(system):
    system.install()
    (system.at.state / "spool/n17").mkdir(parents=True)
    system.uninstall(unsent=12, keep_spool=True)
    assert (system.at.state / "spool/n17").is_dir()
    assert "thermogate:" in system.at.passwd.read_text()
    with pytest.raises(UnavailableError, match="would be lost"):
        system.uninstall(unsent=12)


def test_uninstall_names_what_an_operator_has_put_beside_it(system, capsys):
    system.install()
    (system.at.folder / "password.cred").touch()
    system.uninstall()
    assert f"kept {system.at.folder}: password.cred, not of install's making" in capsys.readouterr().out
    assert (system.at.folder / "password.cred").exists()


def test_uninstall_keeps_what_others_use(system):
    system.install()
    (system.at.unit.parent / "thermogate-collector.service").touch()
    (system.at.folder / "mine").touch()
    system.uninstall()
    assert sorted(path.name for path in system.at.folder.iterdir()) == ["mine", "thermogate.toml"]


def test_a_user_of_another_making_is_not_removed(system):
    system.at.passwd.write_text("thermogate:x:1000:1000:Ann:/home/ann:/bin/sh\n")
    system.install()
    system.uninstall()
    assert "Ann" in system.at.passwd.read_text()
    assert "userdel thermogate" not in system.commands


def test_a_dry_uninstall_touches_nothing(system, tmp_path):
    system.install()
    before, commands = system.files(tmp_path), list(system.commands)
    system.uninstall(dry_run=True)
    assert (system.commands, system.files(tmp_path)) == (commands, before)
    assert "would run userdel thermogate" in system.said


def test_uninstall_of_nothing_does_nothing(system):
    do = system.hand()
    uninstall(system.at, do, force=False, keep_spool=False, count=lambda folder: {})
    assert (do.idle, system.commands) == (True, [])


def test_the_unit_is_found_where_the_package_is():
    assert layout.shipped(UNIT).resolve() == Path(__file__).parents[3] / "systemd" / UNIT


def test_the_command_line_says_what_is_missing(capsys):
    assert main(["agent", "install", "--dry-run", "--set", "agent.node"]) == 78
    assert "expected section.key=value" in capsys.readouterr().err

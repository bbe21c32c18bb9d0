"""The installed service on a machine that systemd runs: an overlay of this one, in systemd-nspawn.

The broker and what stores and acknowledges are outside of it. The tests share one machine and one
installation; the last one removes it.
"""

import asyncio
import contextlib
import subprocess
import threading
import time

import pytest

from tests import nspawn
from tests.servers import binary, free_port, mosquitto
from thermogate.core.model import Ack, Event
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import decode, encode, node_topic, parse_header, split_topic

pytestmark = pytest.mark.integration

UNIT = "thermogate-agent.service"
THERMOGATE = "/opt/thermogate/bin/thermogate"
WAIT_S = 60.0


def until(true, what):
    """The first result of `true()` that is."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if result := true():
            return result
        time.sleep(0.1)
    pytest.fail(f"never: {what}")


class Collector:
    """Stores in memory and acknowledges what it has; while `deaf`, it does neither."""

    def __init__(self, url):
        self.seqs = {}
        self.missed = 0
        self.deaf = False
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join(20)

    def newest(self):
        return max((seq for seqs in self.seqs.values() for seq in seqs), default=0)

    def has_all_of_one_spool(self, at_least):
        """Whether nothing is missing from number 1 to the newest, which is `at_least`."""
        (seqs,) = self.seqs.values()
        return len(seqs) == max(seqs) >= at_least

    async def _main(self):
        topics = (node_topic("+", "telemetry"), node_topic("+", "event"))
        settings = MqttSettings(url=self._url)
        async with MqttClient(settings, client_id="thermogate-collector", subscribe=topics) as client:
            while not self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        for message in await client.receive(100):
                            self._take(client, message)

    def _take(self, client, message):
        _, node, leaf = split_topic(message.topic)
        if self.deaf:
            self.missed += 1
            return
        found = parse_header(message.payload) if leaf == "telemetry" else decode(message.payload, Event)
        self.seqs.setdefault(found.spool, set()).add(found.seq)
        ack = Ack(spool=found.spool, stored=((found.seq, found.seq),))
        client.publish_soon(node_topic(node, "ack"), encode(ack))


class Node:
    """The machine, what install said, and what was there before it."""

    def __init__(self, machine, collector, folder, broker_log):
        self.machine, self.collector, self.broker_log = machine, collector, broker_log
        machine.run("mkdir", "-p", "/etc/udev/rules.d")
        self.before = self.traces()
        self.installed = machine.run(*install_command(folder)).stdout

    def traces(self):
        """Every file and user that an installation could leave; not the copies that user tools make."""
        folders = ("/etc", "/var/lib", "/usr/lib/systemd", "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d")
        skip = ("-not", "-name", "*-", "-not", "-path", "/var/lib/systemd/*")
        files = self.machine.said("find", *folders, *skip).splitlines()
        users = self.machine.said("cat", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
        return sorted(files), sorted(users.splitlines())

    def shows(self, name):
        return self.machine.said("systemctl", "show", "--value", "--property", name, UNIT)

    def signal(self, name):
        self.machine.run("kill", f"-{name}", self.shows("MainPID"))

    def restarted(self, count):
        return int(self.shows("NRestarts")) > count and self.shows("ActiveState") == "active"

    def journal(self):
        return self.machine.said("journalctl", "--no-pager", "--output=cat", "-u", UNIT)


def install_command(folder):
    secrets = ("--username", "n17", "--password-file", folder / "password", "--ca-file", folder / "ca.pem")
    url = f"mqtts://127.0.0.1:{(folder / 'port').read_text()}"
    return [
        str(word) for word in (THERMOGATE, "agent", "install", "--broker", url, "--node", "n17", *secrets)
    ]


@pytest.fixture(scope="module")
def node(tmp_path_factory, wheel):
    folder = tmp_path_factory.mktemp("nspawn")
    with nspawn.booted(folder, wheel) as machine:
        machine.install_python(wheel)
        with mosquitto(folder, extra=guarded(folder / "share")) as url, Collector(url) as collector:
            yield Node(machine, collector, folder / "share", folder / "mosquitto.log")


def guarded(folder):
    """Mosquitto's configuration of a second door: TLS, and a password for n17."""
    port = free_port()
    (folder / "port").write_text(str(port))
    (folder / "password").write_text("hunter2\n")
    (folder / "passwords").touch(0o600)
    subprocess.run([binary("mosquitto_passwd"), "-b", folder / "passwords", "n17", "hunter2"], check=True)
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=broker"
    files = (
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        folder / "key.pem",
        "-out",
        folder / "ca.pem",
    )
    subprocess.run([binary("openssl"), *request.split(), *files], check=True, capture_output=True)
    return (
        f"password_file {folder}/passwords\nuser root\nlistener {port} 127.0.0.1\n"
        f"certfile {folder}/ca.pem\nkeyfile {folder}/key.pem\n"
    )


def test_install_starts_a_service_whose_samples_arrive_by_tls_and_password(node):
    assert f"{UNIT}: " in node.installed
    assert "sampling" in node.installed
    assert "hunter2" not in node.installed
    assert (node.shows("ActiveState"), node.shows("UnitFileState")) == ("active", "enabled")
    until(lambda: node.collector.newest() >= 3, "three samples arrive")
    assert "u'n17'" in node.broker_log.read_text()


def test_the_same_install_again_leaves_the_service_alone(node, tmp_path):
    before = node.shows("ExecMainStartTimestampMonotonic")
    folder = node.broker_log.parent / "share"
    assert "nothing was changed" in node.machine.said(*install_command(folder))
    assert node.shows("ExecMainStartTimestampMonotonic") == before


def test_the_service_has_no_rights_and_the_bounds_of_its_unit(node):
    status = node.machine.said("cat", f"/proc/{node.shows('MainPID')}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    uid = node.machine.said("id", "-u", "thermogate")
    assert fields["Uid"].split() == [uid] * 4 != ["0"] * 4
    assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert node.shows("MemoryMax") == str(128 * 1024 * 1024)
    assert (node.shows("CPUQuotaPerSecUSec"), node.shows("WatchdogUSec")) == ("200ms", "30s")


def test_only_root_and_the_service_can_read_its_password(node):
    as_user = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "cat")
    as_service = ("setpriv", "--reuid=thermogate", "--regid=thermogate", "--clear-groups", "cat")
    original = "/etc/thermogate/credentials/mqtt.password_file"
    copy = f"/run/credentials/{UNIT}/mqtt.password_file"
    assert node.machine.run(*as_service, original, check=False).returncode
    assert node.machine.run(*as_user, copy, check=False).returncode
    assert node.machine.said(*as_service, copy) == "hunter2"


def test_nobody_but_root_can_install_or_uninstall(node):
    as_user = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", THERMOGATE, "agent")
    for verb in ("install", "uninstall"):
        refused = node.machine.run(*as_user, verb, check=False)
        assert refused.returncode == 1
        assert f"only root can {verb} a service" in refused.stderr


def test_energy_counters_are_opened_to_the_service_and_to_no_other(node):
    """The powercap tree of a machine that has one, since this one may not."""
    zone = "/srv/machine/sys/class/powercap/intel-rapl:0"
    node.machine.run("sh", "-c", f"mkdir -p {zone}; echo 1 > {zone}/energy_uj; chmod 400 {zone}/energy_uj")
    script = (
        "from pathlib import Path\n"
        "from thermogate.cli.hand import Hand\n"
        "from thermogate.cli.install import open_rapl\n"
        "from thermogate.cli.layout import Layout\n"
        "open_rapl(Layout(Path('/srv/machine')), Hand(print))\n"
    )
    node.machine.run("/opt/thermogate/bin/python", "-c", script)
    opened = node.machine.said("stat", "--format=%U %G %a", f"{zone}/energy_uj")
    node.machine.run("sh", "-c", f"chown 0:0 {zone}/energy_uj; chmod 400 {zone}/energy_uj")
    for command in udev_commands(node.machine.said("cat", "/etc/udev/rules.d/70-thermogate.rules"), zone):
        node.machine.run(*command.split())
    by_rule = node.machine.said("stat", "--format=%U %G %a", f"{zone}/energy_uj")
    assert opened == by_rule == "root thermogate 440"


def udev_commands(rules, device):
    """What the rules run for a device."""
    parts = [
        part.strip() for line in rules.splitlines() if line.startswith("ACTION") for part in line.split(",")
    ]
    runs = [part.removeprefix('RUN+="').removesuffix('"') for part in parts if part.startswith("RUN")]
    return [command.replace("%S%p", device) for command in runs]


def test_an_agent_that_is_killed_is_back_and_no_sample_is_lost(node):
    until(lambda: node.collector.newest() >= 2, "samples arrive")
    restarts, missed = int(node.shows("NRestarts")), node.collector.missed
    node.collector.deaf = True
    until(lambda: node.collector.missed >= missed + 3, "samples that no store has")
    node.signal("KILL")
    node.collector.deaf = False
    until(lambda: node.restarted(restarts), "it is back")
    newest = node.collector.newest()
    until(lambda: node.collector.has_all_of_one_spool(newest + 5), "every number from the first on")


def test_an_agent_that_hangs_is_ended_by_the_watchdog_and_back(node):
    short = "[Service]\nWatchdogSec=3\n"
    folder = f"/etc/systemd/system/{UNIT}.d"
    node.machine.run("sh", "-c", f"mkdir -p {folder}; printf '{short}' > {folder}/90-operator.conf")
    node.machine.run("systemctl", "daemon-reload")
    node.machine.run("systemctl", "restart", UNIT)
    restarts, newest = int(node.shows("NRestarts")), node.collector.newest()
    until(lambda: node.collector.newest() > newest, "samples arrive")
    node.signal("STOP")
    until(lambda: node.restarted(restarts), "it is back")
    assert "Watchdog timeout" in node.journal()
    newest = node.collector.newest()
    until(lambda: node.collector.has_all_of_one_spool(newest + 2), "every number from the first on")


def test_a_wrong_configuration_ends_it_for_good_and_names_the_place(node):
    config = "/etc/thermogate/thermogate.toml"
    node.machine.run("sh", "-c", f"cp {config} /srv/good; echo '[agnt]' >> {config}")
    assert node.machine.run("systemctl", "restart", UNIT, check=False).returncode
    assert (node.shows("ActiveState"), node.shows("ExecMainStatus")) == ("failed", "78")
    assert f"{config}: agnt: no such setting" in node.journal()
    node.machine.run("cp", "/srv/good", config)
    node.machine.run("systemctl", "start", UNIT)


def test_install_refuses_a_configuration_that_is_closed_to_the_service(node):
    config = "/etc/thermogate/thermogate.toml"
    node.machine.run("chmod", "600", config)
    refused = node.machine.run(THERMOGATE, "agent", "install", check=False)
    node.machine.run("chmod", "644", config)
    assert refused.returncode == 78
    assert f"chmod o+r {config}" in refused.stderr


def test_uninstall_removes_nothing_while_its_user_is_at_work(node):
    as_service = "setpriv --reuid=thermogate --regid=thermogate --clear-groups"
    pid = node.machine.said("sh", "-c", f"{as_service} sleep 600 >/dev/null 2>&1 & echo $!")
    until(lambda: node.machine.said("stat", "--format=%U", f"/proc/{pid}") == "thermogate", "it runs")
    refused = node.machine.run(THERMOGATE, "agent", "uninstall", "--force", check=False)
    assert refused.returncode == 1
    assert f"while processes of it run: {pid} " in refused.stderr
    until(lambda: node.shows("ActiveState") == "active", "the agent goes on")
    node.machine.run("kill", pid)


def test_uninstall_loses_nothing_unasked_and_leaves_nothing(node):
    missed = node.collector.missed
    node.collector.deaf = True
    until(lambda: node.collector.missed > missed, "a sample that no store has")
    refused = node.machine.run(THERMOGATE, "agent", "uninstall", check=False)
    assert (refused.returncode, node.shows("UnitFileState")) == (1, "enabled")
    assert "would be lost" in refused.stderr
    until(lambda: node.shows("ActiveState") == "active", "it goes on")
    node.collector.deaf = False
    uninstall = [THERMOGATE, "agent", "uninstall"]
    until(lambda: node.machine.run(*uninstall, check=False).returncode == 0, "the collector has everything")
    assert node.traces() == node.before
    assert node.shows("LoadState") == "not-found"

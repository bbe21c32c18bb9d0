"""The units of collector and analytics on a machine that systemd runs: an overlay of this one, in nspawn.

They are installed by hand, as docs/operations.md says; the broker is outside, and not there at first.
"""

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from tests import nspawn
from tests.contract.making import message, sample
from tests.servers import binary, free_port, mosquitto
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import node_topic

pytestmark = pytest.mark.integration

SYSTEMD = Path(__file__).parents[2] / "systemd"
COLLECTOR, ANALYTICS = "thermogate-collector.service", "thermogate-analytics.service"
UNITS = (COLLECTOR, ANALYTICS)
WAIT_S = 60.0
WATCHDOG_S = 4
CONFIG = """\
log_level = "INFO"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
username = "{user}"
reconnect_max_s = 0.5
[collector]
ack_interval_s = 0.2
[dashboard]
listen = "127.0.0.1:{listen}"
"""


def until(true, what):
    """The first result of `true()` that is."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if result := true():
            return result
        time.sleep(0.1)
    pytest.fail(f"never: {what}")


class Server:
    """The machine with both services."""

    def __init__(self, machine, folder, port):
        self.machine, self.folder, self.port = machine, folder, port

    def install(self):
        """As docs/operations.md has it."""
        share = self.folder / "share"
        (share / "password").write_text("hunter2\n")
        for unit in UNITS:
            (share / unit).write_text((SYSTEMD / unit).read_text())
        config = CONFIG.format(port=self.port, user="server", listen=free_port())
        (share / "thermogate.toml").write_text(config)
        name = "mqtt.password_file"
        drop_in = f"[Service]\nLoadCredential={name}:/etc/thermogate/credentials/{name}\n"
        drop_in += f"WatchdogSec={WATCHDOG_S}\n"  # less than the unit's minute
        (share / "credentials.conf").write_text(drop_in)
        run = self.machine.run
        run("install", "-d", "-m", "755", "/etc/thermogate")
        run("install", "-d", "-m", "700", "/etc/thermogate/credentials")
        run("install", "-m", "600", share / "password", "/etc/thermogate/credentials/mqtt.password_file")
        run("install", "-m", "644", share / "thermogate.toml", "/etc/thermogate/thermogate.toml")
        for unit in UNITS:
            run("install", "-m", "644", share / unit, f"/etc/systemd/system/{unit}")
            where = f"/etc/systemd/system/{unit}.d/10-credentials.conf"
            run("install", "-D", "-m", "644", share / "credentials.conf", where)
        run("systemctl", "daemon-reload")

    def shows(self, unit, name):
        return self.machine.said("systemctl", "show", "--value", "--property", name, unit)

    def restarted(self, unit, count):
        return int(self.shows(unit, "NRestarts")) > count and self.shows(unit, "ActiveState") == "active"

    def journal(self, unit):
        return self.machine.said("journalctl", "--no-pager", "--output=cat", "-u", unit)


@pytest.fixture(scope="module")
def server(tmp_path_factory, wheel):
    folder = tmp_path_factory.mktemp("services")
    with nspawn.booted(folder, wheel) as machine:
        machine.install_python(wheel)
        server = Server(machine, folder, free_port())
        server.install()
        yield server


@pytest.fixture(scope="module")
def broker(server):
    """Comes after the first test, on the port that the services were told."""
    folder = server.folder
    (folder / "passwords").touch(0o600)
    for user in ("server", "n1"):
        command = [binary("mosquitto_passwd"), "-b", folder / "passwords", user, "hunter2"]
        subprocess.run(command, check=True)
    extra = f"password_file {folder}/passwords\nuser root\n"
    with mosquitto(folder, port=server.port, extra=extra) as url:
        yield url


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_starts_while_there_is_no_broker_and_says_so(server, unit):
    server.machine.run("systemctl", "start", unit)  # returns when it is READY
    assert server.shows(unit, "ActiveState") == "active"
    until(lambda: "nobody listens" in server.shows(unit, "StatusText"), "its status names the broker")


@pytest.mark.parametrize(
    ("unit", "memory", "files"),
    [(COLLECTOR, 4 << 30, "16384"), (ANALYTICS, 2 << 30, None)],
)
def test_a_unit_has_no_rights_and_the_bounds_of_its_file(server, unit, memory, files):
    status = server.machine.said("cat", f"/proc/{server.shows(unit, 'MainPID')}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert server.shows(unit, "MemoryMax") == str(memory)
    assert files in (None, server.shows(unit, "LimitNOFILE"))


async def test_the_broker_comes_and_what_a_node_sends_is_stored(server, broker):
    password = server.folder / "share" / "password"
    settings = MqttSettings(url=broker, username="n1", password_file=str(password))
    topics = (node_topic("n1", "ack"),)
    async with MqttClient(settings, client_id="n1", subscribe=topics) as client:
        await client.wait_connected()
        for unit in UNITS:
            until(lambda unit=unit: "connected to" in server.journal(unit), f"{unit} connects")
        async with asyncio.timeout(WAIT_S):
            await client.publish(node_topic("n1", "telemetry"), message(sample(1), ack=True))
            await client.receive(1)  # its acknowledgement
    until(lambda: ": 1 samples stored" in server.shows(COLLECTOR, "StatusText"), "its status counts it")


@pytest.mark.parametrize("unit", UNITS)
def test_killed_it_is_back(server, broker, unit):
    count = int(server.shows(unit, "NRestarts"))
    server.machine.run("systemctl", "kill", "--signal=KILL", unit)
    until(lambda: server.restarted(unit, count), f"{unit} runs again")


@pytest.mark.parametrize("unit", UNITS)
def test_one_that_hangs_is_ended_by_the_watchdog(server, broker, unit):
    count = int(server.shows(unit, "NRestarts"))
    assert count == 1  # the kill of before: it was fed all the time
    server.machine.run("systemctl", "kill", "--signal=STOP", unit)
    until(lambda: server.restarted(unit, count), f"{unit} runs again")
    assert "Watchdog timeout" in server.journal(unit)


def test_what_was_refused_is_listed_and_tried_again_beside_the_service(server, broker):
    command = ("/opt/thermogate/bin/thermogate", "collector")
    place = ("--data-dir", "/var/lib/private/thermogate-collector")
    assert "0 messages in" in server.machine.said(*command, "quarantine", *place)
    publish = ("mosquitto_pub", "-p", str(server.port), "-u", "n1", "-P", "hunter2", "-t")
    subprocess.run(
        [binary("mosquitto_pub"), *publish[1:], node_topic("n1", "event"), "-m", "\x1b[2J"], check=True
    )
    shown = until(
        lambda: (text := server.machine.said(*command, "quarantine", *place)).startswith("TIME") and text,
        "the message is in quarantine",
    )
    assert "not a valid Event" in shown
    assert "\x1b" not in shown
    told = server.machine.said(*command, "requeue", *place)
    assert "0 are stored, 1 were refused again" in told


@pytest.mark.parametrize("unit", UNITS)
def test_it_stops_within_seconds_and_its_journal_is_readable(server, broker, unit):
    began_s = time.monotonic()
    server.machine.run("systemctl", "stop", unit)
    assert time.monotonic() - began_s < 20
    assert server.shows(unit, "Result") == "success"
    journal = server.journal(unit)
    assert "Traceback" not in journal
    assert "hunter2" not in journal
    lines = [line for line in journal.splitlines() if line.startswith(("INFO", "WARNING", "ERROR"))]
    assert lines
    assert all("thermogate." in line for line in lines)

"""The unit of power caps on a machine that systemd runs: its rights suffice, and kill -9 leaves no cap."""

import shutil
import time
from pathlib import Path

import pytest

from tests import nspawn
from tests.contract.schedulers_contract import decision_of
from tests.nvml_stub.driver import BESIDES, H100, LIBRARY, STATE_VARIABLE, StubDriver
from tests.nvml_stub.loaded import library
from tests.servers import mosquitto
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import encode, gate_topic

pytestmark = pytest.mark.integration

UNIT = "thermogate-power-cap.service"
SYSTEMD = Path(__file__).parents[2] / "systemd"
WAIT_S = 60.0
CONFIG = """\
[mqtt]
url = "{url}"
[agent]
node = "n17"
[schedulers]
dry_run = false
[schedulers.watch]
verify = false
"""


def until(true, what):
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if true():
            return
        time.sleep(0.1)
    pytest.fail(f"never: {what}")


class Node:
    """The machine with the unit as it is shipped, and GPUs of the stub."""

    def __init__(self, machine, folder, url):
        self.machine, self.share, self.url = machine, folder / "share", url
        self.driver = StubDriver(self.share, 2, H100 | BESIDES)

    def install(self):
        shutil.copy(library(), self.share / LIBRARY)
        shutil.copy(SYSTEMD / UNIT, self.share / UNIT)
        (self.share / "thermogate.toml").write_text(CONFIG.format(url=self.url))
        (self.share / "password").write_text("hunter2\n")
        drop_in = (
            f"[Service]\nEnvironment=LD_LIBRARY_PATH={self.share} {STATE_VARIABLE}={self.driver.state}\n"
        )
        drop_in += f"ReadWritePaths={self.share}\nPrivateTmp=no\n"  # where the stub keeps what is set
        drop_in += "LoadCredential=mqtt.password_file:/etc/thermogate/password\n"
        drop_in += "Environment=THERMOGATE_MQTT_USERNAME=n17\n"
        (self.share / "stub.conf").write_text(drop_in)
        run = self.machine.run
        run("install", "-D", "-m", "644", self.share / "thermogate.toml", "/etc/thermogate/thermogate.toml")
        run("install", "-m", "600", self.share / "password", "/etc/thermogate/password")
        run("install", "-m", "644", self.share / UNIT, f"/etc/systemd/system/{UNIT}")
        run("install", "-D", "-m", "644", self.share / "stub.conf", f"/etc/systemd/system/{UNIT}.d/stub.conf")
        run("systemctl", "daemon-reload")

    def shows(self, name):
        return self.machine.said("systemctl", "show", "--value", "--property", name, UNIT)

    def journal(self):
        return self.machine.said("journalctl", "--no-pager", "--output=cat", "-u", UNIT)

    def limits_w(self):
        return [self.driver.power_limit_w(gpu) for gpu in range(2)]

    def until_limits(self, *watts):
        until(lambda: self.limits_w() == list(watts), f"{watts}\n{self.journal()}")


@pytest.fixture(scope="module")
def node(tmp_path_factory, wheel):
    folder = tmp_path_factory.mktemp("power-cap")
    with nspawn.booted(folder, wheel) as machine, mosquitto(folder) as url:
        machine.install_python(wheel)
        node = Node(machine, folder, url)
        node.install()
        yield node


async def test_the_service_starts_with_its_one_right_and_sets_limits(node):
    said = decision_of(("node", "n17"), "HOLD", 0.7, "enforce", 1, time.time_ns())
    async with MqttClient(MqttSettings(url=node.url), client_id="gate") as client:
        await client.wait_connected()
        await client.publish(gate_topic("node", "n17"), encode(said), retain=True)
    started = node.machine.run("systemctl", "start", UNIT, check=False)
    assert started.returncode == 0, node.journal()
    node.until_limits(490, 490)
    pid = node.shows("MainPID")
    status = node.machine.said("cat", f"/proc/{pid}/status")
    assert "CapEff:\t0000000000200000" in status  # CAP_SYS_ADMIN
    until(lambda: "2 GPUs capped" in node.shows("StatusText"), "the status line tells")


def test_killed_it_restores_before_it_starts_again_and_caps_anew(node):
    node.machine.run("kill", "-9", node.shows("MainPID"))
    until(lambda: int(node.shows("NRestarts")) > 0, "a restart")
    node.until_limits(490, 490)
    assert "restore gpu0, gpu1 to 700 W" in node.journal(), node.journal()


def test_stopped_it_leaves_no_cap(node):
    node.machine.run("systemctl", "stop", UNIT)
    assert node.limits_w() == [700, 700]
    assert node.shows("Result") == "success"

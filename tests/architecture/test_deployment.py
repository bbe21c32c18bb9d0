"""The files that an operator copies are ones that work."""

import asyncio
import contextlib
import getpass
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import binary, free_port
from thermogate.cli.settings import ThermogateSettings
from thermogate.core import config
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import gate_topic, node_topic

SYSTEMD = Path(__file__).parents[2] / "systemd"


def test_the_example_configuration_is_valid():
    settings = config.load(ThermogateSettings, file=SYSTEMD / "thermogate.toml")
    assert settings.collector.store == "influx"


@pytest.mark.parametrize("unit", sorted(path.name for path in SYSTEMD.glob("*.service")))
def test_systemd_finds_nothing_wrong_with_a_unit(unit, tmp_path):
    program = binary("systemd-analyze")
    text = (SYSTEMD / unit).read_text().replace("/opt/thermogate/bin/thermogate", shutil.which("true"))
    (tmp_path / unit).write_text(text)
    done = subprocess.run([program, "verify", tmp_path / unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_mosquitto_takes_its_configuration_and_keeps_a_node_to_its_own_topics(tmp_path):
    with guarded_mosquitto(tmp_path, "n17", "thermogate-collector") as url:

        def client(user, **options):
            settings = MqttSettings(url=url, username=user, password_file=str(tmp_path / "password"))
            return MqttClient(settings, client_id=user, **options)

        collector = client("thermogate-collector", subscribe=("thermogate/v1/#",))
        async with collector, client("n17") as node, asyncio.timeout(20):
            await collector.wait_connected()
            await node.wait_connected()
            await asyncio.sleep(0.2)
            await node.publish(node_topic("n18", "telemetry"), b"foreign")
            await node.publish(gate_topic("node", "n17"), b"foreign")
            await node.publish(node_topic("n17", "telemetry"), b"own")
            (message,) = await collector.receive(10)
    assert message.payload == b"own"


@contextlib.contextmanager
def guarded_mosquitto(folder, *users):
    """Mosquitto with the shipped configuration on another port, and these users."""
    passwords, acl, port = folder / "passwords", folder / "acl", free_port()
    (folder / "password").write_text("secret\n")
    passwords.touch(mode=0o600)
    for user in users:
        command = [binary("mosquitto_passwd"), "-b", passwords, user, "secret"]
        subprocess.run(command, check=True, capture_output=True)
    acl.write_text((SYSTEMD / "mosquitto" / "thermogate.acl").read_text())
    acl.chmod(0o600)
    config_text = (SYSTEMD / "mosquitto" / "thermogate.conf").read_text()
    for shipped, here in (
        ("listener 1883", f"listener {port} 127.0.0.1"),
        ("/etc/mosquitto/thermogate.passwd", str(passwords)),
        ("/etc/mosquitto/thermogate.acl", str(acl)),
    ):
        assert shipped in config_text
        config_text = config_text.replace(shipped, here)
    # Mosquitto would give up root for a user that cannot read a test's folder.
    (folder / "conf").write_text(config_text + f"user {getpass.getuser()}\n")
    with subprocess.Popen([binary("mosquitto"), "-c", folder / "conf"]) as broker:
        try:
            yield f"mqtt://127.0.0.1:{port}"
        finally:
            broker.terminate()

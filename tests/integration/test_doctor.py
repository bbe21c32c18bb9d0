"""`thermogate doctor` against what really goes wrong: brokers, TLS, drivers, disks, configuration."""

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.nvml_stub.driver import DRIVER, STATE_VARIABLE, StubDriver, build
from tests.servers import binary, free_port, mosquitto
from thermogate.agent.spool import Spool, SpoolSettings
from thermogate.cli.checks import broker, broker_look
from thermogate.cli.checks.config import DoctorSettings
from thermogate.core.model import Ack, Status
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import encode, node_topic, parse_header

pytestmark = pytest.mark.integration

THERMOGATE = str(Path(sys.executable).with_name("thermogate"))
SETTINGS = DoctorSettings()


class Diagnosis:
    """What one run said."""

    def __init__(self, done):
        assert done.returncode in (0, 1, 78), done.stderr
        assert done.stdout, done.stderr
        self.code = done.returncode
        self.findings = json.loads(done.stdout)

    def of(self, check):
        return next(finding for finding in self.findings if finding["check"] == check)

    def about(self, check, state, *words):
        finding = self.of(check)
        assert finding["state"] == state, finding
        said = " ".join(finding.values())
        assert [word for word in words if word not in said] == [], finding
        assert state == "ok" or (finding["cause"] and finding["cure"])


FAST = ("--set", "agent.period_s=0.2")
"""Three ticks are read: of a healthy machine they can be short."""


def doctor(*arguments, data_dir, before=(), **environ):
    where = ("--json", "--node", "n17", "--data-dir", str(data_dir))
    command = [*before, THERMOGATE, "doctor", *where, *FAST, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | environ
    )
    return Diagnosis(done)


def spooled(folder, count=3):
    """What an agent left that nobody has stored."""
    with Spool(folder / "spool" / "n17", SpoolSettings()) as box:
        for number in range(count):
            box.append("telemetry", b"gpu,node=n17,device=0 power_w=%d.0 17\n" % number)


def contents(folder):
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()
    }


# the way to the broker, a step at a time


def way(url, node="n17", timeout_s=5.0, **settings):
    """Findings of the broker alone, by their check without the group."""
    mqtt = MqttSettings(url=url, **settings)
    look = broker_look.look(mqtt, node, timeout_s)
    found = broker.judge(look, mqtt, node, datetime.now(UTC), SETTINGS)
    return {finding.check.partition(".")[2]: finding for finding in found}


def about(finding, state, *words):
    assert finding.state == state, finding
    said = f"{finding.found} {finding.cause} {finding.cure}"
    assert [word for word in words if word not in said] == [], finding


def test_a_broker_that_takes_the_node_is_ok_at_every_step(tmp_path):
    with mosquitto(tmp_path) as url:
        found = way(url)
    assert [found[step].state for step in ("dns", "tcp", "login", "subscription")] == ["ok"] * 4
    assert found["tls"].state == "n/a"
    assert "round trip" in found["subscription"].found
    assert "status" not in found


def test_a_name_without_an_address_ends_at_dns():
    found = way("mqtt://broker.invalid")
    about(found["dns"], "fail", "broker.invalid", "getent hosts")
    assert found["tcp"].state == "n/a"


def test_a_wrong_port_ends_at_tcp_with_the_command_to_look():
    port = free_port()
    found = way(f"mqtt://127.0.0.1:{port}")
    about(found["tcp"], "fail", f"nobody listens on port {port}", f"nc -vz 127.0.0.1 {port}", "mosquitto")
    assert [found[step].state for step in ("tls", "login", "subscription")] == ["n/a"] * 3


def test_a_port_that_takes_connections_and_says_nothing_is_told_from_a_firewall():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = way(f"mqtt://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3)
    about(found["login"], "fail", "does not answer MQTT", "/var/log/mosquitto/mosquitto.log")


def test_a_service_that_is_no_broker_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        other = threading.Thread(target=answer)
        other.start()
        found = way(f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        other.join()
    about(found["login"], "fail", "not MQTT")


@pytest.fixture
def passwords(tmp_path):
    file = tmp_path / "passwords"
    file.touch(mode=0o600)
    for user in ("n17", "n18"):
        command = [binary("mosquitto_passwd"), "-b", file, user, "secret"]
        subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "right").write_text("secret\n")
    (tmp_path / "wrong").write_text("guess\n")
    return file


def test_a_wrong_password_is_told_as_one(tmp_path, passwords):
    with mosquitto(tmp_path, extra=f"password_file {passwords}\nuser root\n") as url:
        found = way(url, username="n17", password_file=str(tmp_path / "wrong"))
        right = way(url, username="n17", password_file=str(tmp_path / "right"))
    about(found["login"], "fail", "'n17' or this password", "mosquitto_passwd")
    assert found["subscription"].state == "n/a"
    assert right["login"].state == "ok"


def test_a_user_that_is_not_the_node_is_warned_of(tmp_path, passwords):
    with mosquitto(tmp_path, extra=f"password_file {passwords}\nuser root\n") as url:
        found = way(url, username="n18", password_file=str(tmp_path / "right"))
    about(found["login"], "warn", "write below node/n18 only", "agent.node")


def test_a_subscription_that_is_refused_is_told():
    """Mosquitto grants every subscription and filters later; brokers with a plugin, and EMQX, refuse."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse():
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"\x20\x02\x00\x00")
                connection.recv(1000)
                connection.sendall(b"\x90\x04\x00\x01\x80\x80")
                connection.recv(1000)

        other = threading.Thread(target=refuse)
        other.start()
        found = way(f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        other.join()
    about(found["subscription"], "fail", "node/n17/ack", "acl_file")


async def test_the_nodes_retained_status_is_read_back_where_the_broker_lets_it(tmp_path):
    with mosquitto(tmp_path) as url:
        async with MqttClient(MqttSettings(url=url), client_id="agent") as agent:
            await agent.wait_connected()
            lost = Status(node="n17", online=False, time_ns=time.time_ns() - 300 * 10**9, text="lost")
            await agent.publish(node_topic("n17", "status"), encode(lost), retain=True)
            found = way(url)
    about(found["status"], "warn", "offline, 5", "lost", "systemctl status thermogate-agent")


# TLS


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """An authority, and what it signed: NAME.pem and NAME.key."""
    folder = tmp_path_factory.mktemp("pki")
    openssl = binary("openssl")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def call(*arguments):
        subprocess.run([openssl, *arguments], check=True, capture_output=True, cwd=folder)

    for authority in ("ca", "stranger"):
        call("req", "-x509", *key, "-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-days", "90",
             "-subj", f"/CN={authority}")  # fmt: skip
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    (folder / "other").write_text("subjectAltName=DNS:elsewhere.example")
    for name, days, extension in (
        ("server", "90", "san"), ("ending", "3", "san"), ("expired", "-1", "san"),
        ("elsewhere", "90", "other"), ("n17", "90", "san"), ("n17-expired", "-1", "san"),
    ):  # fmt: skip
        call("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        call("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
             "-days", days, "-extfile", extension, "-out", f"{name}.pem")  # fmt: skip
    for file in folder.glob("*.key"):
        file.chmod(0o644)  # Mosquitto gives up root
    folder.chmod(0o755)
    return folder


@contextlib.contextmanager
def secure(folder, pki, name, more=""):
    """A Mosquitto with TLS; its mqtts URL."""
    port = free_port()
    tls = f"listener {port} 127.0.0.1\ncafile {pki}/ca.pem\n"
    tls += f"certfile {pki}/{name}.pem\nkeyfile {pki}/{name}.key\n"
    with mosquitto(folder, extra=f"user root\n{tls}{more}"):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield f"mqtts://127.0.0.1:{port}"


def test_tls_that_holds_tells_how_long_the_certificate_does(tmp_path, pki):
    with secure(tmp_path, pki, "server") as url:
        found = way(url, ca_file=f"{pki}/ca.pem")
    about(found["tls"], "ok", "TLSv1.3", "server")
    about(found["certificate"], "ok", "89 days more")
    assert found["subscription"].state == "ok"


def test_a_certificate_that_ends_soon_is_warned_of(tmp_path, pki):
    with secure(tmp_path, pki, "ending") as url:
        found = way(url, ca_file=f"{pki}/ca.pem")
    about(found["certificate"], "warn", "less than 14 days", "renew it on the broker")


@pytest.mark.parametrize(
    ("name", "authority", "words"),
    [
        ("server", "stranger", ("signed the broker's certificate", "mqtt.ca_file")),
        ("expired", "ca", ("expired", "renew it on the broker")),
        ("elsewhere", "ca", ("not for '127.0.0.1'", "mqtt.url")),
    ],
)
def test_a_certificate_that_cannot_be_trusted_ends_at_tls(tmp_path, pki, name, authority, words):
    with secure(tmp_path, pki, name) as url:
        found = way(url, ca_file=f"{pki}/{authority}.pem")
    about(found["tls"], "fail", *words, "openssl s_client")
    assert found["login"].state == "n/a"


def test_tls_towards_a_port_without_it_is_told(tmp_path, pki):
    with mosquitto(tmp_path) as url:
        found = way(url.replace("mqtt:", "mqtts:"), ca_file=f"{pki}/ca.pem")
    about(found["tls"], "fail", "mqtt://")


def test_mutual_tls_without_with_and_with_an_expired_certificate(tmp_path, pki):
    own = {
        name: {"cert_file": f"{pki}/{name}.pem", "key_file": f"{pki}/{name}.key"}
        for name in ("n17", "n17-expired")
    }
    more = "require_certificate true\nuse_identity_as_username true\n"
    with secure(tmp_path, pki, "server", more) as url:
        without = way(url, ca_file=f"{pki}/ca.pem")
        good = way(url, ca_file=f"{pki}/ca.pem", **own["n17"])
        expired = way(url, ca_file=f"{pki}/ca.pem", **own["n17-expired"])
    about(without["login"], "fail", "client certificate", "mqtt.cert_file")
    about(good["login"], "ok", "n17")
    assert good["own_certificate"].state == "ok"
    about(expired["login"], "fail", "client certificate", "n17-expired.pem")
    about(
        expired["own_certificate"],
        "fail",
        "it has expired",
        "(n17-expired) ended",
        "agent install --cert-file",
    )


# all of it, as a user runs it


async def test_a_running_agent_is_found_well_and_left_alone(tmp_path):
    log = tmp_path / "mosquitto.log"
    with mosquitto(tmp_path, extra="log_type all\nconnection_messages true\n") as url:
        command = [
            THERMOGATE,
            "agent",
            "--node",
            "n17",
            "--data-dir",
            str(tmp_path / "data"),
            "--broker",
            url,
        ]
        async with MqttClient(
            MqttSettings(url=url), client_id="collector", subscribe=(node_topic("n17", "telemetry"),)
        ) as collector:
            await collector.wait_connected()
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as agent:  # noqa: ASYNC220
                try:
                    for _ in range(3):  # the fields of counters come with the second sample
                        (message,) = await collector.receive(1)
                    header = parse_header(message.payload)
                    ack = encode(Ack(header.spool, ((1, header.seq),)))
                    await collector.publish(node_topic("n17", "ack"), ack)
                    seen = doctor("--broker", url, data_dir=tmp_path / "data")
                    assert agent.poll() is None
                finally:
                    agent.terminate()
                    agent.wait(20)
    assert [f for f in seen.findings if f["state"] == "fail"] == []
    assert seen.code == 0
    for check in ("broker.login", "broker.status", "spool.folder", "spool.samples", "spool.acknowledged"):
        assert seen.of(check)["state"] == "ok", seen.of(check)
    assert f"process {agent.pid}" in seen.of("spool.samples")["found"]
    assert seen.of("sensors.agent")["state"] in ("ok", "n/a")
    said = log.read_text()
    assert said.count("as thermogate-agent-n17") == 1
    assert said.count("as thermogate-doctor-n17") == 1
    assert "already connected" not in said


def test_what_was_left_in_a_spool_is_told_and_not_touched(tmp_path):
    spooled(tmp_path)
    before = contents(tmp_path)
    seen = doctor("--broker", f"mqtt://127.0.0.1:{free_port()}", data_dir=tmp_path)
    assert contents(tmp_path) == before
    assert seen.code == 1
    seen.about("broker.tcp", "fail", "nobody listens")
    seen.about("spool.samples", "fail", "no agent runs", "systemctl restart thermogate-agent")
    assert "3 messages not yet stored" in seen.of("spool.acknowledged")["found"]


def test_a_wrong_setting_is_named_with_its_place_and_exit_78(tmp_path):
    config = tmp_path / "thermogate.toml"
    config.write_text("[agent]\nperiod = 1\n")
    seen = doctor("--config", str(config), data_dir=tmp_path)
    assert seen.code == 78
    seen.about("configuration.settings", "fail", str(config), "agent.period", "no such setting")
    missing = doctor("--set", "mqtt.ca_file=/no/ca.pem", "--broker", "mqtts://127.0.0.1:1", data_dir=tmp_path)
    assert missing.code == 78
    missing.about("configuration.files", "fail", "mqtt.ca_file /no/ca.pem", "put the file there")


def test_credentials_beside_the_configuration_are_used_as_the_service_uses_them(tmp_path, passwords):
    (tmp_path / "credentials").mkdir()
    shutil.copy(tmp_path / "right", tmp_path / "credentials" / "mqtt.password_file")
    config = tmp_path / "thermogate.toml"
    with mosquitto(tmp_path, extra=f"password_file {passwords}\nuser root\n") as url:
        config.write_text(f'[mqtt]\nurl = "{url}"\nusername = "n17"\n')
        seen = doctor("--config", str(config), data_dir=tmp_path)
    assert seen.of("broker.login")["found"] == "accepted as n17"


def test_the_text_for_people_ends_with_the_first_thing_to_do(tmp_path):
    url = f"mqtt://127.0.0.1:{free_port()}"
    command = [THERMOGATE, "doctor", *FAST, "--data-dir", str(tmp_path), "--broker", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    *_, first, cure = done.stdout.strip().splitlines()
    assert "1 problem" in done.stdout
    assert "First: broker.tcp: nobody listens" in done.stdout
    assert "cause  nobody listens" in done.stdout
    assert "\n  FAIL  tcp" in done.stdout


# drivers


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def node(tmp_path, library):
    """A machine with three GPUs on its bus, a driver that lists two of them, and a doctor for it."""
    driver = StubDriver(tmp_path, count=2)
    for number in range(3):
        device = tmp_path / "sys/bus/pci/devices" / f"0000:{16 + number:02x}:00.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text("0x030200\n")
        module = tmp_path / "sys/bus/pci/drivers/nvidia"
        module.mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(module)
        (module / device.name).symlink_to(device)
    (tmp_path / "sys/module/nvidia").mkdir(parents=True)

    def examine():
        return doctor(
            *("--set", f"agent.host.sysfs_root={tmp_path}/sys"),
            *(
                "--set",
                "doctor.step_timeout_s=1.5",
                "--set",
                "agent.period_s=1",
                "--broker",
                "mqtt://127.0.0.1:1",
            ),
            data_dir=tmp_path,
            LD_LIBRARY_PATH=str(library.parent),
            **{STATE_VARIABLE: str(driver.state)},
        )

    yield driver, examine
    driver.release()


def test_gpus_that_answer_are_told_with_what_they_give_and_one_that_is_not_listed_by_address(node):
    _, examine = node
    seen = examine()
    seen.about("nvidia.driver", "ok", "2 x NVIDIA H100")
    seen.about("nvidia.gpus", "fail", "0000:12:00.0", "1 of 3 GPUs", "dmesg")
    given = seen.of("sensors.gpu0, gpu1")["found"]
    assert "power_w" in given.partition("not:")[0]
    assert "fan_ratio" in given.partition("not:")[2]


def test_a_driver_that_hangs_at_its_start_holds_nothing_up(node):
    driver, examine = node
    driver.hang("nvmlInitWithFlags", DRIVER)
    seen = examine()
    seen.about("nvidia.driver", "fail", "the driver hangs", "reboot")
    assert seen.of("sensors.cpu")["state"] == "ok"


def test_a_call_that_hangs_on_one_gpu_is_named(node):
    driver, examine = node
    driver.hang("nvmlDeviceGetTemperatureV", 1)
    seen = examine()
    seen.about("sensors.gpu1", "fail", "nvmlDeviceGetTemperatureV", "reboot")
    assert seen.of("sensors.gpu0")["state"] == "ok"


def test_a_driver_that_may_not_be_opened_is_told(node):
    driver, examine = node
    driver.error("nvmlInitWithFlags", 4, DRIVER)
    seen = examine()
    assert seen.of("nvidia.driver")["state"] == "fail"
    assert "permission" in seen.of("nvidia.driver")["found"]
    assert seen.code == 1


# disks


def test_a_disk_that_hangs_holds_up_only_what_needs_it(tmp_path):
    spooled(tmp_path)
    length = 2 << 20  # heads of so long entries with a wrong checksum each: hours of work in one file
    head = struct.pack("<3sBI", b"\xa7TG", 2, 0) + struct.pack("<IBQQ", length, 1, 1, 1)
    data = head * (length // len(head)) + bytes(length)
    (tmp_path / "spool" / "n17" / f"{9:020d}.seg").write_bytes(data)
    broker = f"mqtt://127.0.0.1:{free_port()}"
    seen = doctor("--broker", broker, "--set", "doctor.deadline_s=4", data_dir=tmp_path)
    seen.about("spool.folder", "fail", "no answer in time", "fsck")
    seen.about("broker.tcp", "fail", "nobody listens")


def test_what_the_services_user_puts_in_the_place_of_files_hurts_nobody(tmp_path):
    spooled(tmp_path)
    folder = tmp_path / "spool" / "n17"
    os.mkfifo(folder / f"{8:020d}.seg")
    (folder / f"{9:020d}.seg").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "running.json")
    seen = doctor(data_dir=tmp_path)
    assert "3 messages" in seen.of("spool.folder")["found"]
    (tmp_path / "running.json").unlink()
    (tmp_path / "running.json").symlink_to("/dev/zero")
    os.truncate(next(folder.glob("*1.seg")), 100 << 30)
    seen = doctor(data_dir=tmp_path)
    assert "in 3 messages" in seen.of("spool.folder")["found"]


def mounting(script):
    """A prefix that runs a command in a mount namespace of its own, prepared by a script."""
    unshare = shutil.which("unshare")
    if (
        unshare is None
        or subprocess.run([unshare, "-m", "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no private mount namespace for this user")
    return (unshare, "-m", "sh", "-c", f'{script} && exec "$@"', "sh")


def test_a_spool_on_a_disk_that_became_read_only_is_told(tmp_path):
    spooled(tmp_path)
    before = mounting(f"mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro {tmp_path}")
    seen = doctor("--broker", "mqtt://127.0.0.1:1", data_dir=tmp_path, before=before)
    seen.about("spool.folder", "fail", "read-only", "remount,rw")


def test_a_full_disk_under_the_spool_is_told(tmp_path):
    spooled(tmp_path / "full")
    copy, disk = tmp_path / "copy", tmp_path / "disk"
    disk.mkdir()
    shutil.copytree(tmp_path / "full", copy)
    before = mounting(
        f"mount -t tmpfs -o size=256k none {disk} && cp -r {copy}/spool {disk} && "
        f"(head -c 1M /dev/zero > {disk}/other 2>/dev/null || true)"
    )
    seen = doctor("--broker", "mqtt://127.0.0.1:1", data_dir=disk, before=before)
    seen.about("spool.room", "fail", "file system is full", "df -h")
    assert "3 messages" in seen.of("spool.folder")["found"]

"""The way to a real Mosquitto with TLS and passwords: what is refused is named, and samples keep spooling."""

import asyncio
import contextlib
import getpass
import logging
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.integration.nodes import FAST, PATIENCE_S, agent, collector, until
from tests.servers import binary, free_port, mosquitto
from thermogate.core.mqtt import MqttClient, MqttSettings

pytestmark = pytest.mark.integration

USER = f"user {getpass.getuser()}\n"
"""Mosquitto would give up root for a user that cannot read a test's folder."""


class World:
    """Authorities, certificates and passwords, made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.stranger = Authority(folder), Authority(folder, "stranger")
        self.server = self.authority.pair("broker")
        self.expired_server = self.authority.pair("broker", file="expired-broker", days=-1)
        self.elsewhere = self.authority.pair("broker", file="elsewhere", host="broker.example")
        self.node = self.authority.pair("n17")
        self.expired_node = self.authority.pair("n17", file="expired-n17", days=-1)
        self.strange_node = self.stranger.pair("n17", file="strange-n17")
        self.passwords = folder / "passwords"
        self.passwords.touch(mode=0o600)
        subprocess.run([binary("mosquitto_passwd"), "-b", self.passwords, "n17", "right"], check=True)
        (folder / "right").write_text("right\n")
        (folder / "wrong").write_text("wrong\n")

    def tls(self, pair):
        trusted = self.authority.certificate
        return f"cafile {trusted}\ncertfile {pair.cert}\nkeyfile {pair.key}\n{USER}"

    def users(self):
        return f"allow_anonymous false\npassword_file {self.passwords}\n{USER}"

    def trusting(self, pair=None):
        """Settings of a client that trusts the authority, and shows `pair`."""
        shown = {"cert_file": str(pair.cert), "key_file": str(pair.key)} if pair else {}
        return {"ca_file": str(self.authority.certificate), **shown}


MUTUAL = "require_certificate true\nuse_identity_as_username true\n"
V12 = "tls_version tlsv1.2\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


def secure(url):
    return url.replace("mqtt://127.0.0.1", "mqtts://localhost")


REFUSED = {
    "wrong authority": lambda w: (
        w.tls(w.server),
        {"ca_file": str(w.stranger.certificate)},
        f"no authority {w.stranger.certificate} signed the broker's certificate",
    ),
    "authority not set": lambda w: (w.tls(w.server), {}, "no authority of this system signed"),
    "expired server": lambda w: (w.tls(w.expired_server), w.trusting(), "broker's certificate has expired"),
    "other name": lambda w: (w.tls(w.elsewhere), w.trusting(), "certificate is not for 'localhost'"),
    "no client certificate": lambda w: (
        w.tls(w.server) + MUTUAL,
        w.trusting(),
        "requires a client certificate: set mqtt.cert_file and mqtt.key_file",
    ),
    "no client certificate, TLS 1.2": lambda w: (
        w.tls(w.server) + MUTUAL + V12,
        w.trusting(),
        "client certificate",
    ),
    "expired client": lambda w: (
        w.tls(w.server) + MUTUAL,
        w.trusting(w.expired_node),
        f"refuses the client certificate {w.expired_node.cert} (CN n17, valid until ",
    ),
    "strange client": lambda w: (
        w.tls(w.server) + MUTUAL,
        w.trusting(w.strange_node),
        "does not know who signed it",
    ),
    "wrong password": lambda w: (
        w.users(),
        {"url": "mqtt", "username": "n17", "password_file": str(w.folder / "wrong")},
        "user 'n17' or this password",
    ),
    "unknown user": lambda w: (
        w.users(),
        {"url": "mqtt", "username": "n99", "password_file": str(w.folder / "right")},
        "user 'n99' or this password",
    ),
    "no user": lambda w: (w.users(), {"url": "mqtt"}, "set mqtt.username and mqtt.password_file"),
    "plain to TLS": lambda w: (w.tls(w.server), {"url": "mqtt"}, "does its port want TLS (mqtts://)"),
    "TLS to plain": lambda w: ("", w.trusting(), "is it one for TLS (8883), or does it want mqtt://"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_is_named_once_while_samples_keep_spooling(world, tmp_path, caplog, case):
    extra, settings, words = case(world)
    with mosquitto(tmp_path, extra=extra) as url:
        settings = {**settings, "url": url if settings.get("url") == "mqtt" else secure(url)}
        async with agent(tmp_path / "spool", "n17", **settings) as (spool, client):
            await until(lambda: words in client.last_problem)
            depth = spool.depth
            await until(lambda: spool.depth >= depth + 10)
            assert not client.connected
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum(words in line for line in told) == 1
    assert all(line.startswith("mqtt") for line in told)


@contextlib.contextmanager
def deaf_port():
    """A port behind which connections wait to be accepted for ever, so that more of them get no answer."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(listener.getsockname())
        yield listener.getsockname()[1]


async def test_a_port_without_a_broker_and_one_that_does_not_answer_are_told_apart(tmp_path):
    async with agent(tmp_path / "a", "n17", url=f"mqtt://127.0.0.1:{free_port()}") as (spool, client):
        await until(lambda: "nobody listens on port" in client.last_problem and spool.depth > 5)
    with deaf_port() as port:
        settings = {"url": f"mqtts://127.0.0.1:{port}", "connect_timeout_s": 0.3}
        async with agent(tmp_path / "b", "n17", **settings) as (spool, client):
            await until(lambda: " in 0.3 s: " in client.last_problem and spool.depth > 5)


async def test_leaving_does_not_wait_for_a_connection_that_is_being_made():
    with deaf_port() as port:
        settings = MqttSettings(url=f"mqtts://127.0.0.1:{port}", connect_timeout_s=600.0)
        async with asyncio.timeout(PATIENCE_S), MqttClient(settings, client_id="x") as client:
            await until(lambda: client._link._opening)


async def test_the_name_in_the_certificate_is_the_user(world, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text(
        "pattern write thermogate/v1/node/%u/telemetry\npattern readwrite thermogate/v1/node/%u/status\n"
    )
    acl.chmod(0o600)
    extra = world.tls(world.server) + MUTUAL + f"acl_file {acl}\nallow_anonymous false\n"
    with mosquitto(tmp_path, extra=extra) as url:
        async with agent(tmp_path / "a", "n17", url=secure(url), **world.trusting(world.node)) as (_, own):
            await until(lambda: own._echoed)
            assert own.last_problem == ""
        async with agent(tmp_path / "b", "n18", url=secure(url), **world.trusting(world.node)) as (_, other):
            await until(lambda: "user 'n17' (the CN of " in other.last_problem)
            assert other.connected
            assert "node/n18/status" in other.last_problem


async def test_renewed_certificates_are_used_without_a_restart_once_the_pair_is_whole(
    world, tmp_path, caplog
):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(world.node.cert, cert)
    shutil.copy(world.node.key, key)
    renewed = world.authority.pair("n17-renewed")
    caplog.set_level(logging.INFO)
    connections = []
    with mosquitto(tmp_path, extra=world.tls(world.server) + MUTUAL) as url:
        files = {**world.trusting(), "cert_file": str(cert), "key_file": str(key)}
        settings = MqttSettings(url=secure(url), tls_check_s=0.1, **{**FAST, **files})
        client = MqttClient(settings, client_id="x", on_connect=lambda: connections.append(1))
        async with client, asyncio.timeout(PATIENCE_S):
            await client.wait_connected()
            shutil.copy(renewed.cert, cert)
            await until(lambda: "is not the key of" in caplog.text)
            await asyncio.sleep(2.5)  # it looks again, and again it will not do
            assert (client.connected, len(connections)) == (True, 1)
            shutil.copy(renewed.key, key)
            await until(lambda: len(connections) == 2)
            assert client.last_problem == ""
    assert caplog.text.count("is not the key of") == 1
    assert "certificates were renewed" in caplog.text
    assert "was lost" not in caplog.text
    log = (tmp_path / "mosquitto.log").read_text()
    assert "u'n17')" in log
    assert "u'n17-renewed')" in log


async def test_a_new_authority_and_a_new_password_are_taken_while_the_broker_refuses(world, tmp_path):
    trusted, password = tmp_path / "trusted.pem", tmp_path / "password"
    shutil.copy(world.stranger.certificate, trusted)
    shutil.copy(world.folder / "wrong", password)
    with mosquitto(tmp_path, extra=world.tls(world.server) + world.users().removesuffix(USER)) as url:
        files = {"ca_file": str(trusted), "username": "n17", "password_file": str(password)}
        async with agent(tmp_path / "spool", "n17", url=secure(url), **files) as (_, client):
            await until(lambda: "no authority" in client.last_problem)
            shutil.copy(world.authority.certificate, trusted)
            await until(lambda: "this password" in client.last_problem)
            shutil.copy(world.folder / "right", password)
            await until(lambda: client.connected and client.last_problem == "")


async def test_what_was_spooled_before_the_cure_is_stored_after_it(world, tmp_path):
    password = tmp_path / "password"
    shutil.copy(world.folder / "wrong", password)
    with mosquitto(tmp_path, extra=world.users()) as url:
        login = {"url": url, "username": "n17"}
        async with (
            collector(**login, password_file=str(world.folder / "right")) as heard,
            agent(tmp_path / "spool", "n17", **login, password_file=str(password)) as (spool, client),
        ):
            await until(lambda: "this password" in client.last_problem and spool.depth >= 10)
            first, last = spool.oldest_seq, spool.newest_seq
            shutil.copy(world.folder / "right", password)
            await until(lambda: set(range(first, last + 1)) <= heard.get("n17", set()))
            await until(lambda: spool.oldest_seq is None or spool.oldest_seq > last)


async def test_two_clients_with_one_id_are_told_of_each_other_once(tmp_path, caplog):
    with mosquitto(tmp_path) as url:
        # The longest wait is also the measure of what is soon, on a slow machine too.
        settings = MqttSettings(url=url, reconnect_min_s=0.05, reconnect_max_s=10.0)
        both = [MqttClient(settings, client_id="agent-n17") for _ in range(2)]
        async with both[0], both[1]:
            await until(lambda: all("another client with the id 'agent-n17'" in c.last_problem for c in both))
            said = len(caplog.records)
            await asyncio.sleep(1.5)
            assert len(caplog.records) == said
    assert sum("another client" in record.getMessage() for record in caplog.records) == 2


async def test_bytes_that_are_not_mqtt_end_the_connection_and_not_the_client(caplog):
    seen = []

    async def answer(reader, writer):
        seen.append(await reader.read(1000))
        writer.write(
            b"\x20\x02\x00\x00" + b"\x30\x07\x00\x03\xff\xfe\xfdxy"
        )  # accepted; a topic that is no UTF-8
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with MqttClient(MqttSettings(url=f"mqtt://127.0.0.1:{port}", **FAST), client_id="x"):
            await until(lambda: len(seen) >= 3)
    assert "is not MQTT" in caplog.text

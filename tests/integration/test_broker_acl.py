"""The Mosquitto that systemd/mosquitto/ configures: TLS, users, and each of them kept to its own topics."""

import asyncio
import contextlib
import getpass
import socket
import subprocess
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.integration.nodes import FAST, PATIENCE_S, agent, collector, until
from tests.servers import binary, free_port
from thermogate.core.errors import NotConnectedError
from thermogate.core.mqtt import MqttClient, MqttSettings, Will
from thermogate.core.wire import (
    ROOT,
    applied_topic,
    gate_topic,
    node_topic,
    override_topic,
    request_topic,
    signal_topic,
)

pytestmark = pytest.mark.integration

SHIPPED = Path(__file__).parents[2] / "systemd" / "mosquitto"
USERS = (
    "n17",
    "n18",
    *(
        f"thermogate-{name}"
        for name in ("collector", "analytics", "operator", "scheduler", "trainer", "reader")
    ),
)
TOPICS = (
    node_topic("n17", "telemetry"),
    node_topic("n17", "event"),
    node_topic("n17", "status"),
    node_topic("n17", "ack"),
    gate_topic("node", "n17"),
    signal_topic("node", "n17"),
    override_topic("node", "n17"),
    applied_topic("node", "n17"),
    applied_topic("job", "42"),
    request_topic("job", "42"),
)
OWN = {*TOPICS[:3]}
MAY_WRITE = {
    "n17": {*OWN, applied_topic("node", "n17")},
    "n18": set(),
    "thermogate-collector": {node_topic("n17", "ack")},
    "thermogate-analytics": {gate_topic("node", "n17"), signal_topic("node", "n17")},
    "thermogate-operator": {override_topic("node", "n17")},
    "thermogate-scheduler": {
        applied_topic("node", "n17"),
        applied_topic("job", "42"),
        request_topic("job", "42"),
    },
    "thermogate-trainer": {applied_topic("job", "42"), request_topic("job", "42")},
    "thermogate-reader": set(),
}
MAY_READ = {
    "n17": {node_topic("n17", "status"), node_topic("n17", "ack"), gate_topic("node", "n17")},
    "n18": set(),
    "thermogate-collector": {*TOPICS},
    "thermogate-analytics": {*TOPICS},
    "thermogate-operator": {*TOPICS},
    "thermogate-scheduler": {gate_topic("node", "n17"), request_topic("job", "42")},
    "thermogate-trainer": {gate_topic("node", "n17")},
    "thermogate-reader": {*TOPICS},
}


class Site:
    """What README.md has an operator make: an authority, the broker's certificate, users."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = Authority(folder)
        self.broker = self.authority.pair("broker")
        self.passwords, self.acl = folder / "passwords", folder / "acl"
        self.acl.write_text((SHIPPED / "thermogate.acl").read_text())
        self.passwords.touch()
        for file in (self.passwords, self.acl):
            file.chmod(0o600)
        for user in USERS:
            command = [binary("mosquitto_passwd"), "-b", self.passwords, user, f"secret of {user}"]
            subprocess.run(command, check=True, capture_output=True)
            (folder / user).write_text(f"secret of {user}\n")

    def login(self, user):
        """Settings of a client, the URL apart."""
        return {
            "username": user,
            "password_file": str(self.folder / user),
            "ca_file": str(self.authority.certificate),
        }


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return Site(tmp_path_factory.mktemp("site"))


@contextlib.contextmanager
def shipped(site, folder, *uncommented, commented=()):
    """The shipped configuration on another port, with lines of it commented in or out; yields its URL."""
    port = free_port()
    text = (SHIPPED / "thermogate.conf").read_text()
    for before, after in (
        *((f"\n#{line}", f"\n{line}") for line in uncommented),
        *((f"\n{line}", f"\n#{line}") for line in commented),
        ("listener 8883", f"listener {port} 127.0.0.1"),
        ("/etc/mosquitto/certs/broker.pem", str(site.broker.cert)),
        ("/etc/mosquitto/certs/broker.key", str(site.broker.key)),
        ("/etc/mosquitto/certs/nodes-ca.pem", str(site.authority.certificate)),
        ("/etc/mosquitto/thermogate.passwd", str(site.passwords)),
        ("/etc/mosquitto/thermogate.acl", str(site.acl)),
    ):
        assert before in text
        text = text.replace(before, after)
    # Mosquitto would give up root for a user that cannot read a test's folder.
    (folder / "conf").write_text(f"{text}\nuser {getpass.getuser()}\n")
    with (
        (folder / "mosquitto.log").open("wb") as log,
        subprocess.Popen([binary("mosquitto"), "-c", folder / "conf"], stdout=log, stderr=log) as broker,
    ):
        try:
            yield f"mqtts://localhost:{port}"
        finally:
            broker.kill()


@pytest.fixture(scope="module")
def url(site, tmp_path_factory):
    with shipped(site, tmp_path_factory.mktemp("broker")) as url:
        yield url


@contextlib.asynccontextmanager
async def client(site, url, user, *, client_id="", **options):
    settings = MqttSettings(url=url, **FAST, **site.login(user))
    async with MqttClient(settings, client_id=client_id or f"test-{user}", **options) as made:
        await asyncio.wait_for(made.wait_connected(), PATIENCE_S)
        yield made


async def passed(reader, marker):
    """The topics of what reached the reader before the message with this payload."""
    seen = set()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for message in await reader.receive(1):
                if message.payload == marker:
                    return seen
                seen.add(message.topic)


@pytest.mark.parametrize("user", USERS)
async def test_a_user_writes_only_what_is_its_own(site, url, user):
    async with (
        client(site, url, "thermogate-collector", client_id="watch", subscribe=(f"{ROOT}/#",)) as watch,
        client(site, url, user) as writer,
    ):
        for topic in TOPICS:
            await writer.publish(topic, b"x")
        await watch.publish(node_topic("end", "ack"), b"end")
        assert await passed(watch, b"end") == MAY_WRITE[user]


@pytest.mark.parametrize("user", USERS)
async def test_a_user_reads_only_what_is_for_it(site, url, user):
    writers = {topic: next(u for u in USERS if topic in MAY_WRITE[u]) for topic in TOPICS}
    async with contextlib.AsyncExitStack() as stack:
        reader = await stack.enter_async_context(
            client(site, url, user, client_id="reader", subscribe=("#",))
        )
        for topic, writer in writers.items():
            made = await stack.enter_async_context(client(site, url, writer, client_id=f"w-{topic}"))
            await made.publish(topic, b"x")

        def seen():
            return {message.topic for message in list(reader._received)}

        await until(lambda: seen() >= MAY_READ[user])
        await asyncio.sleep(0.2)  # time for what must not come
        assert seen() == MAY_READ[user]


async def test_a_shared_subscription_gives_collectors_each_message_once_and_strangers_none(site, url):
    share = f"$share/fleet/{node_topic('+', 'telemetry')}"
    members = ("thermogate-collector", "thermogate-collector", "n18")
    async with contextlib.AsyncExitStack() as stack:
        one, two, stranger = [
            await stack.enter_async_context(
                client(site, url, user, client_id=f"share-{n}", subscribe=(share,), window=1000)
            )
            for n, user in enumerate(members)
        ]
        n17 = await stack.enter_async_context(client(site, url, "n17"))
        for number in range(60):
            await n17.publish(node_topic("n17", "telemetry"), b"%d" % number)
        # what the broker hands to a member that may not read it is gone, and comes again from the spool
        await until(lambda: len(one._received) + len(two._received) >= 40)
        await asyncio.sleep(0.2)
        seen = [message.payload for member in (one, two) for message in member._received]
        assert len(seen) == len(set(seen))
        assert len(one._received) > 0 < len(two._received)
        assert len(stranger._received) == 0


async def test_a_last_will_is_kept_to_the_node_like_any_message(site, url):
    async with client(site, url, "thermogate-reader", subscribe=(f"{ROOT}/node/+/status",)) as watch:
        for node in ("n17", "n18"):
            will = Will(node_topic(node, "status"), b"lost")
            async with client(site, url, "n18", client_id=f"dying-{node}", will=will) as dying:
                dying._link.connection._paho.socket().shutdown(socket.SHUT_RDWR)
                await until(lambda: not dying.connected)
        async with asyncio.timeout(PATIENCE_S):
            (message,) = await watch.receive(10)
        assert (message.topic, message.payload) == (node_topic("n18", "status"), b"lost")


async def test_a_message_beyond_the_limit_costs_its_sender_the_connection_and_nobody_else(site, url):
    async with (
        client(site, url, "thermogate-collector", subscribe=(node_topic("+", "telemetry"),)) as watch,
        client(site, url, "n17") as broken,
        client(site, url, "n18") as good,
    ):
        with pytest.raises(NotConnectedError):
            await broken.publish(node_topic("n17", "telemetry"), bytes(200_000))
        await good.publish(node_topic("n18", "telemetry"), bytes(64 * 1024))
        async with asyncio.timeout(PATIENCE_S):
            (message,) = await watch.receive(10)
        assert message.topic == node_topic("n18", "telemetry")


async def test_an_agent_with_the_user_of_another_node_is_told_so_and_loses_nothing(site, url, tmp_path):
    async with collector(url=url, **site.login("thermogate-collector")) as heard:
        async with agent(tmp_path, "n17", url=url, **site.login("n18")) as (spool, mistaken):
            await until(lambda: "user 'n18'" in mistaken.last_problem)
            assert "node/n17/status" in mistaken.last_problem
            assert "user must be its node's name" in mistaken.last_problem
            await until(lambda: spool.depth >= 50)
            assert spool.oldest_seq == 1
            last = spool.newest_seq
        assert heard == {}
        async with agent(tmp_path, "n17", url=url, **site.login("n17")) as (spool, right):
            await until(lambda: (spool.oldest_seq or last + 1) > last)
            assert right.last_problem == ""
        assert set(range(1, last + 1)) <= heard["n17"]


async def test_with_mutual_tls_the_name_in_the_certificate_is_the_user(site, tmp_path):
    wanted = ("cafile ", "require_certificate true", "use_identity_as_username true")
    trusted = str(site.authority.certificate)
    with shipped(site, tmp_path, *wanted, commented=["password_file "]) as url:

        def settings(name):
            pair = site.authority.pair(name)
            return {"url": url, "ca_file": trusted, "cert_file": str(pair.cert), "key_file": str(pair.key)}

        async with (
            collector(**settings("thermogate-collector")) as heard,
            agent(tmp_path / "n17", "n17", **settings("n17")),
            agent(tmp_path / "n18", "n18", **settings("n19")) as (_, mistaken),
        ):
            await until(lambda: "user 'n19'" in mistaken.last_problem and len(heard.get("n17", ())) > 20)
            assert set(heard) == {"n17"}


async def test_with_user_names_as_client_ids_no_node_pushes_another_out(site, tmp_path):
    with shipped(site, tmp_path, "use_username_as_clientid true") as url:
        async with client(site, url, "n17", client_id="thermogate-agent-n17") as good:
            connection = good._link.connection
            async with client(site, url, "n18", client_id="thermogate-agent-n17"):
                await good.publish(node_topic("n17", "telemetry"), b"x")
            assert good._link.connection is connection

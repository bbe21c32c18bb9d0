"""The MQTT client against real brokers: Mosquitto, and the one that `up` embeds."""

import asyncio
import contextlib
import os
import signal
import socket

import pytest

from tests.servers import mosquitto
from thermogate.cli.broker import embedded
from thermogate.core.errors import ConfigError, NotConnectedError
from thermogate.core.mqtt import MqttClient, MqttSettings, Will

pytestmark = pytest.mark.integration

FAST = {"reconnect_min_s": 0.05, "reconnect_max_s": 0.2, "keepalive_s": 5}


@contextlib.asynccontextmanager
async def iotcore(_tmp_path):
    async with embedded("127.0.0.1", 0) as broker:
        yield broker.url


@contextlib.asynccontextmanager
async def mosquitto_server(tmp_path):
    with mosquitto(tmp_path) as url:
        yield url


@pytest.fixture(params=[mosquitto_server, iotcore], ids=["mosquitto", "iotcore"])
async def url(request, tmp_path):
    async with request.param(tmp_path) as url:
        yield url


def client(url, name, **options):
    return MqttClient(MqttSettings(url=url, **FAST), client_id=name, **options)


async def within(work, seconds=10):
    return await asyncio.wait_for(work, seconds)


async def receive(subscriber, count):
    messages = []
    while len(messages) < count:
        messages += await within(subscriber.receive(count - len(messages)))
    return messages


async def test_messages_arrive_in_order_and_whole(url):
    async with client(url, "sub", subscribe=("t/+/x",)) as sub, client(url, "pub") as pub:
        await within(sub.wait_connected())
        await within(pub.wait_connected())
        for number in range(200):
            pub.publish_soon("t/n/x", b"%d" % number)
        await within(pub.publish("t/n/x", b"end"))
        messages = await receive(sub, 201)
    assert [m.payload for m in messages] == [b"%d" % n for n in range(200)] + [b"end"]
    assert {m.topic for m in messages} == {"t/n/x"}


async def test_a_retained_message_greets_a_late_subscriber_and_says_that_it_is_old(url):
    async with client(url, "pub") as pub:
        await within(pub.wait_connected())
        await within(pub.publish("t/gate", b"HOLD", retain=True))
    async with client(url, "late", subscribe=("t/gate",)) as late:
        (message,) = await receive(late, 1)
    assert (message.payload, message.retained) == (b"HOLD", True)


async def test_the_will_speaks_when_a_client_dies_but_not_when_it_leaves(url):
    will = Will("t/status", b"offline")
    async with client(url, "watcher", subscribe=("t/status",)) as watcher:
        await within(watcher.wait_connected())
        async with client(url, "leaver", will=will) as leaver:
            await within(leaver.wait_connected())
        dying = client(url, "dying", will=will)
        async with dying:
            await within(dying.wait_connected())
            dying._link.connection._paho.socket().shutdown(socket.SHUT_RDWR)  # the network is cut
            (message,) = await receive(watcher, 1)
        assert message.payload == b"offline"
        assert not watcher._received


async def test_what_is_published_before_leaving_is_still_sent(url):
    async with client(url, "sub", subscribe=("t/x",)) as sub:
        await within(sub.wait_connected())
        async with client(url, "pub", will=Will("t/x", b"lost")) as pub:
            await within(pub.wait_connected())
            for number in range(100):
                pub.publish_soon("t/n" if number < 99 else "t/x", b"%d" % number)
        (message,) = await receive(sub, 1)
    assert message.payload == b"99"


async def test_a_client_with_a_will_reads_back_its_first_message_there_and_keeps_it_to_itself(url):
    settings = MqttSettings(url=url, **FAST, echo_s=0.3)
    will, topics = Will("t/status", b"lost"), ("t/status", "t/end")
    async with MqttClient(settings, client_id="n17", will=will, subscribe=("t/end",)) as node:
        async with client(url, "watch", subscribe=topics) as watch:
            await within(node.wait_connected())
            await within(watch.wait_connected())
            for payload in (b"1", b"2"):
                await within(node.publish("t/status", payload))
            assert [m.payload for m in await receive(watch, 2)] == [b"1", b"2"]
            while not node._echoed:
                await asyncio.sleep(0.01)
            await within(watch.publish("t/end", b"end"))
            assert [m.payload for m in await receive(node, 1)] == [b"end"]
            await asyncio.sleep(0.5)
            assert node.last_problem == ""


async def test_a_subscription_that_is_denied_is_told(caplog):
    async def deny(reader, writer):
        await reader.read(1000)
        writer.write(b"\x20\x02\x00\x00")
        subscribe = await reader.read(1000)
        writer.write(b"\x90\x03" + subscribe[2:4] + b"\x80")
        await reader.read(1000)
        writer.close()

    async with await asyncio.start_server(deny, "127.0.0.1", 0) as server:
        url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client(url, "x", subscribe=("t/ack",)) as denied:
            await within(denied.wait_connected())
            assert "denies a client without a user to read t/ack" in denied.last_problem
    assert caplog.text.count("t/ack") == 1


async def test_a_broker_that_accepts_and_says_no_more_is_left(caplog):
    seen = []

    async def stuck(reader, writer):
        seen.append(await reader.read(1000))
        writer.write(b"\x20\x02\x00\x00")
        while await reader.read(1000):
            pass
        writer.close()

    async with await asyncio.start_server(stuck, "127.0.0.1", 0) as server:
        url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = MqttSettings(url=url, **{**FAST, "keepalive_s": 1})
        async with MqttClient(settings, client_id="x", subscribe=("t/x",)) as waiting:
            while len(seen) < 2:
                await asyncio.sleep(0.05)
            assert "nothing was heard for 1 s" in waiting.last_problem


async def test_unacknowledged_messages_come_again_after_a_broken_connection(url):
    sub = client(url, "worker", subscribe=("t/job",), manual_ack=True)
    async with sub, client(url, "pub") as pub:
        await within(sub.wait_connected())
        await within(pub.wait_connected())
        await within(pub.publish("t/job", b"1"))
        (message,) = await receive(sub, 1)
        sub.ack(message)
        await within(pub.publish("t/job", b"2"))
        (again,) = await receive(sub, 1)
        assert again.payload == b"2"


async def test_publishing_without_a_connection_says_so_at_once(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with client(f"mqtt://127.0.0.1:{port}", "lonely") as lonely:
        with pytest.raises(NotConnectedError):
            await lonely.publish("t", b"x")


async def test_a_client_comes_back_to_a_broker_that_was_killed_and_started_again(tmp_path):
    connections = []
    with mosquitto(tmp_path) as url:
        sub = client(url, "sub", subscribe=("t/x",), on_connect=lambda: connections.append(1))
        await within(sub.__aenter__())
        await within(sub.wait_connected())
    with mosquitto(tmp_path, port=int(url.rsplit(":", 1)[1])) as url:
        try:
            while len(connections) < 2:
                await asyncio.sleep(0.05)
            async with client(url, "pub") as pub:
                await within(pub.wait_connected())
                await within(pub.publish("t/x", b"hello again"))
            (message,) = await receive(sub, 1)
        finally:
            await sub.__aexit__(None, None, None)
    assert message.payload == b"hello again"


async def test_the_embedded_broker_survives_the_interrupt_of_its_terminal():
    async with embedded("127.0.0.1", 0) as broker:
        os.kill(broker._broker._process.pid, signal.SIGINT)
        await asyncio.sleep(0.2)
        assert broker._broker.is_running


@pytest.mark.parametrize("url", ["tcp://x", "mqtt://", "mqtt://h:port", "h:1883", "mqtt://h:1883/path"])
async def test_a_broker_url_that_is_none_is_a_configuration_error(url):
    with pytest.raises(ConfigError, match=r"mqtt\.url"):
        async with client(url, "x"):
            pass


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"url": "mqtts://h", "ca_file": "/nowhere/ca.pem"}, "/nowhere/ca.pem"),
        ({"username": "u", "password_file": "/nowhere/password"}, "/nowhere/password"),
    ],
)
async def test_a_missing_credential_file_is_named(options, named):
    with pytest.raises(ConfigError, match=named):
        async with MqttClient(MqttSettings(**options), client_id="x"):
            pass


@pytest.mark.parametrize(("window", "on_their_way"), [(0, 20), (300, 300)])
async def test_a_client_with_a_window_is_sent_that_many_and_another_what_the_broker_is_set_to(
    tmp_path, window, on_their_way
):
    with mosquitto(tmp_path) as url:
        sub = client(url, "sub", subscribe=("t/x",), manual_ack=True, window=window)
        async with sub, client(url, "pub") as pub:
            await within(sub.wait_connected())
            await within(pub.wait_connected())
            for number in range(400):
                pub.publish_soon("t/x", b"%d" % number)
            await within(pub.publish("t/end", b""))
            messages = await within(sub.receive(400, on_their_way))
            await asyncio.sleep(0.3)
            assert len(messages) == on_their_way
            assert len(sub._received) == 0
            sub.ack(*messages)
            while len(messages) < 400:
                more = await within(sub.receive(400))
                sub.ack(*more)
                messages += more
    assert [m.payload for m in messages] == [b"%d" % n for n in range(400)]


async def test_a_client_with_a_window_falls_back_to_3_1_1_at_a_broker_that_knows_no_other(caplog):
    async with iotcore(None) as url, client(url, "pub") as pub:
        async with client(url, "sub", subscribe=("t/x",), manual_ack=True, window=300) as sub:
            await within(sub.wait_connected())
            await within(pub.wait_connected())
            for _ in range(2):
                await within(pub.publish("t/x", b"hello"))
                (message,) = await receive(sub, 1)
                sub.ack(message)
            sub._link.connection._paho.socket().shutdown(socket.SHUT_RDWR)
            while sub.connected:
                await asyncio.sleep(0.01)
            await within(sub.wait_connected())
            assert sub.last_problem == ""
    assert caplog.text.count("speaks no MQTT 5") == 1


async def test_a_broker_that_answers_that_it_is_too_old_for_5_is_spoken_to_in_3_1_1():
    asked = []

    async def old(reader, writer):
        hello = await reader.read(1000)
        asked.append(hello[8])
        writer.write(b"\x20\x02\x00" + (b"\x01" if hello[8] == 5 else b"\x00"))
        if hello[8] != 5:
            await reader.read(1000)
        writer.close()

    async with await asyncio.start_server(old, "127.0.0.1", 0) as server:
        url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client(url, "x", window=100) as fallen_back:
            await within(fallen_back.wait_connected())
    assert asked == [5, 4]


async def test_a_broker_of_mqtt_5_that_ends_a_connection_is_quoted(caplog):
    async def full(reader, writer):
        await reader.read(1000)
        writer.write(b"\x20\x03\x00\x00\x00" + b"\xe0\x01\x97")  # accepted; quota exceeded
        await reader.read()
        writer.close()

    async with await asyncio.start_server(full, "127.0.0.1", 0) as server:
        url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client(url, "x", window=100), asyncio.timeout(10):
            while "it says: Quota exceeded" not in caplog.text:
                await asyncio.sleep(0.01)


async def test_messages_at_qos_0_beyond_what_may_wait_are_dropped_and_others_are_not(tmp_path):
    with mosquitto(tmp_path) as url:
        async with client(url, "sub", subscribe=("t/#",)) as sub, client(url, "pub") as pub:
            await within(sub.wait_connected())
            await within(pub.wait_connected())
            for _ in range(3000):
                pub._link.connection._paho.publish("t/0", b"x", qos=0)
            for _ in range(50):
                await within(pub.publish("t/1", b"x"))
            topics = [message.topic for message in await within(sub.receive(5000, 1050))]
            while topics.count("t/1") < 50:
                topics += [message.topic for message in await within(sub.receive(5000))]
    assert topics.count("t/1") == 50
    assert 1000 <= topics.count("t/0") < 2000


async def test_a_slow_reader_of_lossy_topics_loses_those_only_and_hears_the_broker_at_once(tmp_path):
    with mosquitto(tmp_path, extra="max_queued_messages 0\n") as url:
        topics = ("n/+/telemetry", "n/+/event")
        slow = client(
            url, "slow", subscribe=topics, lossy=frozenset(["telemetry"]), manual_ack=True, window=10
        )
        async with slow as reader, client(url, "pub") as pub:
            await within(reader.wait_connected())
            await within(pub.wait_connected())
            for number in range(20_000):
                pub.publish_soon("n/a/telemetry", b"%d" % number)
            for number in range(5):
                await within(pub.publish("n/a/event", b"%d" % number), 30)
            await within(reader.publish("n/a/other", b"heard"), 30)  # nothing was received by now
            heard = []
            while sum(message.topic.endswith("event") for message in heard) < 5:
                some = await within(reader.receive(100), 30)
                reader.ack(*some)
                heard += some
            samples = [message for message in heard if message.topic.endswith("telemetry")]
            assert 0 < reader.dropped_count == 20_000 - len(samples)


async def test_a_message_too_large_to_be_ours_is_not_taken_into_memory_and_is_told(tmp_path):
    with mosquitto(tmp_path) as url:
        async with client(url, "pub") as pub:
            await within(pub.wait_connected())
            await within(pub.publish("t/ack", bytes(1_000_000), retain=True))
            async with client(url, "taker", subscribe=("t/ack",)) as taker:
                (message,) = await receive(taker, 1)
            await within(pub.publish("t/ack", bytes(4_000_000), retain=True))
            async with client(url, "sub", subscribe=("t/ack",)) as sub, asyncio.timeout(20):
                while "4,000" not in sub.last_problem:
                    await asyncio.sleep(0.01)
    assert len(message.payload) == 1_000_000
    assert "set max_packet_size at the broker" in sub.last_problem


async def test_a_message_too_large_for_a_client_with_a_window_costs_only_itself(tmp_path):
    with mosquitto(tmp_path) as url:
        sub = client(url, "sub", subscribe=("t/x",), manual_ack=True, window=20)
        async with sub, client(url, "pub") as pub:
            await within(sub.wait_connected())
            await within(pub.wait_connected())
            for number in range(60):
                pub.publish_soon("t/x", bytes(200_000) if number % 2 else b"%d" % number)
            messages = []
            while len(messages) < 30:
                more = await within(sub.receive(100))
                sub.ack(*more)
                messages += more
            assert sub.connected
    assert [m.payload for m in messages] == [b"%d" % n for n in range(0, 60, 2)]
    assert {m.connection for m in messages} == {1}


async def test_connections_that_end_one_after_another_do_not_fill_the_memory(tmp_path):
    with mosquitto(tmp_path) as url:
        sub = client(url, "sub", subscribe=("t/x",), manual_ack=True, window=200)
        async with sub, client(url, "pub") as pub:
            await within(pub.wait_connected())
            for _ in range(12):
                async with asyncio.timeout(20):
                    while not sub.connected:
                        await asyncio.sleep(0.01)
                before = len(sub._received)
                for _ in range(200):
                    pub.publish_soon("t/x", b"x")
                async with asyncio.timeout(20):
                    while len(sub._received) < before + 200:
                        await asyncio.sleep(0.01)
                sub._link.connection._paho.socket().shutdown(socket.SHUT_RDWR)
                async with asyncio.timeout(20):
                    while sub.connected:
                        await asyncio.sleep(0.01)
                assert len(sub._received) <= 1200


async def test_leaving_a_broker_that_hangs_does_not_wait_for_it():
    async def deaf(reader, writer):
        await reader.read(1000)
        writer.write(b"\x20\x02\x00\x00")
        with contextlib.suppress(ConnectionError):
            while await reader.read(1000):
                pass
        writer.close()

    async with await asyncio.start_server(deaf, "127.0.0.1", 0) as server:
        url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client(url, "x") as leaving:
            await within(leaving.wait_connected())
            taken = leaving.publish_soon("t/x", b"x")
        with pytest.raises(NotConnectedError):
            await within(taken)


async def test_a_broker_that_sends_beyond_the_window_is_not_read_until_there_is_room(tmp_path):
    """Mosquitto 2.0.11 counts too few of what is on its way, once some has been acknowledged."""
    window, count = 50, 3000
    with mosquitto(tmp_path, extra="max_queued_messages 0\n") as url:
        settings = MqttSettings(url=url, keepalive_s=4)  # which a client that does not read must outlive
        async with (
            MqttClient(settings, client_id="c", subscribe=("t",), manual_ack=True, window=window) as reader,
            MqttClient(settings, client_id="p") as writer,
        ):
            await reader.wait_connected()
            await writer.wait_connected()
            for number in range(count):
                writer.send("t", str(number).encode().ljust(2000))
            waiting, most, got = [], 0, []
            while len(got) < count:
                async with asyncio.timeout(30):
                    found = await reader.receive(window)
                got += [int(message.payload) for message in found]
                waiting += found
                most = max(most, len(waiting))
                while len(waiting) >= 30:
                    reader.ack(*waiting[:30])
                    del waiting[:30]
                if len(got) == window:
                    await asyncio.sleep(9)
            assert got == list(range(count))
            assert reader.last_problem == ""
            assert most <= window + (1 << 16) // 2000 + 1  # and what one read brings

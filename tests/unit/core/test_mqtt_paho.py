"""The way in: whatever pieces a stream comes in, the same messages come out."""

import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.certificates import Authority
from thermogate.core.mqtt_explain import TooLargeError
from thermogate.core.mqtt_message import Message, Session
from thermogate.core.mqtt_paho import Paho

PINGRESP = b"\xd0\x00"
CONNACK = {0: b"\x20\x02\x00\x00", 500: b"\x20\x06\x00\x00\x03\x21\x00\x14"}


class Wire:
    """A client whose other end is held by the test."""

    def __init__(self, window: int, *, manual_ack: bool = True) -> None:
        self.received: list[Message] = []
        self.paho = Paho(Session("c", (), None, manual_ack, window), 7, self._take)
        ours, self.broker = socket.socketpair()
        ours.setblocking(False)
        self.broker.settimeout(5)
        self.paho._sock = ours

    def _take(self, messages: Sequence[Message]) -> None:
        self.received += messages

    def send(self, data: bytes) -> None:
        self.broker.sendall(data)
        self.paho.loop_read()

    def close(self) -> None:
        self.broker.close()
        sock = self.paho.socket()
        if sock is not None:
            sock.close()


@pytest.fixture(params=[0, 500], ids=["3.1.1", "5"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    made = Wire(request.param)
    yield made
    made.close()


def publish(
    topic: bytes, payload: bytes, mid: int, window: int, *, qos: int = 1, retain: bool = False
) -> bytes:
    properties = b"\x02\x01\x01" if window and mid % 2 else b"\x00" if window else b""
    number = struct.pack("!H", mid) if qos else b""
    body = struct.pack("!H", len(topic)) + topic + number + properties + payload
    length, rest = b"", len(body)
    while True:
        rest, low = divmod(rest, 128)
        length += bytes([low | (0x80 if rest else 0)])
        if not rest:
            return bytes([0x30 | qos << 1 | retain]) + length + body


MESSAGES = st.lists(
    st.tuples(
        st.text(max_size=20).map(str.encode),
        st.binary(max_size=300) | st.just(bytes(20_000)),
        st.integers(1, 65535),
        st.sampled_from([0, 1]),
        st.booleans(),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MESSAGES, st.lists(st.integers(0, 60_000), max_size=8), st.sampled_from([0, 500]))
def test_messages_come_out_whole_and_in_order_however_the_stream_is_cut(
    messages: list[tuple[bytes, bytes, int, int, bool]], cuts: list[int], window: int
) -> None:
    made = Wire(window)
    stream = b"".join(
        publish(topic, payload, mid, window, qos=qos, retain=retain) + (PINGRESP if mid % 3 == 0 else b"")
        for topic, payload, mid, qos, retain in messages
    )
    places = sorted(min(cut, len(stream)) for cut in cuts)
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        for at in range(start, end, 50_000):  # what a socket pair holds
            made.send(stream[at : min(end, at + 50_000)])
    made.paho.loop_read()
    assert made.received == [
        Message(topic.decode(), payload, retain, mid if qos else 0, qos, 7)
        for topic, payload, mid, qos, retain in messages
    ]
    made.close()


def test_packets_of_another_kind_between_messages_reach_paho_in_their_place(wire: Wire) -> None:
    window = wire.paho._window
    seen: list[int] = []
    wire.paho.on_connect = lambda *_: seen.append(len(wire.received))
    first, second = (publish(b"t", b"x", mid, window) for mid in (1, 2))
    wire.send(first + CONNACK[window] + second)
    assert seen == [1]
    assert [one.mid for one in wire.received] == [1, 2]


def test_acknowledgements_leave_as_one_write_in_their_order(wire: Wire) -> None:
    wire.paho.acknowledge([3, 1, 700])
    wire.paho.loop_write()
    assert wire.broker.recv(100) == b"\x40\x02\x00\x03\x40\x02\x00\x01\x40\x02\x02\xbc"
    wire.paho.acknowledge([])
    assert not wire.paho.want_write()


def test_without_manual_acknowledgement_messages_at_qos_1_are_acknowledged_when_they_are_handed_over() -> (
    None
):
    wire = Wire(0, manual_ack=False)
    wire.send(publish(b"t", b"x", 5, 0) + publish(b"t", b"y", 0, 0, qos=0) + publish(b"t", b"z", 6, 0))
    wire.paho.loop_write()
    assert wire.broker.recv(100) == b"\x40\x02\x00\x05\x40\x02\x00\x06"
    wire.close()


def test_packet_too_large_to_be_ours_is_refused_before_it_has_come(wire: Wire) -> None:
    with pytest.raises(TooLargeError, match="2,097,151"):
        wire.send(b"\x32\xff\xff\x7f")


@pytest.mark.parametrize(
    "packet",
    [
        b"\x32\xff\xff\xff\xff\x7f",  # a length of five bytes
        b"\x32\x03\x00\x09t",  # a topic longer than the packet
        b"\x32\x05\x00\x01t\x00\x00",  # a message number of 0
        b"\x30\x04\x00\x02\xff\xfe",  # a topic that is no text
    ],
)
def test_what_is_no_mqtt_is_said_to_be_none(packet: bytes) -> None:
    wire = Wire(0)
    with pytest.raises(ValueError):
        wire.send(packet)
    wire.close()


def test_end_of_the_stream_ends_the_connection(wire: Wire) -> None:
    gone: list[object] = []
    wire.paho.on_disconnect = lambda *_: gone.append(1)
    wire.send(publish(b"t", b"x", 1, wire.paho._window)[:5])
    wire.broker.shutdown(socket.SHUT_WR)
    wire.paho.loop_read()
    assert gone == [1]
    assert wire.paho.socket() is None
    assert wire.received == []


def test_message_at_qos_2_is_refused_as_nobody_asked_for_it(wire: Wire) -> None:
    with pytest.raises(ValueError, match="QoS 2"):
        wire.send(publish(b"t", b"x", 1, wire.paho._window, qos=2))


def test_client_is_full_with_a_window_unacknowledged_and_no_longer_when_some_are() -> None:
    wire = Wire(500)
    wire.send(b"".join(publish(b"t", b"", mid, 500) for mid in range(1, 500)))
    assert not wire.paho.full
    wire.send(publish(b"t", b"", 500, 500))
    assert wire.paho.full
    wire.paho.acknowledge([1])
    assert not wire.paho.full
    wire.close()


def test_client_with_a_window_says_which_packets_it_takes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = Paho(Session("c", (), None, True, 500), 1, lambda _: None)
        client.reach("127.0.0.1", server.getsockname()[1], 30)
        broker, _ = server.accept()
        client.loop_write()
        assert b"\x21\x01\xf4" in (hello := broker.recv(1000))
        assert b"\x27" + struct.pack("!I", 1 << 17) in hello
        broker.close()
        sock = client.socket()
        assert sock is not None
        sock.close()


def test_one_read_takes_all_that_has_come_however_many_tls_records_it_is(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.pair("localhost")
    ours, theirs = socket.socketpair()
    inner = ssl.create_default_context(cafile=str(authority.certificate))
    outer = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    outer.load_cert_chain(pair.cert, pair.key)
    with ThreadPoolExecutor(1) as thread:
        accepting = thread.submit(outer.wrap_socket, theirs, server_side=True)
        secure = inner.wrap_socket(ours, server_hostname="localhost")
        broker = accepting.result(10)
    wire = Wire(500)
    wire.broker.close()
    wire.paho._sock.close()  # type: ignore[union-attr]
    wire.broker, wire.paho._sock = broker, secure
    secure.setblocking(False)
    for mid in range(1, 21):
        broker.sendall(publish(b"t", bytes(2400), mid, 500))
    wire.paho.loop_read()
    assert len(wire.received) == 20
    wire.close()

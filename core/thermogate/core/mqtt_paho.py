"""paho with a way in for thousands of messages a second. Beside `core.mqtt_connection` the only module that
knows paho.

paho asks the socket four times for each message and carries it through its log, its locks and its filters:
30 us in MQTT 3.1.1, 50 in 5. Here the socket is read in one piece for many messages, which are taken apart
in place, 3 us each; every other packet is left to paho, which reads it from memory.
"""

import ssl
import time
from collections.abc import Callable, Sequence

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from thermogate.core.mqtt_explain import TooLargeError
from thermogate.core.mqtt_message import Message, Session

_READ_BYTES = 1 << 16
_MAX_PACKET_BYTES = 1 << 20
"""16 times the largest payload (core.wire): what is larger is not ours, and would cost a node its memory."""
_MAX_ASKED_BYTES = 1 << 17
"""What a client with a window asks the broker to keep to, which drops the rest: otherwise one node that sends
more than we take would end the connection again and again, and a window of such fill the memory."""
_PUBLISH, _PUBACK = 0x30, 0x40
_QOS_2 = 0x04
_AT_LEAST_ONCE = 1


class Paho(paho.Client):
    """A client for one connection. `received` is called, in the thread that reads, with the messages at QoS 0
    and 1 of each read: subscriptions are made at these, so there are no others.

    With a window in the session it speaks MQTT 5 and lets the broker have that many on their way.
    """

    def __init__(self, session: Session, number: int, received: Callable[[Sequence[Message]], None]) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=session.client_id,
            protocol=paho.MQTTv5 if session.window else paho.MQTTv311,
            manual_ack=session.manual_ack,
        )
        self._window = session.window
        self._lossy = session.lossy
        self._acks_itself = not session.manual_ack
        self._number = number
        self._hand_over = received
        self.read_bytes = 0
        """What the last read brought."""
        self._read_s = 0.0
        self._unread = b""
        self._at = 0
        self._for_paho = 0
        self._taken_count = 0  # these two by one thread each
        self._acked_count = 0
        self._lost: OSError | bytes | None = None

    @property
    def full(self) -> bool:
        """Whether as many messages as the window wait to be acknowledged: no more is to be read until then.

        Mosquitto 2.0.11 counts too few of them and sends on: what is not read stays with the broker.
        """
        return 0 < self._window <= self._taken_count - self._acked_count

    def loop_misc(self) -> MQTTErrorCode:
        """As paho's, but for the answer to a ping, which may stand behind much that has not been read."""
        if self.full or time.monotonic() - self._read_s < self.keepalive:
            self._ping_t = 0.0
        return super().loop_misc()

    def reach(self, host: str, port: int, keepalive_s: int) -> None:
        """Connect and ask to be let in, without waiting for the answer. Raises OSError, UnicodeError."""
        if not self._window:
            self.connect(host, port, keepalive=keepalive_s)
            return
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wishes.ReceiveMaximum = self._window
        wishes.MaximumPacketSize = _MAX_ASKED_BYTES
        self.connect(host, port, keepalive=keepalive_s, clean_start=True, properties=wishes)

    def let_out(self, most: int) -> None:
        """Have no more than this many messages on their way out; the rest waits. 0: any number."""
        self._max_inflight_messages = most  # paho's own way refuses while connected, when it becomes known

    def subscribe_all(self, topics: Sequence[str]) -> None:
        """Ask for the topics at QoS 1, but those that may be lossy, in one packet."""
        asked = [
            (topic, 0 if topic.rpartition("/")[2] in self._lossy else _AT_LEAST_ONCE) for topic in topics
        ]
        if self._window:
            self.subscribe([(topic, SubscribeOptions(qos=qos)) for topic, qos in asked])
        else:
            self.subscribe(asked)

    def acknowledge(self, mids: Sequence[int]) -> None:
        """The broker may forget these, in this order; they leave as one write. For any one thread."""
        packets = b"".join(b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids)
        if packets:
            self._acked_count += len(mids)
            self._packet_queue(_PUBACK, packets, mids[-1], _AT_LEAST_ONCE)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read the socket once, and take every packet that is then whole.

        Raises TooLargeError, and ValueError where it is no MQTT.
        """
        try:
            data = self._read()
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError as err:
            self._lost = err
            return super().loop_read(max_packets)  # which says so, and lets go of the socket
        self.read_bytes = len(data)
        self._read_s = time.monotonic()
        if not data:
            self._lost = data
            return super().loop_read(max_packets)
        self._unread = self._unread[self._at :] + data if self._at < len(self._unread) else data
        self._at = 0
        return self._take_whole()

    def _read(self) -> bytes:
        """What has come. TLS hands out a record at a time, and brokers send one a message."""
        data = super()._sock_recv(_READ_BYTES)
        if not isinstance(self.socket(), ssl.SSLSocket):
            return data
        parts, size = [data], len(data)
        while data and size < _READ_BYTES:
            try:
                data = super()._sock_recv(_READ_BYTES - size)
            except OSError:  # no more now, or never: the next read says which
                break
            parts.append(data)
            size += len(data)
        return b"".join(parts)

    def _take_whole(self) -> MQTTErrorCode:
        messages: list[Message] = []
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        while not code and (found := _frame(self._unread, self._at)) is not None:
            start, end = found
            first = self._unread[self._at]
            if first & 0xF0 == _PUBLISH:
                messages.append(self._message(first, start, end))
                self._at = end
            else:
                self._deliver(messages)
                messages = []
                self._for_paho = end
                code = super().loop_read()
                if self.socket() is None:
                    break
        self._deliver(messages)
        return code

    def _deliver(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        self._taken_count += sum(message.qos for message in messages)
        self._hand_over(messages)
        if self._acks_itself:
            self.acknowledge([message.mid for message in messages if message.qos])

    def _message(self, first: int, start: int, end: int) -> Message:
        if first & _QOS_2:
            raise ValueError("a message at QoS 2, which nobody has asked for")
        packet = self._unread
        at = start + 2 + int.from_bytes(packet[start : start + 2], "big")
        topic, qos, mid = packet[start + 2 : at], first >> 1 & 3, 0
        if qos:
            mid = int.from_bytes(packet[at : at + 2], "big")
            at += 2
        if self._window:
            length, at = _number(packet, at)
            at += length  # properties, of which none concerns us
        if at > end or (qos and not mid):
            raise ValueError(f"a message of {end - start} bytes has no end to its beginning")
        return Message(topic.decode(), packet[at:end], bool(first & 1), mid, qos, self._number)

    def _sock_recv(self, bufsize: int) -> bytes:
        """For paho: the one packet that is its turn, or how the connection was lost."""
        if isinstance(self._lost, OSError):
            raise self._lost
        if self._lost is not None:
            return self._lost
        if self._at == self._for_paho:
            raise BlockingIOError
        data = self._unread[self._at : min(self._at + bufsize, self._for_paho)]
        self._at += len(data)
        return data


def _frame(packet: bytes, at: int) -> tuple[int, int] | None:
    """Where the packet at `at` has its contents: (start, end); None while it is not whole."""
    if len(packet) < at + 2:
        return None
    length, start = packet[at + 1], at + 2
    if length & 0x80:
        try:
            length, start = _number(packet, at + 1)
        except IndexError:
            return None
        if length > _MAX_PACKET_BYTES:
            raise TooLargeError(f"the broker sends a message of {length:,} bytes")
    end = start + length
    return None if end > len(packet) else (start, end)


def _number(packet: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where what follows it begins. Raises IndexError, ValueError."""
    value = 0
    for shift in (0, 7, 14, 21):
        byte = packet[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ValueError("a length of more than four bytes")

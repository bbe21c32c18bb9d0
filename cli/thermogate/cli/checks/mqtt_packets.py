"""The few MQTT 3.1.1 packets that show whether a broker takes a client, one step at a time.

core.mqtt hides the steps on purpose: it tries again for ever. Sections are those of the OASIS standard.
"""

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

CONNACK, PUBLISH, SUBACK = 2, 3, 9
REFUSED_SUBSCRIPTION = 0x80
DISCONNECT = b"\xe0\x00"

_LARGEST = 1 << 20
"""More than a status message can be; who sends a longer one does not speak MQTT."""
_CLEAN_SESSION, _HAS_PASSWORD, _HAS_USER = 0x02, 0x40, 0x80


class Packet(NamedTuple):
    """Its type (CONNACK, ...) and all that follows the fixed header."""

    kind: int
    body: bytes


def connect(client_id: str, username: str, password: str | None, keepalive_s: int) -> bytes:
    """CONNECT with a clean session and no will (3.1)."""
    flags = _CLEAN_SESSION
    payload = _text(client_id)
    if username:
        flags |= _HAS_USER
        payload += _text(username)
        if password is not None:
            flags |= _HAS_PASSWORD
            payload += _text(password)
    return _packet(0x10, _text("MQTT") + struct.pack("!BBH", 4, flags, keepalive_s) + payload)


def subscribe(topics: Sequence[str]) -> bytes:
    """SUBSCRIBE at QoS 0 (3.8): what comes then wants no acknowledgement."""
    return _packet(0x82, struct.pack("!H", 1) + b"".join(_text(topic) + b"\0" for topic in topics))


def read(connection: socket.socket) -> Packet:
    """The next packet. Raises OSError, ConnectionError when the peer ends, ValueError when it is not MQTT."""
    first, size = _exactly(connection, 1)[0], 0
    if first & 0x0F and first >> 4 != PUBLISH:  # 2.2.2: what else a broker sends has no flags
        raise ValueError(f"it begins with {first:#04x}")
    for position in range(4):  # 2.2.3: seven bits a byte, the lowest first
        byte = _exactly(connection, 1)[0]
        size |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            break
    if size > _LARGEST:
        raise ValueError(f"a packet of {size} bytes")
    return Packet(first >> 4, _exactly(connection, size))


def message(body: bytes) -> tuple[str, bytes]:
    """Topic and payload of a PUBLISH at QoS 0 (3.3). Raises ValueError."""
    end = 2 + int.from_bytes(body[:2], "big")
    return body[2:end].decode("utf-8"), body[end:]


def _packet(first: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while True:
        size, low = divmod(size, 0x80)
        length += bytes([low | 0x80 if size else low])
        if not size:
            return bytes([first]) + length + body


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!H", len(data)) + data


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionAbortedError("the broker closed the connection")
        data += part
    return data

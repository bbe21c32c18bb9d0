"""The way to the broker, step by step, as a client of its own: the agent's connection is not touched.

Nothing is published, and the client id is not the agent's, so the broker throws nobody out.
"""

import contextlib
import os
import socket
import ssl
import time
from typing import Literal

import msgspec

from thermogate.agent.sources.worker import Worker
from thermogate.cli.checks import mqtt_packets
from thermogate.core import certificate
from thermogate.core.certificate import Certificate
from thermogate.core.config import first_line
from thermogate.core.errors import WireError
from thermogate.core.model import Status
from thermogate.core.mqtt_explain import DroppedError, RefusedError
from thermogate.core.mqtt_settings import MqttSettings, parse_url
from thermogate.core.mqtt_tls import tls_context
from thermogate.core.wire import decode, node_topic

Step = Literal["dns", "tcp", "tls", "login", "subscription"]

_MQTT5_CODE = {1: 132, 2: 133, 3: 136, 4: 134, 5: 135}
"""CONNACK's codes of MQTT 3.1.1 (section 3.2.2.3) by the names that MQTT 5 has for the same."""
_ALERT_S = 0.2
"""A broker that refuses a client's certificate says so within a round trip of the handshake."""
_LISTEN_S = 0.5
"""A retained message comes with the acknowledgement of the subscription, so nobody waits longer for it."""

_Address = tuple[socket.AddressFamily, tuple[str | int | bytes, ...]]


class BrokerLook(msgspec.Struct):
    """How far the way to the broker goes. `failed_at` with its `error` is where it ends, "" when nowhere.

    `granted` is None where the broker did not say. `status` is the node's retained one, None when the
    broker has none or does not let this user read it.
    """

    host: str
    port: int
    secure: bool
    failed_at: Step | Literal[""] = ""
    error: Exception | None = None
    addresses: tuple[str, ...] = ()
    tls: str = ""
    peer: Certificate | None = None
    own: Certificate | None = None
    granted: bool | None = None
    round_trip_s: float | None = None
    status: Status | None = None


def look(settings: MqttSettings, node: str, timeout_s: float) -> BrokerLook:
    """Go as far as the way goes; each step may take `timeout_s`. Raises ConfigError of the settings."""
    host, port, secure = parse_url(settings.url)
    found = BrokerLook(host, port, secure)
    context = tls_context(settings) if secure else None
    found.own = certificate.read(settings.cert_file) if secure and settings.cert_file else None
    password = first_line(settings.password_file, "mqtt.password_file") if settings.password_file else None
    connection: socket.socket | None = None
    try:
        found.failed_at = "dns"
        addresses = _resolve(host, port, timeout_s)
        found.addresses = tuple(dict.fromkeys(str(address[0]) for _, address in addresses))
        found.failed_at = "tcp"
        connection = _connect(addresses, timeout_s)
        if context is not None:
            found.failed_at = "tls"
            connection = _handshake(connection, context, host, found)
        found.failed_at = "login"
        _login(connection, settings, node, password)
        found.failed_at = "subscription"
        _subscribe(connection, node, found)
        found.failed_at = ""
    except (OSError, ValueError, DroppedError, RefusedError) as err:
        found.error = err
    finally:
        if connection is not None:
            connection.close()
    return found


def _resolve(host: str, port: int, timeout_s: float) -> list[_Address]:
    """The resolver knows no deadline, so it is asked in a thread that may be left behind."""
    asked = Worker[list[_Address]]("dns").submit(lambda: _addresses(host, port))
    return asked.result(timeout_s)


def _addresses(host: str, port: int) -> list[_Address]:
    return [(info[0], info[4]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _connect(addresses: list[_Address], timeout_s: float) -> socket.socket:
    """A connection to the first address that takes one; the last error when none does."""
    deadline_s = time.monotonic() + timeout_s
    error: OSError = OSError("no address")
    for family, address in addresses:
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(max(0.1, deadline_s - time.monotonic()))
        try:
            connection.connect(address)
        except OSError as err:
            connection.close()
            error = err
        else:
            connection.settimeout(timeout_s)
            return connection
    raise error


def _handshake(plain: socket.socket, context: ssl.SSLContext, host: str, found: BrokerLook) -> socket.socket:
    try:
        connection = context.wrap_socket(plain, server_hostname=host)
    except OSError:
        plain.close()
        raise
    found.tls = connection.version() or ""
    with contextlib.suppress(ValueError, LookupError):  # OpenSSL has taken it, whatever we make of it
        found.peer = certificate.parse(connection.getpeercert(binary_form=True) or b"")
    return connection


def _login(connection: socket.socket, settings: MqttSettings, node: str, password: str | None) -> None:
    client_id = f"thermogate-doctor-{node}-{os.getpid()}"
    try:
        if isinstance(connection, ssl.SSLSocket):
            _hear_alert(connection)
        hello = mqtt_packets.connect(client_id, settings.username, password, settings.keepalive_s)
        connection.sendall(hello)
        answer = mqtt_packets.read(connection)
    except (ConnectionError, ssl.SSLError) as err:
        raise DroppedError(str(err)) from err
    if answer.kind != mqtt_packets.CONNACK or len(answer.body) != 2:
        raise ValueError(f"the answer to CONNECT is of type {answer.kind}")
    code = answer.body[1]
    if code:
        raise RefusedError(_MQTT5_CODE.get(code, 128), f"return code {code}")


def _hear_alert(connection: ssl.SSLSocket) -> None:
    """A server of TLS 1.3 judges the client's certificate after the handshake. What it says is lost
    once something is sent to it that it will not read."""
    timeout_s = connection.gettimeout()
    connection.settimeout(_ALERT_S)
    try:
        early = connection.recv(1)
    except TimeoutError:
        early = None
    finally:
        connection.settimeout(timeout_s)
    if early == b"":
        raise ConnectionAbortedError("the broker closed the connection")
    if early:
        raise ValueError("it speaks before it is asked")


def _subscribe(connection: socket.socket, node: str, found: BrokerLook) -> None:
    """Ask for the node's acknowledgements and its status, and take the status if it comes."""
    began_s = time.monotonic()
    connection.sendall(mqtt_packets.subscribe([node_topic(node, "ack"), node_topic(node, "status")]))
    while found.granted is None:
        _take(mqtt_packets.read(connection), node, found)
    found.round_trip_s = time.monotonic() - began_s
    try:
        while found.granted and found.status is None:
            left_s = _LISTEN_S - (time.monotonic() - began_s - found.round_trip_s)
            if left_s <= 0:
                break
            connection.settimeout(left_s)
            _take(mqtt_packets.read(connection), node, found)
        connection.sendall(mqtt_packets.DISCONNECT)
    except OSError:
        return  # the silence of a broker that keeps no status


def _take(packet: mqtt_packets.Packet, node: str, found: BrokerLook) -> None:
    if packet.kind == mqtt_packets.SUBACK:
        found.granted = mqtt_packets.REFUSED_SUBSCRIPTION not in packet.body[2:3]
    elif packet.kind == mqtt_packets.PUBLISH:
        topic, payload = mqtt_packets.message(packet.body)
        if topic == node_topic(node, "status"):
            try:
                found.status = decode(payload, Status)
            except WireError:
                return

"""The only module that speaks MQTT. paho does the protocol in its own thread; this hands over to asyncio.

paho rather than aiomqtt: half the processor time a received message, and acknowledgement by hand
(docs/decisions/0003-mqtt-client.md).
"""

import asyncio
import contextlib
import logging
import random
import ssl
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from thermogate.core.config import Settings, first_line
from thermogate.core.errors import ConfigError, NotConnectedError

log = logging.getLogger(__name__)


class MqttSettings(Settings, frozen=True):
    """How to reach the broker."""

    url: str = "mqtt://127.0.0.1:1883"
    """mqtt://HOST[:1883] or mqtts://HOST[:8883]."""
    username: str = ""
    """Empty: none. With the ACL in systemd/mosquitto/, an agent's is its node's name."""
    password_file: str = ""
    """File whose first line is the password; under systemd a credential."""
    ca_file: str = ""
    """Authorities to trust with mqtts; empty: those of the system."""
    cert_file: str = ""
    key_file: str = ""
    """Certificate and key of this client, for mutual TLS."""
    keepalive_s: int = 30
    """The broker declares a silent client dead after 1.5 times this."""
    reconnect_min_s: float = 0.5
    reconnect_max_s: float = 30.0
    """Waits between attempts double from min to max, with jitter: 20,000 nodes must not knock at once."""


class Message(NamedTuple):
    """A received message. `connection` tells acknowledgements of an earlier connection apart."""

    topic: str
    payload: bytes
    retained: bool
    mid: int
    qos: int
    connection: int


class Will(NamedTuple):
    """What the broker publishes, retained, when this client is gone without a word."""

    topic: str
    payload: bytes


class MqttClient:
    """One connection that comes back by itself: `async with MqttClient(...) as client`.

    Received messages wait in a queue that the broker's window bounds: with `manual_ack`, it sends
    no more than the window until they are acknowledged by `ack`.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        client_id: str,
        subscribe: tuple[str, ...] = (),
        will: Will | None = None,
        manual_ack: bool = False,
        on_connect: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self._subscribe = subscribe
        self._will = will
        self._on_connect = on_connect
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv311, manual_ack=manual_ack
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._received: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._wake_pending = False
        self._connected = asyncio.Event()
        self._connection = 0
        self._puback: dict[int, asyncio.Future[None]] = {}
        self._said = ""

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        host, port = _configure(self._client, self.settings)
        client = self._client
        client.on_connect = self._connected_in_thread
        client.on_connect_fail = self._failed_in_thread
        client.on_disconnect = self._disconnected_in_thread
        client.on_message = self._message_in_thread
        client.on_publish = self._puback_in_thread
        client.max_inflight_messages_set(0)  # the caller bounds what is on its way, not paho
        if self._will:
            client.will_set(self._will.topic, self._will.payload, qos=1, retain=True)
        self._jitter()
        client.connect_async(host, port, keepalive=self.settings.keepalive_s)
        client.loop_start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
        self._connected.clear()
        self._fail_pubacks()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted this client and not yet gone."""
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Return once connected; never raises, whatever the broker does."""
        await self._connected.wait()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish at QoS 1 and return once the broker has taken it.

        Raises NotConnectedError when there is no connection, or it breaks before that.
        """
        await self.publish_soon(topic, payload, retain=retain)

    def publish_soon(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        """Publish at QoS 1; the future ends when the broker has taken it. Raises NotConnectedError."""
        assert self._loop is not None
        if not self.connected:
            raise NotConnectedError(f"not connected to {self.settings.url}")
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotConnectedError(f"not connected to {self.settings.url}")
        future: asyncio.Future[None] = self._loop.create_future()
        self._puback[info.mid] = future
        return future

    async def receive(self, limit: int) -> list[Message]:
        """Between 1 and `limit` messages, as soon as there is one."""
        while not self._received:
            self._arrived.clear()
            if not self._received:
                await self._arrived.wait()
        return [self._received.popleft() for _ in range(min(limit, len(self._received)))]

    def ack(self, message: Message) -> None:
        """Tell the broker that the message is done with. Needs `manual_ack`."""
        if message.qos and message.connection == self._connection:
            self._client.ack(message.mid, message.qos)

    # From here to the end of the class: called in paho's thread, except the *_on_loop methods.

    def _connected_in_thread(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.is_failure:
            self._say(logging.ERROR, f"{self.settings.url} refuses this client: {reason}")
            return
        self._connection += 1
        if self._subscribe:
            client.subscribe([(topic, 1) for topic in self._subscribe])
        self._call_on_loop(self._connected_on_loop)

    def _failed_in_thread(self, _client: paho.Client, _data: Any) -> None:
        self._say(logging.WARNING, f"cannot reach {self.settings.url}; trying again")
        self._jitter()

    def _disconnected_in_thread(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.is_failure:
            self._say(logging.WARNING, f"lost {self.settings.url} ({reason}); connecting again")
        self._jitter()
        self._call_on_loop(self._disconnected_on_loop)

    def _message_in_thread(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        self._received.append(
            Message(message.topic, payload, message.retain, message.mid, message.qos, self._connection)
        )
        if not self._wake_pending:  # one wake-up for all messages that come before it is served
            self._wake_pending = True
            self._call_on_loop(self._arrived_on_loop)

    def _puback_in_thread(
        self, _client: paho.Client, _data: Any, mid: int, _reason: Any, _props: Any
    ) -> None:
        self._call_on_loop(self._puback_on_loop, mid)

    def _connected_on_loop(self) -> None:
        self._connected.set()
        self._say(logging.INFO, f"connected to {self.settings.url}")
        self._on_connect()

    def _disconnected_on_loop(self) -> None:
        self._connected.clear()
        self._fail_pubacks()

    def _puback_on_loop(self, mid: int) -> None:
        future = self._puback.pop(mid, None)
        if future is not None and not future.done():
            future.set_result(None)

    def _arrived_on_loop(self) -> None:
        self._wake_pending = False
        self._arrived.set()

    def _fail_pubacks(self) -> None:
        futures, self._puback = list(self._puback.values()), {}
        for future in futures:
            if not future.done():
                future.set_exception(NotConnectedError(f"{self.settings.url} went away"))
                future.exception()  # nobody need await it

    def _call_on_loop(self, what: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop closed while the connection was being closed
            self._loop.call_soon_threadsafe(what, *args)

    def _jitter(self) -> None:
        low, high = self.settings.reconnect_min_s, self.settings.reconnect_max_s
        # paho only adds and doubles these, so that fractions work although it says int
        self._client.reconnect_delay_set(
            low * random.uniform(1, 2),  # type: ignore[arg-type]
            max(2 * low, high * random.uniform(0.5, 1)),  # type: ignore[arg-type]
        )

    def _say(self, level: int, text: str) -> None:
        if text != self._said:  # a change of state is told once, not at every attempt
            self._said = text
            log.log(level, text)


def _configure(client: paho.Client, settings: MqttSettings) -> tuple[str, int]:
    """Put TLS and password into the client; (host, port) to connect to. Raises ConfigError."""
    host, port, secure = parse_url(settings.url)
    if secure:
        client.tls_set_context(_tls(settings))
    if settings.username:
        password = (
            first_line(settings.password_file, "mqtt.password_file") if settings.password_file else None
        )
        client.username_pw_set(settings.username, password)
    return host, port


def parse_url(url: str) -> tuple[str, int, bool]:
    """(host, port, TLS) of an mqtt or mqtts URL. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as err:
        raise ConfigError(f"mqtt.url {url!r}: {err}") from err
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path.strip("/"):
        raise ConfigError(f"mqtt.url {url!r}: expected mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
    secure = parts.scheme == "mqtts"
    return parts.hostname, port or (8883 if secure else 1883), secure


def _tls(settings: MqttSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file or None)
    except (OSError, ssl.SSLError) as err:
        raise ConfigError(
            f"mqtt: cannot load ca_file {settings.ca_file!r}, cert_file {settings.cert_file!r} "
            f"or key_file {settings.key_file!r}: {err}"
        ) from err
    return context

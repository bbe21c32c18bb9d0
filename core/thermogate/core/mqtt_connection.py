"""One connection to the broker, in the thread that opened it.

Each connection has a paho client of its own, so that nothing of the last one, neither messages nor
certificates, reaches the next. paho tells why a connection ended only in its log: it is read there.
"""

import contextlib
import logging
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from thermogate.core.errors import NotConnectedError
from thermogate.core.mqtt_explain import DroppedError, LostError, RefusedError, SilentError
from thermogate.core.mqtt_message import Message, Session
from thermogate.core.mqtt_paho import Paho
from thermogate.core.mqtt_settings import MqttSettings, parse_url

_TURN_S = 1.0
"""How often a quiet connection looks at the clock: for its keepalive, and for the one who owns it."""
_LEAVING_TURN_S = 0.05
_LAST_WORDS_S = 0.7
"""How long leaving waits for the broker to take what was published. To close with answers unread may make it
lose the last words."""
_GOODBYE_S = 1.0
"""A broker that has not taken the goodbye itself by then is left without."""
_FEW_BYTES = 8192
_NAP_S = 0.002
"""A client with a window rests this long after a read that found little: of thousands of messages a second it
takes several at a time, at a fifth of the wake-ups, and none is late by more than this."""
_KEEPALIVE_TIMEOUT = 141
_TOPICS = 200
"""In one packet: 40 kB of the longest names, which brokers let pass that bound their packets."""


class Hooks(NamedTuple):
    """Called in the thread of the connection."""

    ready: Callable[["Connection", tuple[str, ...]], None]
    """The broker has accepted the client; with the topics to which it may not subscribe."""
    received: Callable[[Sequence[Message]], None]
    taken: Callable[[int], None]
    """The broker has the message with this number."""
    turn: Callable[["Connection"], None]
    """About once a second."""


class Connection:
    """`open`, then `serve` until it ends, then `close`. Only `publish`, `ack`, `subscribe`, `unsubscribe`
    and `leave` may be called from another thread.
    """

    def __init__(self, number: int, settings: MqttSettings, session: Session, hooks: Hooks) -> None:
        self.number = number
        self._settings = settings
        self._session = session
        self._hooks = hooks
        self._topics = (*session.subscribe, *([session.will.topic] if session.will else []))
        self._wake_out, self._wake_in = socket.socketpair()
        self._leaving = False
        self._disconnecting = False
        self._leaving_since_s: float | None = None
        self._accepted = False
        self._ready = False
        self._sent_count = 0
        self._taken_count = 0
        self._end: NotConnectedError | None = None
        self._error: BaseException | None = None
        self._paho = self._client()

    @property
    def window(self) -> int:
        """What the broker was asked to have on its way at most; 0: nothing was asked."""
        return self._session.window

    def open(self, context: ssl.SSLContext | None, password: str | None) -> None:
        """Reach the broker and shake hands. Raises OSError, UnicodeError."""
        settings, client = self._settings, self._paho
        host, port, _ = parse_url(settings.url)
        if context is not None:
            context.sslsocket_class = _TlsSocket
            client.tls_set_context(context)
        if settings.username:
            client.username_pw_set(settings.username, password)
        client.connect_timeout = settings.connect_timeout_s
        client.reach(host, port, settings.keepalive_s)

    def serve(self) -> None:
        """Carry messages; returns after `leave`. Raises NotConnectedError of the kind that says why it ended,
        and ValueError, LookupError or struct.error where what comes is not MQTT.
        """
        poll = select.poll()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        poll.register(self._wake_in, select.POLLIN)
        self._until_closed(poll)
        if not self._leaving:
            raise self._reason()

    def close(self) -> None:
        """Let go of the sockets."""
        sock = self._paho.socket()
        for one in (sock, self._wake_in, self._wake_out):
            if one is not None:
                one.close()

    def leave(self) -> None:
        """Say goodbye after what has been published, so that the will stays unsaid."""
        self._leaving = True
        self._wake()

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        """Send at QoS 1; the number with which `taken` will come. Raises NotConnectedError."""
        if self._leaving:
            raise NotConnectedError(f"leaving {self._settings.url}")
        info = self._paho.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotConnectedError(f"not connected to {self._settings.url}")
        self._sent_count += 1
        return info.mid

    def ack(self, mids: Sequence[int]) -> None:
        """The broker may forget the messages with these numbers."""
        self._paho.acknowledge(mids)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for these too, after the broker has granted the first."""
        for start in range(0, len(topics), _TOPICS):
            self._paho.subscribe_all(topics[start : start + _TOPICS])

    def unsubscribe(self, topic: str) -> None:
        """No more of this topic."""
        self._paho.unsubscribe(topic)

    def _client(self) -> Paho:
        session = self._session
        client = Paho(session, self.number, self._hooks.received)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_socket_register_write = self._wake  # without it paho would write in the caller's thread
        client.enable_logger(_Ear(self._on_error))
        if session.will:
            client.will_set(session.will.topic, session.will.payload, qos=1, retain=True)
        return client

    def _until_closed(self, poll: select.poll) -> None:
        client, opened_s = self._paho, time.monotonic()
        turn_s = opened_s
        while (sock := client.socket()) is not None:
            now_s = time.monotonic()
            if self._leaving and self._say_goodbye(now_s):
                return
            self._carry(poll, sock)
            if now_s >= turn_s:
                turn_s = now_s + _TURN_S
                client.loop_misc()
                self._hooks.turn(self)
                if not self._ready and now_s >= opened_s + self._settings.keepalive_s:
                    raise SilentError

    def _say_goodbye(self, now_s: float) -> bool:
        """Disconnect once the broker has taken all; true when there is no more time for that."""
        if self._leaving_since_s is None:
            self._leaving_since_s = now_s
        waited_s = now_s - self._leaving_since_s
        all_taken = self._taken_count >= self._sent_count
        if not self._disconnecting and (all_taken or waited_s >= _LAST_WORDS_S):
            self._disconnecting = True
            self._paho.disconnect()
        return waited_s >= _GOODBYE_S

    def _carry(self, poll: select.poll, sock: Any) -> None:
        """Wait for something to read or write, up to a second, less while leaving, and do it."""
        client, descriptor = self._paho, sock.fileno()
        reads = not client.full
        # bytes that TLS has already read
        waiting = reads and hasattr(sock, "pending") and sock.pending() > 0
        poll.register(
            descriptor, (select.POLLIN if reads else 0) | (select.POLLOUT if client.want_write() else 0)
        )
        turn_s = _LEAVING_TURN_S if self._leaving else _TURN_S
        events = dict(poll.poll(0 if waiting else turn_s * 1000))
        if self._wake_in.fileno() in events:
            self._wake_in.recv(4096)
        if waiting or events.get(descriptor, 0) & ~select.POLLOUT:
            client.loop_read()
            if self._session.window and client.read_bytes < _FEW_BYTES:
                time.sleep(_NAP_S)
        if client.want_write():
            client.loop_write()

    def _reason(self) -> NotConnectedError:
        """Why it ended though nobody wanted it to."""
        if self._end is not None:
            return self._end
        error = LostError() if self._accepted else DroppedError()
        error.__cause__ = self._error
        return error

    def _wake(self, *_: Any) -> None:
        with contextlib.suppress(OSError):  # full: it will wake; closed: it need not
            self._wake_out.send(b"\0")

    def _on_error(self, error: BaseException) -> None:
        self._error = error

    def _on_connect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            self._end = RefusedError(reason.value, str(reason))
            return
        self._accepted = True
        # otherwise the caller bounds what is on its way; but MQTT 5 lets a broker hang up on who sends more
        self._paho.let_out(getattr(properties, "ReceiveMaximum", 0))
        if self._topics:
            self._paho.subscribe_all(self._topics)
        else:
            self._be_ready(())

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _props: Any
    ) -> None:
        if not self._ready:
            granted = zip(self._topics, reasons, strict=False)
            self._be_ready(tuple(topic for topic, reason in granted if reason.is_failure))

    def _be_ready(self, denied: tuple[str, ...]) -> None:
        self._ready = True
        self._hooks.ready(self, denied)

    def _on_publish(self, _client: paho.Client, _data: Any, mid: int, _reason: Any, _props: Any) -> None:
        self._taken_count += 1
        self._hooks.taken(mid)

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.value == _KEEPALIVE_TIMEOUT:
            self._end = SilentError()
        elif flags.is_disconnect_packet_from_server:
            self._error = NotConnectedError(f"it says: {reason}")


class _TlsSocket(ssl.SSLSocket):
    """Closed when its handshake fails, where paho forgets it."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (OSError, ValueError):
            self.close()
            raise


class _Ear(logging.Logger):
    """What paho logs to: it says nothing, and passes on the errors that it is told of."""

    def __init__(self, hear: Callable[[BaseException], None]) -> None:
        super().__init__("paho")
        self._hear = hear

    def log(self, level: int, msg: object, *args: object, **_: Any) -> None:  # noqa: ARG002
        if level >= logging.ERROR:  # paho tells of every packet too
            for argument in args:
                if isinstance(argument, BaseException):
                    self._hear(argument)

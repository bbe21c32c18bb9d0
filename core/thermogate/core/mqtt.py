"""MQTT for asyncio: what every part uses. The protocol is paho's, in a thread of its own.

paho rather than aiomqtt: half the processor time a received message, and acknowledgement by hand
(docs/decisions/0003-mqtt-client.md).
"""

import asyncio
import contextlib
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from thermogate.core.errors import NotConnectedError, UnavailableError
from thermogate.core.mqtt_connection import Connection
from thermogate.core.mqtt_explain import denied_reading, dropped_writing
from thermogate.core.mqtt_link import Link, LinkHooks
from thermogate.core.mqtt_message import Message, Session, Will
from thermogate.core.mqtt_settings import MqttSettings, parse_url

__all__ = ["Message", "MqttClient", "MqttSettings", "Will", "parse_url"]

log = logging.getLogger(__name__)

_UNASKED = 1000
"""Messages at QoS 0 that may wait beyond the window."""
_END_S = 1.5
"""How long leaving may take: the goodbye has 1 s."""


class MqttClient:
    """One connection that comes back by itself: `async with MqttClient(...) as client`.

    Received messages wait in a queue that the broker's window bounds: with `manual_ack`, it sends
    no more than the window until they are acknowledged by `ack`. With `window` the client speaks MQTT 5
    and asks for one of that many messages; at 0, and at a broker that knows 3.1.1 only, it is the broker's
    own. Topics whose last level is in `lossy` are asked for at QoS 0. Messages at QoS 0 know no window: those
    that would have to wait beyond it, and 1000 more, are dropped and counted. So are those of a connection
    that has ended, beyond a window of them: they can no longer be acknowledged, and while a store is down
    every new connection brings as many again. Entering raises ConfigError where URL, certificates or
    password will not do; what is wrong later is logged and in `last_problem`.

    A client with a `will` reads back the first message that it publishes on the will's topic, and hands
    out none from there: MQTT 3.1.1 brokers acknowledge what they drop because it may not be written.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        client_id: str,
        subscribe: tuple[str, ...] = (),
        will: Will | None = None,
        manual_ack: bool = False,
        window: int = 0,
        lossy: frozenset[str] = frozenset(),
        on_connect: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self._on_connect = on_connect
        self._echo_topic = will.topic if will else None
        self._echo_timer: asyncio.TimerHandle | None = None
        self._echoed = False
        self._denied = ""
        hooks = LinkHooks(
            self._ready_in_thread,
            self._received_in_thread,
            self._taken_in_thread,
            self._gone_in_thread,
            self._ended_in_thread,
        )
        self._link = Link(settings, Session(client_id, subscribe, will, manual_ack, window, lossy), hooks)
        self.dropped_count = 0
        """Messages at QoS 0 that were left out, since the start: they come faster than they are received."""
        self._more: dict[str, None] = {}
        self._most_unasked = window + _UNASKED
        self._most_ended = self._most_unasked if manual_ack else sys.maxsize
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Connection | None = None
        self._received: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._wake_pending = False
        self._connected = asyncio.Event()
        self._left = False
        self._ended = asyncio.Event()
        self._puback: dict[int, asyncio.Future[None]] = {}
        self._awaited = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._link.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = True
        if self._link.leave():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await self._ended.wait()
        self._gone_on_loop()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted this client with its subscriptions, and not yet gone."""
        return self._connected.is_set()

    @property
    def last_problem(self) -> str:
        """Why there is no connection, or what the broker denies on it; "" when all is well."""
        return self._link.problem or self._denied

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
        future: asyncio.Future[None] = self._loop.create_future()
        self._awaited += 1  # before the thread may have the answer
        try:
            self._puback[self._publish(topic, payload, retain=retain)] = future
        except NotConnectedError:
            self._awaited -= 1
            raise
        if topic == self._echo_topic and not self._echoed:
            future.add_done_callback(self._await_echo)
        return future

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish at QoS 1 and look no further, which costs no wake-up of the loop for the answer.

        Raises NotConnectedError.
        """
        if topic == self._echo_topic and not self._echoed:
            self.publish_soon(topic, payload, retain=retain)
        else:
            self._publish(topic, payload, retain=retain)

    def subscribe(self, topics: Iterable[str]) -> None:
        """Ask for more than from the beginning, on this connection and on every later one.

        What the broker denies of it is not told.
        """
        fresh = tuple(topic for topic in topics if topic not in self._more)
        self._more.update(dict.fromkeys(fresh))
        if self._connection is not None:
            self._connection.subscribe(fresh)

    async def receive(self, limit: int, least: int = 1) -> list[Message]:
        """Between `least` and `limit` messages, as soon as there are.

        Raises UnavailableError when the thread died of an error of its own: no message will come.
        """
        while len(self._received) < least:
            self._arrived.clear()
            if len(self._received) < least:
                if self._ended.is_set():
                    raise UnavailableError(f"{self.settings.url}: the thread of the connection has ended")
                await self._arrived.wait()
        return [self._received.popleft() for _ in range(min(limit, len(self._received)))]

    def ack(self, *messages: Message) -> None:
        """Tell the broker that the messages are done with. Needs `manual_ack`.

        In the order in which they came: MQTT demands it, and the embedded broker hangs up on any other.
        """
        connection = self._link.connection
        if connection is not None:
            number = connection.number
            connection.ack([one.mid for one in messages if one.qos and one.connection == number])

    def _publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        if self._connection is None:
            raise NotConnectedError(f"not connected to {self.settings.url}")
        return self._connection.publish(topic, payload, retain=retain)

    # Called in the link's thread.

    def _ready_in_thread(self, connection: Connection, denied: tuple[str, ...]) -> None:
        self._call_on_loop(self._ready_on_loop, connection, denied)

    def _received_in_thread(self, messages: Sequence[Message]) -> None:
        if self._echo_topic is not None:
            for message in messages:
                if message.topic == self._echo_topic:
                    self._call_on_loop(self._echo_on_loop, message)
            messages = [message for message in messages if message.topic != self._echo_topic]
        if len(self._received) > self._most_unasked:
            asked = [message for message in messages if message.qos]
            self.dropped_count += len(messages) - len(asked)
            messages = asked
        self._received.extend(messages)
        if (
            self._received and not self._wake_pending
        ):  # one wake-up for all messages that come before it is served
            self._wake_pending = True
            self._call_on_loop(self._arrived_on_loop)

    def _taken_in_thread(self, mid: int) -> None:
        if self._awaited:
            self._call_on_loop(self._taken_on_loop, mid)

    def _gone_in_thread(self) -> None:
        self._call_on_loop(self._gone_on_loop)

    def _ended_in_thread(self) -> None:
        self._call_on_loop(self._ended_on_loop)

    def _call_on_loop(self, what: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop closed while the connection was being closed
            self._loop.call_soon_threadsafe(what, *args)

    # Called on the loop, in the order in which the link called.

    def _ready_on_loop(self, connection: Connection, denied: tuple[str, ...]) -> None:
        if self._left:
            return
        self._connection = connection
        self._echoed = self._echo_topic is None or self._echo_topic in denied
        wanted = [topic for topic in denied if topic != self._echo_topic]
        if wanted:
            self._deny(denied_reading(wanted[0], self.settings))
        elif self._echoed:
            self._denied = ""
        connection.subscribe(tuple(self._more))
        self._connected.set()
        self._on_connect()

    def _gone_on_loop(self) -> None:
        self._connection = None
        self._connected.clear()
        if self._echo_timer is not None:
            self._echo_timer.cancel()
            self._echo_timer = None
        futures, self._puback = list(self._puback.values()), {}
        self._awaited = 0
        for _ in range(len(self._received) - self._most_ended):
            self._received.popleft()
        for future in futures:
            if not future.done():
                future.set_exception(NotConnectedError(f"{self.settings.url} went away"))
                future.exception()  # nobody need await it

    def _ended_on_loop(self) -> None:
        self._ended.set()
        self._arrived.set()

    def _taken_on_loop(self, mid: int) -> None:
        future = self._puback.pop(mid, None)
        if future is None:
            return
        self._awaited -= 1
        if not future.done():
            future.set_result(None)

    def _arrived_on_loop(self) -> None:
        self._wake_pending = False
        self._arrived.set()

    def _await_echo(self, taken: asyncio.Future[None]) -> None:
        done = self._echoed or self._echo_timer is not None
        if self._loop is not None and not done and not taken.cancelled() and taken.exception() is None:
            self._echo_timer = self._loop.call_later(self.settings.echo_s, self._not_echoed)

    def _not_echoed(self) -> None:
        assert self._echo_topic is not None
        self._deny(dropped_writing(self._echo_topic, self.settings))

    def _echo_on_loop(self, message: Message) -> None:
        if message.retained or self._echoed or self._connection is None:
            return  # the retained one is of an earlier time, when other rules may have held
        self._echoed = True
        self._connection.unsubscribe(message.topic)
        if self._echo_timer is not None:
            self._echo_timer.cancel()
        if self._denied:
            self._denied = ""
            log.info("%s: the broker takes what this client writes", self.settings.url)

    def _deny(self, text: str) -> None:
        if text != self._denied:  # not on every connection
            self._denied = text
            log.error(text)

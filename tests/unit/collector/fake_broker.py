"""A broker that delivers what a test gives it, for what receives, acknowledges and publishes."""

import asyncio
from collections import deque

from thermogate.core.errors import NotConnectedError
from thermogate.core.model import Ack, Event
from thermogate.core.mqtt import Message
from thermogate.core.wire import decode, encode


class FakeBroker:
    """`connected = False` makes publishing fail at once, `taking = False` leaves it without an answer."""

    def __init__(self) -> None:
        self.connected = True
        self.taking = True
        self.acked: list[Message] = []
        self.published: list[tuple[str, bytes]] = []
        self.waiting: list[asyncio.Future[None]] = []
        self._queue: deque[Message] = deque()
        self._arrived = asyncio.Event()

    def deliver(self, *messages: Message) -> None:
        self._queue.extend(messages)
        self._arrived.set()

    async def receive(self, limit: int, least: int = 1) -> list[Message]:
        while len(self._queue) < least:
            self._arrived.clear()
            await self._arrived.wait()
        return [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]

    def ack(self, *messages: Message) -> None:
        self.acked += messages

    def publish_soon(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        if not self.connected:
            raise NotConnectedError("gone")
        future = asyncio.get_running_loop().create_future()
        self.published.append((topic, payload))
        if self.taking:
            future.set_result(None)
        else:
            self.waiting.append(future)
        return future

    def acknowledged(self) -> list[tuple[str, str, tuple[tuple[int, int], ...]]]:
        """(topic, spool, ranges) of every acknowledgement published."""
        acks = [(topic, decode(payload, Ack)) for topic, payload in self.published]
        return [(topic, ack.spool, ack.stored) for topic, ack in acks]


def received(topic: str, payload: bytes, *, retained: bool = False, mid: int = 1) -> Message:
    return Message(topic, payload, retained, mid, 1, 1)


def telemetry(payload: bytes, node: str = "n1") -> Message:
    return received(f"thermogate/v1/node/{node}/telemetry", payload)


def event_message(event: Event, node: str = "n1") -> Message:
    return received(f"thermogate/v1/node/{node}/event", encode(event))

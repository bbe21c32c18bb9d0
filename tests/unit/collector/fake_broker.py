"""A broker that delivers what a test gives it, for what receives, acknowledges and publishes."""

import asyncio

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
        self._queue: asyncio.Queue[Message] = asyncio.Queue()

    def deliver(self, *messages: Message) -> None:
        for message in messages:
            self._queue.put_nowait(message)

    async def receive(self, limit: int) -> list[Message]:
        messages = [await self._queue.get()]
        while len(messages) < limit and not self._queue.empty():
            messages.append(self._queue.get_nowait())
        return messages

    def ack(self, message: Message) -> None:
        self.acked.append(message)

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

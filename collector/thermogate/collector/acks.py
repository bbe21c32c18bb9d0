"""What is stored, told to the nodes: ranges of sequence numbers, coalesced."""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Protocol

from thermogate.collector.checking import Receipt
from thermogate.collector.counters import Counters
from thermogate.core.clock import Clock
from thermogate.core.errors import NotConnectedError
from thermogate.core.model import Ack
from thermogate.core.wire import encode, node_topic

_RANGES_A_MESSAGE = 1000
"""48 bytes each at most, so that a message stays below wire.MAX_PAYLOAD_BYTES."""
_MAX_RANGES = 100_000
_TICKS = 10
_BREATH = 100
"""Acknowledgements between two looks at what else is to be done: some ms. After a start all nodes are due
at once."""

Key = tuple[str, str]
"""Node, spool."""
Range = tuple[int, int]


class Ledger:
    """What is stored and not yet acknowledged. Pure; times are steady seconds.

    Bounded: beyond 100,000 ranges the spool that has waited longest is forgotten, whose node then
    sends again what it does not know to be stored.
    """

    def __init__(self) -> None:
        self._ranges: dict[Key, list[Range]] = {}
        self._since_s: dict[Key, float] = {}
        self._count = 0

    def add(self, receipt: Receipt, now_s: float) -> None:
        """The store has this record."""
        self.add_ranges((receipt.node, receipt.spool), [(receipt.seq, receipt.seq)], now_s)

    def add_ranges(self, key: Key, ranges: Iterable[Range], now_s: float) -> None:
        """The store has these records of a spool."""
        self._since_s.setdefault(key, now_s)
        mine = self._ranges.setdefault(key, [])
        for first, last in ranges:
            if mine and mine[-1][0] <= first <= mine[-1][1] + 1:  # nearly always: the next in order
                mine[-1] = (mine[-1][0], max(mine[-1][1], last))
            else:
                mine.append((first, last))
                self._count += 1
        while self._count > _MAX_RANGES:
            self._take(next(iter(self._ranges)))

    def due(self, before_s: float) -> Iterator[tuple[str, Ack]]:
        """Take out the acknowledgements of every spool that has waited since `before_s` or longer."""
        while self._since_s:
            key, since_s = next(iter(self._since_s.items()))
            if since_s > before_s:
                return
            yield from self._take(key)

    def of(self, keys: Iterable[Key]) -> Iterator[tuple[str, Ack]]:
        """Take out the acknowledgements of these spools."""
        for key in keys:
            yield from self._take(key)

    def _take(self, key: Key) -> list[tuple[str, Ack]]:
        self._since_s.pop(key, None)
        ranges = self._ranges.pop(key, [])
        self._count -= len(ranges)
        merged = iter(_merged(ranges))
        acks = []
        while part := tuple(islice(merged, _RANGES_A_MESSAGE)):
            acks.append((key[0], Ack(key[1], part)))
        return acks


class Publisher(Protocol):
    """The part of `core.mqtt.MqttClient` that acknowledges to nodes."""

    def publish_soon(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        """Publish; the future ends when the broker has it. Raises NotConnectedError, as it may."""
        ...


class Acker:
    """Tells each node within `interval_s`, or at once when it asks, what the store has.

    An acknowledgement that the broker did not take is kept and sent again: it is small, and without
    it the node would send its samples again.
    """

    def __init__(self, publisher: Publisher, interval_s: float, clock: Clock, counters: Counters) -> None:
        self._publisher = publisher
        self._interval_s = interval_s
        self._clock = clock
        self._counters = counters
        self._ledger = Ledger()
        self._on_their_way: set[asyncio.Future[None]] = set()

    def stored(self, receipts: Iterable[Receipt]) -> None:
        """The store, or the quarantine, has these records for good."""
        now_s = self._clock.steady_s()
        asking: dict[Key, None] = {}
        for receipt in receipts:
            self._ledger.add(receipt, now_s)
            if receipt.prompt:
                asking[receipt.node, receipt.spool] = None
        self._send(self._ledger.of(asking))

    async def run(self) -> None:
        """Acknowledge what is due, for ever; a tenth of the nodes at a time."""
        while True:
            now_s = self._clock.steady_s()
            due = self._ledger.due(now_s - self._interval_s)
            while part := list(islice(due, _BREATH)):
                self._send(part)
                await asyncio.sleep(0)
            await self._clock.sleep_until(now_s + self._interval_s / _TICKS)

    async def flush(self, timeout_s: float) -> None:
        """Acknowledge everything and wait until the broker has it, or not longer than the timeout."""
        self._send(
            list(self._ledger.due(self._clock.steady_s()))
        )  # what cannot be sent is kept, and due again
        if self._on_their_way:
            await asyncio.wait(self._on_their_way, timeout=timeout_s)

    def _send(self, acks: Iterable[tuple[str, Ack]]) -> None:
        for node, ack in acks:
            try:
                future = self._publisher.publish_soon(node_topic(node, "ack"), encode(ack))
            except NotConnectedError:
                self._keep(node, ack)
            else:
                self._on_their_way.add(future)
                future.add_done_callback(partial(self._sent, node, ack))

    def _sent(self, node: str, ack: Ack, future: asyncio.Future[None]) -> None:
        self._on_their_way.discard(future)
        if future.cancelled() or future.exception() is not None:
            self._keep(node, ack)
        else:
            self._counters.acks += 1

    def _keep(self, node: str, ack: Ack) -> None:
        self._ledger.add_ranges((node, ack.spool), ack.stored, self._clock.steady_s())


def _merged(ranges: Iterable[Range]) -> list[Range]:
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found

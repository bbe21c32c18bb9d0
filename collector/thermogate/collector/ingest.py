"""From the broker to the store: check, write, and only then acknowledge."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from thermogate.collector.acks import Acker
from thermogate.collector.checking import Checked, Receipt, receipt_of
from thermogate.collector.config import CollectorSettings
from thermogate.collector.counters import Counters
from thermogate.collector.guard import Guard
from thermogate.collector.quarantine import Quarantine, Refused, summary
from thermogate.collector.settling import Settler
from thermogate.collector.store.base import Store
from thermogate.collector.writing import OnStored, Writer
from thermogate.core.clock import Clock
from thermogate.core.errors import WireError
from thermogate.core.mqtt import Message

log = logging.getLogger(__name__)

_QUIET_S = 0.1
"""Nothing for this long after `stop`: what was on its way has come."""
_SAY_AGAIN_S = 60.0
_BREATH = 100
"""Messages checked between two looks at what else is to be done, such as a question over HTTP: some ms."""


class Receiver(Protocol):
    """The part of `core.mqtt.MqttClient` that messages come from."""

    async def receive(self, limit: int, least: int = 1) -> list[Message]:
        """Between `least` and `limit` messages, as soon as there are."""
        ...

    def ack(self, *messages: Message) -> None:
        """The broker may forget the messages and send the next. In the order in which they came."""
        ...


class _Flight:
    """Messages that came together, on their way into the store."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.good: list[Checked] = []
        self.bad: list[tuple[Refused, Receipt | None]] = []
        self.landed = False


class Ingest:
    """Takes what has come while the last write ran as the next batch, so that load makes batches bigger.

    While a write runs, and for `gather_s` after one began, another begins only with a whole batch: under
    a full load the store is never idle, under a lesser one it gets no more and smaller writes than it
    needs, and what comes after a silence is stored at once.

    The broker is acknowledged, in the order of arrival, only what is stored or in quarantine, hence its
    window bounds what is held here. A store that fails is tried for ever; a message that it will never
    take is set aside alone.
    """

    def __init__(
        self,
        receiver: Receiver,
        store: Store,
        acker: Acker,
        quarantine: Quarantine,
        counters: Counters,
        settings: CollectorSettings,
        clock: Clock,
        on_stored: OnStored = lambda _: None,
    ) -> None:
        self._receiver = receiver
        self._acker = acker
        self._quarantine = quarantine
        self._one_thread = asyncio.Lock()
        self._counters = counters
        self._settings = settings
        self._clock = clock
        self.guard = Guard(settings, clock)
        self._writer = Writer(store, counters, settings, clock, on_stored)
        self._settler = Settler(acker, counters, self._write_again)
        self._tasks: asyncio.TaskGroup | None = None
        self._writing: set[asyncio.Task[None]] = set()
        self._flights: deque[_Flight] = deque()
        self._quiet_until_s = 0.0
        self._began_s = -math.inf

    @property
    def problem(self) -> str:
        """Why nothing is stored, "" when all is well."""
        return self._writer.problem

    async def run(self, stop: asyncio.Event) -> None:
        """Store what comes until `stop` is set, and then what had come by then."""
        async with asyncio.TaskGroup() as self._tasks:
            try:
                while messages := await self._next(stop):
                    flight = await self._begin(messages)
                    if (
                        len(self._writing) >= self._settings.writes
                    ):  # checked by then: the store need not wait
                        await asyncio.wait(self._writing, return_when=asyncio.FIRST_COMPLETED)
                    self._start(self._tasks.create_task(self._store(flight)))
            finally:
                self._tasks = None

    async def take(self, messages: Sequence[Message]) -> None:
        """Return when every message is stored or set aside, and acknowledged."""
        await self._store(await self._begin(messages))

    async def _begin(self, messages: Sequence[Message]) -> _Flight:
        """Check them. One call at a time: flights leave in the order of arrival."""
        flight = _Flight(messages)
        self._flights.append(flight)
        for number, message in enumerate(messages):
            if number % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
            if message.payload:  # empty: a retained topic was cleared
                self._check(message, flight)
        self._counters.flooding = self.guard.flooding
        return flight

    def _check(self, message: Message, flight: _Flight) -> None:
        self._counters.messages += 1
        if not self.guard.admits(message):
            self._counters.throttled += 1  # its node is not told, and keeps it
            return
        try:
            flight.good.append(self.guard.check(message))
        except WireError as err:
            flight.bad.append((Refused(message, str(err)), receipt_of(message)))

    async def _store(self, flight: _Flight) -> None:
        if flight.good:
            flight.bad += await self._write(flight.good)
        if flight.bad:
            await self._set_aside(flight.bad)
        flight.landed = True
        while self._flights and self._flights[0].landed:
            self._receiver.ack(*self._flights.popleft().messages)

    async def _write(self, items: Sequence[Checked]) -> list[tuple[Refused, Receipt | None]]:
        """What the store will never take is returned."""
        self._settler.begun(items)
        written = await self._writer.write(items)
        for taken in written.taken:
            self._settler.taken(taken)
        return [(Refused(item.message, reason), item.receipt) for item, reason in written.refused]

    def _write_again(self, items: Sequence[Checked]) -> None:
        if items and self._tasks is not None:
            self._tasks.create_task(self._rewrite(items))

    async def _rewrite(self, items: Sequence[Checked]) -> None:
        written = await self._writer.write(self._settler.still_wanted(items))
        for taken in written.taken:
            self._settler.taken(taken)
        if written.refused:
            await self._set_aside([(Refused(item.message, reason), None) for item, reason in written.refused])

    async def _set_aside(self, bad: Sequence[tuple[Refused, Receipt | None]]) -> None:
        """Into the quarantine. Its nodes are acknowledged only what is there: they keep the rest.

        The broker is acknowledged either way, or its window would fill with what nobody can store.
        """
        refused = [one for one, _ in bad]
        async with self._one_thread:
            kept = await asyncio.to_thread(self._quarantine.put, refused)
            self._count_kept(kept)
        receipts = (receipt for (_, receipt), is_kept in zip(bad, kept, strict=True) if is_kept)
        self._acker.stored(receipt for receipt in receipts if receipt is not None)
        if self._clock.steady_s() >= self._quiet_until_s:
            log.warning("%d messages refused, the last: %s", len(bad), summary(refused))
            self._quiet_until_s = self._clock.steady_s() + _SAY_AGAIN_S

    def _count_kept(self, kept: Sequence[bool]) -> None:
        counters, quarantine = self._counters, self._quarantine
        counters.quarantined += sum(kept)
        counters.quarantine_errors += len(kept) - sum(kept) - (quarantine.withheld - counters.withheld)
        counters.withheld = quarantine.withheld
        counters.quarantine_dropped = quarantine.dropped

    def _start(self, task: asyncio.Task[None]) -> None:
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _next(self, stop: asyncio.Event) -> list[Message]:
        """The next messages, as soon as they may be written; none when `stop` is set and no more come."""
        while True:
            ending = stop.is_set()
            gathered_s = self._began_s + self._settings.gather_s
            gathering = bool(self._writing) or self._clock.steady_s() < gathered_s
            least = self._settings.batch if gathering and not ending else 1
            messages = await self._receive(least, gathered_s, stop)
            if messages or ending:
                self._began_s = self._clock.steady_s()
                return messages

    async def _receive(self, least: int, gathered_s: float, stop: asyncio.Event) -> list[Message]:
        """None when what it waits for happens before there are enough: a write ends, `stop` is set, or it is
        `gathered_s`."""
        receiving = asyncio.ensure_future(self._receiver.receive(self._settings.batch, least))
        others: set[asyncio.Future[Any]] = {asyncio.ensure_future(stop.wait())}
        if least > 1 and not self._writing:
            others.add(asyncio.ensure_future(self._clock.sleep_until(gathered_s)))
        try:
            if stop.is_set():
                await asyncio.wait([receiving], timeout=_QUIET_S)
            else:
                waited = {receiving, *others, *self._writing}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else []
        finally:
            for task in (receiving, *others):
                task.cancel()

"""From the broker to the store: check, write, and only then acknowledge."""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Protocol

from thermogate.collector.acks import Acker
from thermogate.collector.checking import Checked, Receipt, check, receipt_of
from thermogate.collector.config import CollectorSettings
from thermogate.collector.counters import Counters
from thermogate.collector.quarantine import Quarantine, Refused, summary
from thermogate.collector.store.base import Batch, Store, ThrottledError
from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision
from thermogate.core.errors import RejectedError, StoreError, WireError
from thermogate.core.model import Event, Status
from thermogate.core.mqtt import Message

log = logging.getLogger(__name__)

_QUIET_S = 0.1
"""Nothing for this long after `stop`: what was on its way has come."""
_SAY_AGAIN_S = 60.0


class Receiver(Protocol):
    """The part of `core.mqtt.MqttClient` that messages come from."""

    async def receive(self, limit: int) -> list[Message]:
        """Between 1 and `limit` messages, as soon as there is one."""
        ...

    def ack(self, message: Message) -> None:
        """The broker may forget the message and send the next."""
        ...


class Ingest:
    """Takes what has come while the last write ran as the next batch, so that load makes batches bigger.

    The broker is acknowledged only what is stored or in quarantine, hence its window bounds what is
    held here. A store that fails is tried for ever; a message that it will never take is set aside
    alone.
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
    ) -> None:
        self._receiver = receiver
        self._store = store
        self._acker = acker
        self._quarantine = quarantine
        self._counters = counters
        self._settings = settings
        self._clock = clock
        self._failing_since_s: float | None = None
        self._quiet_until_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Store what comes until `stop` is set, and then what had come by then."""
        while messages := await self._next(stop):
            await self.take(messages)

    async def take(self, messages: Sequence[Message]) -> None:
        """Return when every message is stored or set aside, and acknowledged."""
        good: list[Checked] = []
        bad: list[tuple[Refused, Receipt | None]] = []
        for message in messages:
            if not message.payload:
                self._receiver.ack(message)  # a retained topic was cleared
                continue
            self._counters.messages += 1
            try:
                good.append(check(message))
            except WireError as err:
                bad.append((Refused(message, str(err)), receipt_of(message)))
        if good:
            bad += await self._keep(good)
        if bad:
            await self._set_aside(bad)

    async def _keep(self, items: Sequence[Checked]) -> list[tuple[Refused, Receipt | None]]:
        """Store and acknowledge the items; what the store will never take is returned.

        A store that refuses a batch does not say which message it means: each is then tried alone.
        """
        try:
            await self._write(items)
        except RejectedError as err:
            if len(items) == 1:
                return [(Refused(items[0].message, str(err)), items[0].receipt)]
            return [bad for item in items for bad in await self._keep([item])]
        self._done([item.message for item in items], [item.receipt for item in items])
        return []

    async def _write(self, items: Sequence[Checked]) -> None:
        """Write until the store has it. Raises RejectedError."""
        batch = _batch(items)
        wait_s = self._settings.retry_min_s
        while True:
            try:
                await self._store.write(batch)
            except RejectedError:
                self._recovered()
                raise
            except StoreError as err:
                self._failed(err)
                least_s = err.retry_after_s if isinstance(err, ThrottledError) else 0.0
                pause_s = max(least_s, wait_s * random.uniform(0.5, 1))
                await self._clock.sleep_until(self._clock.steady_s() + pause_s)
                wait_s = min(2 * wait_s, self._settings.retry_max_s)
            else:
                self._recovered()
                self._count(batch)
                return

    async def _set_aside(self, bad: Sequence[tuple[Refused, Receipt | None]]) -> None:
        """Into the quarantine. Its nodes are acknowledged only what is there: they keep the rest.

        The broker is acknowledged either way, or its window would fill with what nobody can store.
        """
        refused = [one for one, _ in bad]
        kept = await asyncio.to_thread(self._quarantine.put, refused)
        self._done([one.message for one in refused], [receipt for _, receipt in bad] if kept else [])
        if kept:
            self._counters.quarantined += len(bad)
        else:
            self._counters.quarantine_errors += len(bad)
        self._counters.quarantine_dropped = self._quarantine.dropped
        if self._clock.steady_s() >= self._quiet_until_s:
            log.warning("%d messages refused, the last: %s", len(bad), summary(refused))
            self._quiet_until_s = self._clock.steady_s() + _SAY_AGAIN_S

    def _done(self, messages: Sequence[Message], receipts: Sequence[Receipt | None]) -> None:
        for message in messages:
            self._receiver.ack(message)
        self._acker.stored(receipt for receipt in receipts if receipt is not None)

    async def _next(self, stop: asyncio.Event) -> list[Message]:
        """The next messages; none when `stop` is set and no more come."""
        receiving = asyncio.ensure_future(self._receiver.receive(self._settings.batch))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([receiving, stopping], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([receiving], timeout=_QUIET_S)
            return receiving.result() if receiving.done() else []
        finally:
            for task in (receiving, stopping):
                task.cancel()

    def _failed(self, err: StoreError) -> None:
        self._counters.store_errors += 1
        if self._failing_since_s is None:
            self._failing_since_s = self._clock.steady_s()
            log.error("the store does not take samples, which stay with their nodes: %s", err)

    def _recovered(self) -> None:
        if self._failing_since_s is not None:
            log.info(
                "the store takes samples again after %.0f s", self._clock.steady_s() - self._failing_since_s
            )
            self._failing_since_s = None

    def _count(self, batch: Batch) -> None:
        self._counters.batches += 1
        self._counters.samples += sum(payload.count(b"\n") - 1 for payload in batch.telemetry)
        self._counters.events += len(batch.events)
        self._counters.decisions += len(batch.decisions)
        self._counters.statuses += len(batch.statuses)


def _batch(items: Sequence[Checked]) -> Batch:
    contents = [item.content for item in items]
    return Batch(
        telemetry=tuple(one for one in contents if isinstance(one, bytes)),
        events=tuple(one for one in contents if isinstance(one, Event)),
        decisions=tuple(one for one in contents if isinstance(one, GateDecision)),
        statuses=tuple(one for one in contents if isinstance(one, Status)),
    )

"""Into the store: tried again while it fails, and split until only what it never takes is left out."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from thermogate.collector.checking import Checked
from thermogate.collector.config import CollectorSettings
from thermogate.collector.counters import Counters
from thermogate.collector.said import SignalLines
from thermogate.collector.store.base import Batch, Settling, Store, ThrottledError
from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision
from thermogate.core.errors import RejectedError, StoreError
from thermogate.core.model import Event, Status

log = logging.getLogger(__name__)

_HANGS_S = 45.0
"""Longer than any request to a database may take (collector.victoria.timeout_s): it is a thread or a disk."""

OnStored = Callable[[Batch], None]
"""Told what the store has taken, before anybody is acknowledged."""


class Taken(NamedTuple):
    """What the store took in one write, and what tells when it is past any crash; None: it is already."""

    items: Sequence[Checked]
    settling: Settling | None


class Written(NamedTuple):
    """What became of some items: each is in one of the two."""

    taken: list[Taken]
    refused: list[tuple[Checked, str]]
    """With what the store said."""


class Writer:
    """Writes until the store has everything but what it will never take. Any number of calls at a time.

    Statuses of one node stay in their order, also where a batch is split; and one call at a time writes
    statuses, in the order of the calls, so that none is overtaken by an older one.
    """

    def __init__(
        self,
        store: Store,
        counters: Counters,
        settings: CollectorSettings,
        clock: Clock,
        on_stored: OnStored = lambda _: None,
    ) -> None:
        self._store = store
        self._on_stored = on_stored
        self._counters = counters
        self._settings = settings
        self._clock = clock
        self._statuses = asyncio.Lock()
        self._in_line = 0  # calls with statuses: the lock itself does not know of one that is about to wait
        self._failing_since_s: float | None = None
        self._asked_s: dict[int, float] = {}
        self._asked_count = 0

    @property
    def problem(self) -> str:
        """Why nothing is stored, "" when all is well: the store fails, or one call of it does not return."""
        now_s = self._clock.steady_s()
        if self._failing_since_s is not None:
            return f"the store does not take samples, for {now_s - self._failing_since_s:.0f} s"
        asked_s = min(self._asked_s.values(), default=now_s)
        return f"the store has not answered for {now_s - asked_s:.0f} s" if now_s - asked_s > _HANGS_S else ""

    async def write(self, items: Sequence[Checked]) -> Written:
        """Return when every item is taken or refused for good."""
        found = Written([], [])
        statuses = [item for item in items if isinstance(item.content, Status)]
        if not items:
            return found
        if not statuses:
            await self._write(items, found)
            return found
        self._in_line += 1
        try:
            if self._in_line == 1:
                await self._in_turn(items, found)
            else:  # the rest need not wait for the turn
                rest = [item for item in items if not isinstance(item.content, Status)]
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._in_turn(statuses, found))
                    if rest:
                        both.create_task(self._write(rest, found))
        finally:
            self._in_line -= 1
        return found

    async def _in_turn(self, items: Sequence[Checked], found: Written) -> None:
        async with self._statuses:
            await self._write(items, found)

    async def _write(self, items: Sequence[Checked], found: Written) -> bool:
        """Whether all were taken. A store that refuses a batch does not say which message it means."""
        try:
            settling = await self._until_taken(items)
        except RejectedError as err:
            if len(items) == 1:
                found.refused.append((items[0], str(err)))
            else:  # what is wrong with one message of a node is often wrong with its next
                await self._split(sorted(items, key=lambda item: item.message.topic), found)
            return False
        found.taken.append(Taken(items, settling))
        return True

    async def _split(self, items: Sequence[Checked], found: Written) -> None:
        """Write the halves of items that were refused together."""
        middle = len(items) // 2
        first, second = items[:middle], items[middle:]
        if await self._write(first, found) and len(second) > 1:
            await self._split(second, found)  # it is there
        else:
            await self._write(second, found)

    async def _until_taken(self, items: Sequence[Checked]) -> Settling | None:
        """Write until the store has it. Raises RejectedError."""
        batch = _batch(items)
        wait_s = self._settings.retry_min_s
        while True:
            try:
                settling = await self._ask(batch)
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
                self._on_stored(batch)
                return settling

    async def _ask(self, batch: Batch) -> Settling | None:
        self._asked_count = number = self._asked_count + 1
        self._asked_s[number] = self._clock.steady_s()
        try:
            return await self._store.write(batch)
        finally:
            del self._asked_s[number]

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
        telemetry=tuple(_payloads(contents)),
        events=tuple(one for one in contents if isinstance(one, Event)),
        decisions=tuple(one for one in contents if isinstance(one, GateDecision)),
        statuses=tuple(one for one in contents if isinstance(one, Status)),
    )


def _payloads(contents: Sequence[object]) -> Iterator[bytes]:
    """Telemetry, and signals as it."""
    for one in contents:
        if isinstance(one, bytes):
            yield one
        elif isinstance(one, SignalLines) and one.payload:
            yield one.payload

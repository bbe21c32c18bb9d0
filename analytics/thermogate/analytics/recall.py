"""What the gate knew before a restart, from the store: samples, events and decisions of a while ago."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from thermogate.analytics.config import RecallSettings
from thermogate.analytics.engine import Engine
from thermogate.analytics.shard import Shard
from thermogate.core.clock import NS, Clock
from thermogate.core.decision import GateDecision
from thermogate.core.errors import StoreError, UnavailableError
from thermogate.core.model import Event, EventKind, Status
from thermogate.core.wire import Point


class Past(Protocol):
    """What a store remembers; the part of `core.query.Query` that is asked here."""

    async def statuses(self) -> list[Status]: ...
    async def events(
        self, *, start_ns: int, end_ns: int, kinds: Sequence[EventKind], limit: int
    ) -> list[Event]: ...
    async def decisions(self, *, start_ns: int, end_ns: int, limit: int) -> list[GateDecision]: ...
    def samples(self, *, start_ns: int, end_ns: int, node: str) -> AsyncIterator[list[Point]]: ...


log = logging.getLogger(__name__)

_KINDS: tuple[EventKind, ...] = (
    "job_began",
    "job_ended",
    "xid",
    "gpu_lost",
    "gpu_back",
    "driver_hung",
    "driver_back",
)
"""What lasts longer than the samples that are read."""
_MOST = 10_000
"""Rows of one answer, as the HTTP API gives."""


async def recall(engine: Engine, past: Past, shard: Shard, settings: RecallSettings, clock: Clock) -> int:
    """Bring the engine up to date, and return of how many nodes samples were read.

    What cannot be read within `most_s` is left out, and said: the retained decisions still tell what is held.
    """
    engine.learn(on=True)
    nodes = 0
    try:
        async with asyncio.timeout(settings.most_s):
            nodes = await _recall(engine, past, shard, settings, clock.utc_ns())
    except TimeoutError:
        log.warning("the store took over %g s: some nodes begin without a past", settings.most_s)
    except (StoreError, UnavailableError) as err:
        log.warning("the store cannot be asked, nodes begin without a past: %s", err)
    finally:
        engine.learn(on=False)
    return nodes


async def _recall(engine: Engine, past: Past, shard: Shard, settings: RecallSettings, now_ns: int) -> int:
    start_ns = now_ns - int(settings.events_s * NS)
    statuses = [status for status in await past.statuses() if shard.owns(status.node)]
    for status in statuses:
        engine.on_status(status)
    events = await past.events(start_ns=start_ns, end_ns=now_ns, kinds=_KINDS, limit=_MOST)
    mine = [event for event in reversed(events) if shard.owns(event.node)]
    decisions = await past.decisions(start_ns=now_ns - 3600 * NS, end_ns=now_ns, limit=_MOST)
    engine.on_history(reversed(decisions))
    samples_ns = now_ns - int(settings.samples_s * NS)
    for event in mine:
        if event.time_ns < samples_ns:
            engine.on_event(event)
    nodes = 0
    for status in statuses:
        stamps: dict[int, list[Point]] = defaultdict(list)
        async for chunk in past.samples(start_ns=samples_ns, end_ns=now_ns, node=status.node):
            for point in chunk:
                stamps[point.time_ns].append(point)
        for time_ns in sorted(stamps):
            engine.on_points(status.node, stamps[time_ns])
        nodes += bool(stamps)
        await asyncio.sleep(0)
    for event in mine:
        if event.time_ns >= samples_ns:
            engine.on_event(event)
    return nodes

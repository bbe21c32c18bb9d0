"""Live sensors on a fixed grid: every source read at once, none waited for beyond its tick."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from thermogate.agent.feed import Tick
from thermogate.agent.sources.base import Reading, Source, SourceEvent
from thermogate.agent.sources.worker import Worker
from thermogate.core.clock import Clock
from thermogate.core.errors import SourceError
from thermogate.core.model import DeviceInfo, Event, Origin, SourceReport

log = logging.getLogger(__name__)

_LATE_SHARE = 0.1
"""A tick that begins later than this share of the period is counted as late (schema: late_count)."""
_READ_SHARE = 0.8
"""Share of a period that sources may take; what comes later is absent from the tick."""

T = TypeVar("T")
_Answer = tuple[list[Reading], list[SourceEvent]]


class Sampler:
    """The feed of a node's own sensors.

    Ticks stand on absolute deadlines: a late tick is counted, a missed one is skipped and counted,
    and the grid never drifts. A source that has not answered its last tick is not asked again.
    """

    def __init__(self, node: str, sources: Sequence[Source], *, period_s: float, clock: Clock) -> None:
        self.node = node
        self.origin: Origin | None = None
        self._sources = sources
        self._period_s = period_s
        self._clock = clock
        self._reports: tuple[SourceReport, ...] = ()
        self._pending: dict[str, asyncio.Future[_Answer]] = {}
        self._failing: set[str] = set()
        self._counters = {"ticks_count": 0, "late_count": 0, "skipped_count": 0}
        # A thread a source: one that hangs takes no other's place and holds up no exit.
        self._workers = {source.name: Worker[Any](source.name) for source in sources}

    async def open(self) -> None:
        """Open every source. None of them failing is fatal: each says what it found."""
        opened = [self._run(source.name, source.open) for source in self._sources]
        self._reports = tuple(await asyncio.gather(*opened))

    def reports(self) -> tuple[SourceReport, ...]:
        """What each source found, in the order of the sources."""
        return self._reports

    def devices(self) -> tuple[DeviceInfo, ...]:
        """All devices of all sources."""
        return tuple(device for source in self._sources for device in source.devices)

    def counters(self) -> dict[str, int]:
        """Ticks done, late and skipped."""
        return dict(self._counters)

    async def ticks(self) -> AsyncIterator[Tick]:
        """One tick a period, for ever."""
        period_s = self._period_s
        start_s = self._clock.steady_s()
        number = 0
        while True:
            await self._clock.sleep_until(start_s + number * period_s)
            behind_s = self._clock.steady_s() - (start_s + number * period_s)
            missed = int(behind_s / period_s)
            number += missed
            self._counters["skipped_count"] += missed
            self._counters["ticks_count"] += 1
            self._counters["late_count"] += behind_s - missed * period_s > _LATE_SHARE * period_s
            yield await self._read()
            number += 1

    async def close(self) -> None:
        """Close the sources that answer; one that hangs is left behind with its thread."""
        for source in self._sources:
            if source.name not in self._pending:
                source.close()
            self._workers[source.name].stop()

    async def _read(self) -> Tick:
        time_ns, elapsed_s = self._clock.utc_ns(), self._clock.steady_s()
        for source in self._sources:
            if source.name not in self._pending:
                self._pending[source.name] = self._run(source.name, source.read)
        if self._pending:
            await asyncio.wait(self._pending.values(), timeout=_READ_SHARE * self._period_s)
        readings: list[Reading] = []
        events: list[Event] = []
        for source in self._sources:
            future = self._pending.get(source.name)
            if future is None or not future.done():
                continue
            del self._pending[source.name]
            answer, said = self._answer(source.name, future, time_ns)
            events += said
            readings += answer[0]
            events += [self._event(event, time_ns) for event in answer[1]]
        return Tick(time_ns, elapsed_s, tuple(readings), tuple(events))

    def _run(self, name: str, job: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.wrap_future(self._workers[name].submit(job))

    def _answer(
        self, name: str, future: asyncio.Future[_Answer], time_ns: int
    ) -> tuple[_Answer, list[Event]]:
        """What the source answered, and an event when it begins or ceases to fail."""
        try:
            answer = future.result()
        except SourceError as err:
            if name in self._failing:
                return ([], []), []
            self._failing.add(name)
            log.warning("source %s: %s", name, err)
            text = f"{name} gives nothing: {err}"
            return ([], []), [Event(node=self.node, event="source_failed", time_ns=time_ns, text=text)]
        if name not in self._failing:
            return answer, []
        self._failing.remove(name)
        log.info("source %s works again", name)
        text = f"{name} works again"
        return answer, [Event(node=self.node, event="source_back", time_ns=time_ns, text=text)]

    def _event(self, event: SourceEvent, time_ns: int) -> Event:
        return Event(
            node=self.node,
            event=event.event,
            time_ns=time_ns,
            text=event.text,
            device_kind=event.kind,
            device=event.device,
            data=event.data,
        )

"""A store in memory, for tests of what writes to one. It passes the same contract suite as the real ones."""

import bisect
from types import TracebackType
from typing import Self

from tests.fake_query import FakeQuery
from thermogate.collector.store.base import DAY_NS, Batch
from thermogate.core.clock import Clock
from thermogate.core.errors import RejectedError, StoreError
from thermogate.core.wire import Point, parse_points


class MemoryStore(FakeQuery):
    """`fail` holds what the next writes raise, first one first; `batches` what was stored."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.fail: list[StoreError] = []
        self.batches: list[Batch] = []
        self._clock = clock

    @property
    def description(self) -> str:
        return "memory"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def write(self, batch: Batch) -> None:
        if self.fail:
            raise self.fail.pop(0)
        points = [point for payload in batch.telemetry for point in parse_points(payload)]
        if any(point.time_ns >= 2**63 for point in points):
            raise RejectedError("no such time", stored=False)
        for point in points:
            self._put(point)
        self._put_messages(batch)
        self.batches.append(batch)

    async def latest(self) -> list[Point]:
        since_ns = self._clock.utc_ns() - DAY_NS
        return [point for point in await super().latest() if point.time_ns >= since_ns]

    def _put(self, point: Point) -> None:
        points = self.points[point.measurement, point.node, point.device]
        place = bisect.bisect_left(points, point.time_ns, key=lambda one: one.time_ns)
        if place == len(points) or points[place].time_ns != point.time_ns:
            points.insert(place, point)

    def _put_messages(self, batch: Batch) -> None:
        events = {(e.node, e.device_kind, e.device, e.event, e.time_ns): e for e in batch.events}
        stored = {(e.node, e.device_kind, e.device, e.event, e.time_ns) for e in self.event_list}
        self.event_list += [event for key, event in events.items() if key not in stored]
        known = {decision.id for decision in self.decision_list}
        self.decision_list += {d.id: d for d in batch.decisions if d.id not in known}.values()
        self.status |= {status.node: status for status in batch.statuses}

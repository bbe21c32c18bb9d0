"""The newest status of each node and decision of each target: in memory, and what other collectors add to it.

To find the last of each in the store is a search through all its days; so that is done once and then
every hour, and between for what was written lately.
"""
# ruff: noqa: S608 - names of ours, the rest are integers

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import msgspec

from thermogate.collector.store.base import DAY_NS
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_text import identifier, messages
from thermogate.collector.store.resolution import Kept
from thermogate.core.clock import NS, Clock
from thermogate.core.decision import GateDecision
from thermogate.core.model import Status

_FRESH_S = 1.0
_LATELY_NS = 3600 * NS
"""What other collectors write late is seen at once up to this, and else at the next whole search."""
_SEARCH_S = 3600.0

T = TypeVar("T", bound=msgspec.Struct)
Target = tuple[str, str]


class Messages:
    """What has been written since the start, and what an open `InfluxHttp` knows besides."""

    def __init__(self, http: InfluxHttp, kept: Kept, clock: Clock) -> None:
        self._gates = _Last[GateDecision](
            http,
            kept,
            clock,
            "decision",
            ("kind", "target"),
            GateDecision,
            lambda one: (one.kind, one.target),
        )
        self._statuses = _Last[Status](
            http, kept, clock, "status", ("node",), Status, lambda one: (one.node, "")
        )

    def see(self, decisions: Iterable[GateDecision], statuses: Iterable[Status], now_ns: int) -> None:
        """Learn what has been stored: decisions by the stamp of their issue, statuses by that of now."""
        for decision in decisions:
            self._gates.see(decision, decision.issued_at_ns)
        for status in statuses:
            self._statuses.see(status, now_ns)

    def forget(self) -> None:
        """The database may not be the one that it was."""
        self._gates.forget()
        self._statuses.forget()

    async def gates(self) -> list[GateDecision]:
        """As `Query.gates`."""
        return await self._gates.all()

    async def statuses(self) -> list[Status]:
        """As `Query.statuses`."""
        return await self._statuses.all()


class _Last(Generic[T]):
    """The message with the newest stamp of each target."""

    def __init__(
        self,
        http: InfluxHttp,
        kept: Kept,
        clock: Clock,
        table: str,
        tags: tuple[str, ...],
        of: type[T],
        target: Callable[[T], Target],
    ) -> None:
        self._http = http
        self._kept = kept
        self._clock = clock
        self._table = table
        self._tags = tags
        self._of = of
        self._target = target
        self._known: dict[Target, tuple[int, T]] = {}
        self._fresh_until_s = 0.0
        self._search_at_s = 0.0

    def see(self, message: T, time_ns: int) -> None:
        target = self._target(message)
        known = self._known.get(target)
        if known is None or time_ns >= known[0]:
            self._known[target] = (time_ns, message)

    def forget(self) -> None:
        self._known = {}
        self._fresh_until_s = self._search_at_s = 0.0

    async def all(self) -> list[T]:
        now_s = self._clock.steady_s()
        if now_s >= self._search_at_s:
            await self._ask(self._kept.raw_ns)
            self._search_at_s = now_s + _SEARCH_S
        elif now_s >= self._fresh_until_s:
            await self._ask(_LATELY_NS)
        else:
            return self._sorted()
        self._fresh_until_s = now_s + _FRESH_S
        return self._sorted()

    def _sorted(self) -> list[T]:
        oldest_ns = self._clock.utc_ns() - self._kept.raw_ns
        self._known = {target: one for target, one in self._known.items() if one[0] >= oldest_ns}
        return [self._known[target][1] for target in sorted(self._known)]

    async def _ask(self, back_ns: int) -> None:
        now_ns = self._clock.utc_ns()
        groups = ", ".join(map(identifier, self._tags))
        answer = await self._http.query(
            f'SELECT last("json") FROM {identifier(self._table)} '
            f"WHERE time >= {now_ns - back_ns} AND time < {now_ns + DAY_NS} GROUP BY {groups}"
        )
        for series in answer:
            for message in messages([series], self._of):
                self.see(message, series.values[0][0])

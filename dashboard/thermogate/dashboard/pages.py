"""Answers in pages: what a cursor leads to, stable while rows come and go."""

import sys

from thermogate.core.decision import GateDecision
from thermogate.core.model import Event, Status
from thermogate.core.query import Ranked
from thermogate.core.schema import Kind
from thermogate.dashboard import fleet, paging, rankings
from thermogate.dashboard.answers import Answers, check_range
from thermogate.dashboard.fleet import FleetRow
from thermogate.dashboard.paging import Page
from thermogate.dashboard.rankings import Ranking

_EventKey = tuple[int, str, str, str, str]
_DecisionKey = tuple[int, int, str]
_RankedKey = tuple[float, str, str]


class Pages:
    """Over one `Answers`; raises as it does, and ConfigError for a cursor that is not one of these."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def fleet(
        self, which: fleet.Filter, order: fleet.Order, limit: int | None, cursor: str | None
    ) -> Page[FleetRow]:
        """The rows that `which` lets through; without a limit all of them."""
        asked = paging.question(("fleet", which, order), 0, 0, limit or sys.maxsize, cursor)
        after: fleet.Place | None = asked.after(fleet.Place)
        rows = [row for row in await self._answers.fleet() if which.passes(row)]
        if order == "place":
            rows.sort(key=lambda row: fleet.sort_key(fleet.place(row), order))
        if after is not None:
            last = fleet.sort_key(after, order)
            rows = [row for row in rows if fleet.sort_key(fleet.place(row), order) > last]
        return paging.page(rows, asked, fleet.place)

    async def nodes(self, limit: int | None, cursor: str | None) -> Page[Status]:
        """The newest status of each node, in natural order; without a limit all of them."""
        asked = paging.question(("nodes",), 0, 0, limit or sys.maxsize, cursor)
        after: tuple[str] | None = asked.after(tuple[str])
        found = await self._answers.nodes()
        if after is not None:
            last = fleet.by_name(after[0])
            found = [status for status in found if fleet.by_name(status.node) > last]
        return paging.page(found, asked, lambda status: (status.node,))

    async def top(
        self, kind: Kind, ranking: Ranking, start_ns: int, end_ns: int, limit: int, cursor: str | None
    ) -> Page[Ranked]:
        """Devices in the order of a ranking over the range of the first page."""
        name = ("top", kind, ranking.field, ranking.by, ranking.largest)
        asked = paging.question(name, start_ns, end_ns, limit, cursor)
        after: _RankedKey | None = asked.after(_RankedKey)

        def key(one: Ranked) -> _RankedKey:
            return rankings.order(one, largest=ranking.largest)

        # After the first page all are asked for: late samples may have moved some of them.
        most = limit + 1 if after is None else self._answers.settings.ranking_devices
        found = await self._answers.ranked(kind, ranking, asked.start_ns, asked.end_ns, most)
        return paging.page([one for one in found if after is None or key(one) > after], asked, key)

    async def events(
        self, start_ns: int, end_ns: int, node: str | None, limit: int, cursor: str | None
    ) -> Page[Event]:
        """Newest first; what arrives meanwhile moves no row from one page to another."""
        asked = paging.question(("events", node), start_ns, end_ns, limit, cursor)
        check_range(asked.start_ns, asked.end_ns)
        after: _EventKey | None = asked.after(_EventKey)

        async def read(before_ns: int, most: int) -> list[Event]:
            return await self._answers.events(asked.start_ns, before_ns, node, most)

        rows = await paging.newest_first(read, asked, after, _event_key)
        return paging.page(rows, asked, _event_key)

    async def decisions(
        self, start_ns: int, end_ns: int, target: str | None, limit: int, cursor: str | None
    ) -> Page[GateDecision]:
        """Newest first, as events."""
        asked = paging.question(("decisions", target), start_ns, end_ns, limit, cursor)
        check_range(asked.start_ns, asked.end_ns)
        after: _DecisionKey | None = asked.after(_DecisionKey)

        async def read(before_ns: int, most: int) -> list[GateDecision]:
            return await self._answers.decisions(asked.start_ns, before_ns, target, most)

        rows = await paging.newest_first(read, asked, after, _decision_key)
        return paging.page(rows, asked, _decision_key)


def _event_key(event: Event) -> _EventKey:
    return -event.time_ns, event.node, event.device_kind, event.device, event.event


def _decision_key(decision: GateDecision) -> _DecisionKey:
    return -decision.issued_at_ns, -decision.seq, decision.id

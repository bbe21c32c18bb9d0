"""What the gate remembers after a restart, asked of a collector over HTTP."""

import csv
from collections.abc import AsyncIterator, Sequence
from itertools import islice

from thermogate.cli.remote import Remote
from thermogate.core.decision import GateDecision
from thermogate.core.model import Event, EventKind, Status
from thermogate.core.wire import Point
from thermogate.dashboard.export import IDENTITY
from thermogate.dashboard.times import parse_time

_CHUNK = 1000
_PAGE = 10_000
"""Rows of one answer, as the HTTP API gives at most."""


class RemotePast:
    """`analytics.recall.Past` over the HTTP API. Raises UnavailableError with the cause."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    async def statuses(self) -> list[Status]:
        """The newest status of each node."""
        return await self._remote.nodes()

    async def events(
        self, *, start_ns: int, end_ns: int, kinds: Sequence[EventKind], limit: int
    ) -> list[Event]:
        """Newest first; of these kinds. The API cannot be asked for kinds: pages are read until enough."""
        found: dict[tuple[object, ...], Event] = {}
        while len(found) < limit:
            page = await self._remote.events(start_ns=start_ns, end_ns=end_ns, limit=_PAGE)
            found |= {_key(event): event for event in page if event.event in kinds}
            if len(page) < _PAGE or page[-1].time_ns + 1 >= end_ns:
                break
            end_ns = page[-1].time_ns + 1  # others of that instant may be on the next page
        return list(found.values())[:limit]

    async def decisions(self, *, start_ns: int, end_ns: int, limit: int) -> list[GateDecision]:
        """Newest first."""
        return await self._remote.decisions(start_ns=start_ns, end_ns=end_ns, limit=limit)

    async def samples(self, *, start_ns: int, end_ns: int, node: str) -> AsyncIterator[list[Point]]:
        """Every sample of a node in the range."""
        rest, header = "", None
        async for text in self._remote.export(start_ns=start_ns, end_ns=end_ns, node=node):
            *lines, rest = (rest + text).split("\n")
            if header is None and lines:
                header, *lines = lines
            if header is not None:
                rows = csv.DictReader([header, *lines])
                while chunk := [_point(row) for row in islice(rows, _CHUNK)]:
                    yield chunk


def _key(event: Event) -> tuple[object, ...]:
    return event.node, event.device_kind, event.device, event.event, event.time_ns


def _point(row: dict[str, str]) -> Point:
    fields = {name: float(cell) for name, cell in row.items() if cell and name not in IDENTITY}
    return Point(
        row["kind"],
        row["node"],
        row["device"],
        row["model"],
        row["origin"],
        fields,
        parse_time(row["time"], 0),
    )

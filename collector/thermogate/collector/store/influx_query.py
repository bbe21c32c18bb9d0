"""Questions to InfluxDB in InfluxQL, the query language that 1.x, 2.x and 3.x all answer."""
# ruff: noqa: S608 - names go through identifier(), texts through literal(), the rest are integers

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from thermogate.collector.store import influx_usage
from thermogate.collector.store.base import matching_kinds
from thermogate.collector.store.covers import Covers, having
from thermogate.collector.store.influx_answers import Series as HttpSeries
from thermogate.collector.store.influx_covered import Coverage
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_messages import Messages
from thermogate.collector.store.influx_newest import NewestSamples
from thermogate.collector.store.influx_rollup import nodes
from thermogate.collector.store.influx_series import Steps, is_rolled, steps
from thermogate.collector.store.influx_text import identifier, literal, may_be_field, messages, points
from thermogate.collector.store.influx_top import Ranking
from thermogate.collector.store.resolution import Kept, Piece, pieces
from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision
from thermogate.core.model import Event, EventKind, Status
from thermogate.core.query import Device, DeviceTime, Ranked, Reduction, Series, Usage
from thermogate.core.schema import Kind
from thermogate.core.wire import Point

_CHUNK_ROWS = 5000


class InfluxQuery:
    """`Query` over an open `InfluxHttp`."""

    def __init__(self, http: InfluxHttp, kept: Kept, clock: Clock) -> None:
        self._http = http
        self._kept = kept
        self._clock = clock
        self._coverage = Coverage(http, kept, clock)
        self._newest = NewestSamples(http, clock)
        self._messages = Messages(http, kept, clock)

    async def latest(self) -> list[Point]:
        """As `Query.latest`."""
        return await self._newest.latest()

    async def series(
        self, device: Device, fields: tuple[str, ...], *, start_ns: int, end_ns: int, step_ns: int
    ) -> list[Series]:
        """As `Query.series`."""
        asked = [field for field in dict.fromkeys(fields) if may_be_field(field)]
        covers = await self._coverage.known()
        together: dict[tuple[Piece, ...], list[str]] = {}
        for field in asked:
            chosen = self._pieces(covers, device.kind, field, start_ns, end_ns, step_ns)
            together.setdefault(tuple(chosen), []).append(field)
        found: Steps = {}
        for some, fields_there in together.items():
            found |= await steps(self._http, device, fields_there, some, step_ns)
        return [
            Series(device, field, tuple(found[field][begin_ns] for begin_ns in sorted(found[field])))
            for field in asked
            if found[field]
        ]

    async def top(
        self,
        kind: Kind,
        field: str,
        *,
        start_ns: int,
        end_ns: int,
        limit: int,
        by: Reduction = "mean",
        largest: bool = True,
    ) -> list[Ranked]:
        """As `Query.top`."""
        if not may_be_field(field):
            return []
        chosen = self._pieces(await self._coverage.known(), kind, field, start_ns, end_ns, None)
        return await Ranking(self._http, kind, field, by, largest=largest).top(
            chosen, limit, self._newest.known
        )

    async def usage(self, times: Sequence[DeviceTime]) -> list[Usage | None]:
        """As `Query.usage`. Of a time whose samples are gone, its ends are those of its windows."""
        covers = await self._coverage.known()

        def cut(kind: Kind, start_ns: int, end_ns: int) -> list[Piece]:
            return self._cut(covers, influx_usage.fields(kind), start_ns, end_ns, None)

        return await influx_usage.usage(self._http, times, cut)

    async def events(
        self,
        *,
        start_ns: int,
        end_ns: int,
        node: str | None = None,
        without: Sequence[str] = (),
        kinds: Sequence[EventKind] = (),
        limit: int = 1000,
    ) -> list[Event]:
        """As `Query.events`."""
        where = _within(start_ns, end_ns) + _is("node", node)
        where += "".join(f' AND "node" != {literal(name)}' for name in without)
        if kinds:
            where += " AND (" + " OR ".join(f'"event" = {literal(kind)}' for kind in kinds) + ")"
        return messages(await self._ordered("event", where, limit), Event)

    async def gates(self) -> list[GateDecision]:
        """As `Query.gates`."""
        return await self._messages.gates()

    async def decisions(
        self, *, start_ns: int, end_ns: int, target: str | None = None, limit: int = 1000
    ) -> list[GateDecision]:
        """As `Query.decisions`."""
        where = _within(start_ns, end_ns) + _is("target", target)
        return messages(await self._ordered("decision", where, limit), GateDecision)

    async def statuses(self) -> list[Status]:
        """As `Query.statuses`."""
        return await self._messages.statuses()

    async def samples(
        self, *, start_ns: int, end_ns: int, node: str | None = None, device: str | None = None
    ) -> AsyncIterator[list[Point]]:
        """As `Query.samples`. A node at a time, because InfluxQL sorts by device before node."""
        for kind, number in matching_kinds(device):
            where = _within(start_ns, end_ns)
            if number is not None:
                where += f' AND "device" = {literal(number)}'
            for its_node in await nodes(self._http, kind) if node is None else [node]:
                pieces = self._http.chunks(
                    f'SELECT * FROM {identifier(kind)} WHERE {where} AND "node" = {literal(its_node)} '
                    'GROUP BY "device"',
                    rows=_CHUNK_ROWS,
                )
                async with aclosing(pieces):
                    async for piece in pieces:
                        yield points(piece)

    def _pieces(
        self, covers: Covers | None, kind: Kind, field: str, start_ns: int, end_ns: int, step_ns: int | None
    ) -> list[Piece]:
        if not is_rolled(kind, field):
            return [Piece(None, start_ns, end_ns)]
        return self._cut(covers, (field,), start_ns, end_ns, step_ns)

    def _cut(
        self, covers: Covers | None, fields: Sequence[str], start_ns: int, end_ns: int, step_ns: int | None
    ) -> list[Piece]:
        if covers is None:
            return [Piece(None, start_ns, end_ns)]
        covered, now_ns = having(covers, fields), self._clock.utc_ns()
        return pieces(start_ns, end_ns, step_ns, kept=self._kept, now_ns=now_ns, covered=covered)

    async def _ordered(self, measurement: str, where: str, limit: int) -> list[HttpSeries]:
        return await self._http.query(
            f'SELECT "json" FROM {identifier(measurement)} WHERE {where} ORDER BY time DESC LIMIT {limit}'
        )


def _within(start_ns: int, end_ns: int) -> str:
    return f"time >= {start_ns} AND time < {end_ns}"


def _is(tag: str, value: str | None) -> str:
    return "" if value is None else f" AND {identifier(tag)} = {literal(value)}"

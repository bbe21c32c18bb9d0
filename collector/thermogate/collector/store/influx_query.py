"""Questions to InfluxDB in InfluxQL, the query language that 1.x, 2.x and 3.x all answer."""
# ruff: noqa: S608 - names go through identifier(), texts through literal(), the rest are integers

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from thermogate.collector.store import influx_usage
from thermogate.collector.store.base import DAY_NS, matching_kinds
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_http import Series as HttpSeries
from thermogate.collector.store.influx_text import identifier, literal, messages, points
from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision
from thermogate.core.model import Event, EventKind, Status
from thermogate.core.query import Device, DeviceTime, Ranked, Reduction, Series, SeriesPoint, Usage
from thermogate.core.schema import MEASUREMENTS, Kind
from thermogate.core.wire import Point

_CHUNK_ROWS = 5000


class InfluxQuery:
    """`Query` over an open `InfluxHttp`."""

    def __init__(self, http: InfluxHttp, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    async def latest(self) -> list[Point]:
        """As `Query.latest`."""
        kinds = ", ".join(map(identifier, MEASUREMENTS))
        answer = await self._http.query(
            f"SELECT * FROM {kinds} WHERE time >= {self._clock.utc_ns() - DAY_NS} "
            'GROUP BY "node", "device" ORDER BY time DESC LIMIT 1'
        )
        return [point for series in answer for point in points(series)]

    async def series(
        self, device: Device, fields: tuple[str, ...], *, start_ns: int, end_ns: int, step_ns: int
    ) -> list[Series]:
        """As `Query.series`."""
        asked = list(dict.fromkeys(fields))
        if not asked:
            return []
        reduced = ", ".join(f"mean({f}), min({f}), max({f}), count({f})" for f in map(identifier, asked))
        answer = await self._http.query(
            f'SELECT {reduced} FROM {identifier(device.kind)} WHERE "node" = {literal(device.node)} '
            f'AND "device" = {literal(device.device)} AND {_within(start_ns, end_ns)} '
            f"GROUP BY time({step_ns}ns) fill(none)"
        )
        rows = answer[0].values if answer else []
        found = []
        for index, field in enumerate(asked):
            steps = ((row[0], *row[4 * index + 1 : 4 * index + 5]) for row in rows)
            given = tuple(
                SeriesPoint(time_ns, mean, float(low), float(high), count)
                for time_ns, mean, low, high, count in steps
                if count
            )
            if given:
                found.append(Series(device, field, given))
        return found

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
        answer = await self._http.query(
            f"SELECT {by}({identifier(field)}) FROM {identifier(kind)} "
            f'WHERE {_within(start_ns, end_ns)} GROUP BY "node", "device"'
        )
        ranked = [
            Ranked(Device(series.tags["node"], kind, series.tags["device"]), float(series.values[0][1]))
            for series in answer
        ]
        ranked.sort(key=lambda one: (-one.value if largest else one.value, one.device))
        return ranked[:limit]

    async def usage(self, times: Sequence[DeviceTime]) -> list[Usage | None]:
        """As `Query.usage`."""
        return await influx_usage.usage(self._http, times)

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
        return messages(await self._newest("event", where, limit), Event)

    async def gates(self) -> list[GateDecision]:
        """As `Query.gates`."""
        answer = await self._http.query('SELECT last("json") FROM "decision" GROUP BY "kind", "target"')
        return sorted(messages(answer, GateDecision), key=lambda one: (one.kind, one.target))

    async def decisions(
        self, *, start_ns: int, end_ns: int, target: str | None = None, limit: int = 1000
    ) -> list[GateDecision]:
        """As `Query.decisions`."""
        where = _within(start_ns, end_ns) + _is("target", target)
        return messages(await self._newest("decision", where, limit), GateDecision)

    async def statuses(self) -> list[Status]:
        """As `Query.statuses`."""
        answer = await self._http.query('SELECT last("json") FROM "status" GROUP BY "node"')
        return sorted(messages(answer, Status), key=lambda status: status.node)

    async def samples(
        self, *, start_ns: int, end_ns: int, node: str | None = None, device: str | None = None
    ) -> AsyncIterator[list[Point]]:
        """As `Query.samples`. A node at a time, because InfluxQL sorts by device before node."""
        for kind, number in matching_kinds(device):
            where = _within(start_ns, end_ns)
            if number is not None:
                where += f' AND "device" = {literal(number)}'
            for its_node in await self._nodes(kind) if node is None else [node]:
                pieces = self._http.chunks(
                    f'SELECT * FROM {identifier(kind)} WHERE {where} AND "node" = {literal(its_node)} '
                    'GROUP BY "device"',
                    rows=_CHUNK_ROWS,
                )
                async with aclosing(pieces):
                    async for piece in pieces:
                        yield points(piece)

    async def _nodes(self, kind: Kind) -> list[str]:
        answer = await self._http.query(f'SHOW TAG VALUES FROM {identifier(kind)} WITH KEY = "node"')
        return sorted(value for series in answer for _, value in series.values)

    async def _newest(self, measurement: str, where: str, limit: int) -> list[HttpSeries]:
        return await self._http.query(
            f'SELECT "json" FROM {identifier(measurement)} WHERE {where} ORDER BY time DESC LIMIT {limit}'
        )


def _within(start_ns: int, end_ns: int) -> str:
    return f"time >= {start_ns} AND time < {end_ns}"


def _is(tag: str, value: str | None) -> str:
    return "" if value is None else f" AND {identifier(tag)} = {literal(value)}"

"""Devices ranked by a field over a range, from InfluxDB.

An answer that names each of 8000 series costs 1.6.7 one to two seconds, its `top()` over the same
series a third of a second: so the server picks candidates, of which the exact values are asked for.
"""
# ruff: noqa: S608 - names go through identifier(), texts through literal(), the rest are integers

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence

from thermogate.collector.store.influx_answers import Series
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_places import RAW, Statement, source
from thermogate.collector.store.influx_server import Generation
from thermogate.collector.store.influx_text import identifier, literal
from thermogate.collector.store.resolution import STEP_NS, Piece, rolled_name
from thermogate.core.query import Device, Ranked, Reduction
from thermogate.core.schema import Kind
from thermogate.core.wire import Point

_MORE = 40
"""Candidates of a piece beyond twice as many as asked: they are picked by plain means of windows, which
differ from the exact ones where windows have few samples."""
_SPARE = 10
"""Extremes asked for beyond those wanted, for those that lie before the range, in its first window."""
_MANY = 300
"""More than as many are not asked for one by one."""
_LONG_S = 60.0
"""For ranges without rollups: an hour of samples of 8000 devices takes this long."""

_SHORT_SHARE = 20
"""A part of a range that is as small a share cannot lift the mean of a device, but of one that is new: those
are known from their newest samples, which are in memory. That saves half of the time."""

Newest = Callable[[], list[Point]]
Value = tuple[float, int]
"""A reduced value, and of how many samples."""


class Ranking:
    """Asks an open `InfluxHttp` for one ranking of a field of a kind of device."""

    def __init__(self, http: InfluxHttp, kind: Kind, field: str, by: Reduction, *, largest: bool) -> None:
        self._http = http
        self._kind = kind
        self._field = field
        self._by = by
        self._largest = largest
        self._generation: Generation = "1"

    async def top(self, pieces: Sequence[Piece], limit: int, newest: Newest) -> list[Ranked]:
        """As `Query.top`, over the pieces of its range; `newest` gives the newest sample of each device."""
        if not pieces:
            return []
        self._generation = (await self._http.known()).generation
        # the largest of minima may be far from the largest in every piece
        crossed = self._by == ("min" if self._largest else "max") and len(pieces) > 1
        # 3.x reads columns, whatever the number of series
        if self._generation == "3" or limit > _MANY or crossed:
            found = self._best(await self._all(pieces))
        elif self._by == "mean":
            devices = await self._candidates(pieces, 2 * limit + _MORE, newest)
            found = self._best(await self._of(devices, pieces))
        else:
            found = await self._extremes(pieces, limit)
        return found[:limit]

    async def _all(self, pieces: Sequence[Piece]) -> list[tuple[Device, Series]]:
        asked = [self._exact(piece, "", 'GROUP BY "node", "device"') for piece in pieces]
        answers = await asyncio.gather(*(self._ask(one) for one in asked))
        return [(self._device(one), one) for answer in answers for one in answer]

    async def _extremes(self, pieces: Sequence[Piece], limit: int) -> list[Ranked]:
        """By largest maxima, or smallest minima. What the server picks by is exact or, of a window that
        begins before the range, better: when nobody else has a better one, it is done.
        """
        sign, count = -1 if self._largest else 1, 2 * limit + _MORE
        bounds: dict[Device, float] = {}
        others = math.inf
        for part in await self._picked(_wide(pieces), count):
            for device, value in part:
                bounds[device] = min(sign * value, bounds.get(device, math.inf))
            if len(part) >= count:
                others = min(others, max(sign * value for _, value in part))
        order = sorted(bounds, key=lambda device: (bounds[device], device))
        found: list[Ranked] = []
        for first in range(0, len(order), limit + _SPARE):
            some = order[first : first + limit + _SPARE]
            if len(found) >= limit and sign * found[limit - 1].value <= bounds[some[0]]:
                break
            found = self._sorted([*found, *self._best(await self._of(some, pieces))])
        if others < math.inf and (len(found) < limit or sign * found[limit - 1].value > others):
            return self._best(await self._all(pieces))
        return found

    async def _candidates(self, pieces: Sequence[Piece], count: int, newest: Newest) -> list[Device]:
        wide = _wide(pieces)
        recent: list[Device] = []
        if _ends_short(wide):
            recent = self._first(newest(), count)
            del wide[-1]
        picked = await self._picked(wide, count)
        return sorted({*recent, *(device for part in picked for device, _ in part)})

    async def _picked(self, pieces: Sequence[Piece], count: int) -> list[list[tuple[Device, float]]]:
        """The first devices of each piece, with a value that is good enough to pick them by."""
        pick = "top" if self._largest else "bottom"
        asked = []
        for piece in pieces:
            _, inner = self._one(piece, 'GROUP BY "node", "device"')
            asked.append((RAW, f'SELECT {pick}("value", "node", "device", {count}) FROM ({inner})'))
        return [
            [
                (Device(node, self._kind, device or ""), float(value))
                for series in answer
                for _, value, node, device in series.values
            ]
            for answer in await asyncio.gather(*map(self._ask, asked))
        ]

    def _best(self, values: Iterable[tuple[Device, Series]]) -> list[Ranked]:
        return self._sorted(self._ranked(values))

    def _sorted(self, ranked: Iterable[Ranked]) -> list[Ranked]:
        sign = -1 if self._largest else 1
        return sorted(ranked, key=lambda one: (sign * one.value, one.device))

    def _extreme(self, values: Iterable[float]) -> float:
        return min(values) if self._by == "min" else max(values)

    def _first(self, points: Iterable[Point], count: int) -> list[Device]:
        """Of these samples the devices with the largest, or smallest, values."""
        given = [one for one in points if one.measurement == self._kind and self._field in one.fields]
        given.sort(key=lambda one: one.fields[self._field], reverse=self._largest)
        return [Device(one.node, self._kind, one.device) for one in given[:count]]

    async def _of(self, devices: Sequence[Device], pieces: Sequence[Piece]) -> list[tuple[Device, Series]]:
        if not devices:
            return []
        asked = [
            self._exact(
                piece,
                f' AND "node" = {literal(device.node)} AND "device" = {literal(device.device)}',
                "",
            )
            for device in devices
            for piece in pieces
        ]
        answers = await self._http.statements(asked)
        owners = (device for device in devices for _ in pieces)
        return [(owner, one) for owner, answer in zip(owners, answers, strict=True) for one in answer]

    def _one(self, piece: Piece, group: str) -> Statement:
        """A value of each device, good enough to pick candidates by."""
        name = self._field if piece.resolution is None else f"{self._field}_{self._by}"
        table, where = self._from(piece)
        return piece.resolution or RAW, (
            f'SELECT {self._by}({identifier(name)}) AS "value" FROM {table} WHERE {where} {group}'
        )

    def _exact(self, piece: Piece, device: str, group: str) -> Statement:
        """What the exact value of a device, or of each, is computed from."""
        table, where = self._from(piece)
        if piece.resolution is None:
            name = identifier(self._field)
            columns = f"{self._by}({name}), count({name})"
        else:
            columns = f"{identifier(f'{self._field}_{self._by}')}, {identifier(f'{self._field}_count')}"
        return piece.resolution or RAW, f"SELECT {columns} FROM {table} WHERE {where}{device} {group}"

    def _from(self, piece: Piece) -> tuple[str, str]:
        name = self._kind if piece.resolution is None else rolled_name(self._kind, piece.resolution)
        table = source(self._generation, piece.resolution or RAW, name)
        return table, f"time >= {piece.start_ns} AND time < {piece.end_ns}"

    async def _ask(self, statement: Statement) -> list[Series]:
        place, text = statement
        return await self._http.query(text, place, timeout_s=_LONG_S)

    def _device(self, series: Series) -> Device:
        return Device(series.tags.get("node") or "", self._kind, series.tags.get("device") or "")

    def _ranked(self, values: Iterable[tuple[Device, Series]]) -> Iterable[Ranked]:
        found: dict[Device, list[Value]] = {}
        for device, series in values:
            given = [(float(value), round(count)) for _, value, count in series.values if count]
            found.setdefault(device, []).extend(given)
        return (Ranked(device, self._reduced(given)) for device, given in found.items() if given)

    def _reduced(self, given: Sequence[Value]) -> float:
        if self._by == "mean":
            return sum(value * count for value, count in given) / sum(count for _, count in given)
        return self._extreme(value for value, _ in given)


def _ends_short(pieces: Sequence[Piece]) -> bool:
    """Whether the last of several pieces is of samples, and a small part of all."""
    last = pieces[-1]
    whole_ns = last.end_ns - pieces[0].start_ns
    return (
        len(pieces) > 1
        and last.resolution is None
        and (last.end_ns - last.start_ns) * _SHORT_SHARE <= whole_ns
    )


def _wide(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces for candidates: the shorter piece at the beginning is left to a window that holds it."""
    found = list(pieces)
    while len(found) > 1 and found[1].resolution is not None:
        first, second = found[:2]
        step_ns = STEP_NS[second.resolution]  # type: ignore[index]
        if first.resolution == second.resolution or first.end_ns - first.start_ns >= step_ns:
            break
        found[:2] = [Piece(second.resolution, second.start_ns - step_ns, second.end_ns)]
    return found

"""The newest sample of each device: from memory what passes through here, the rest from InfluxDB."""
# ruff: noqa: S608 - names go through identifier() or any_of(), the rest are integers

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from thermogate.collector.store.base import DAY_NS
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_text import any_of, identifier, points
from thermogate.core.clock import NS, Clock
from thermogate.core.schema import MEASUREMENTS
from thermogate.core.wire import Point, parse_points

_SILENT_NS = 10 * NS
"""A node that was silent here for as long may send through another collector: the store is asked."""
_ASK_S = 10.0
_ASK_MAX_S = 600.0
"""How often, and at most how seldom, of a node of which nothing new is found."""
_NODES_AT_ONCE = 25
"""Asked for in one statement: 1.6.7 takes half a second for them."""
_FIRST_S = 5.0
"""The first answer waits this long for a store of many nodes that are silent here; it has them later."""

_FIELDS = msgspec.json.Decoder(dict[str, float])

_Identity = tuple[str, str, str]
_Shape = tuple[bytes, bytes, int]
"""Tags of a payload's first and last line, and how many lines it has."""


class NewestSamples:
    """What has been written since the start, and what an open `InfluxHttp` knows of silent nodes."""

    def __init__(self, http: InfluxHttp, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._payloads: dict[_Shape, tuple[int, bytes]] = {}
        self._lines: dict[bytes, tuple[int, bytes]] = {}
        self._stored: dict[_Identity, Point] = {}
        self._asked: dict[str, tuple[float, float]] = {}
        self._loading: asyncio.Task[None] | None = None
        self._loaded = False
        self._next_s = 0.0

    def see(self, payloads: Iterable[bytes]) -> None:
        """Learn what has been stored, a few microseconds a payload: lines are read when they are asked for.

        Payloads of one stamp each, as many lines and the same tags in the first and last are taken to be
        of the same devices, so that the newest is enough.
        """
        for payload in payloads:
            time_ns, shape = _look_at(payload)
            known = self._payloads.get(shape)
            if not time_ns or (known is not None and known[0] == time_ns and known[1] != payload):
                self._take_apart(payload)
            elif known is None or known[0] < time_ns:
                self._payloads[shape] = (time_ns, payload)

    async def latest(self) -> list[Point]:
        """As `Query.latest`."""
        await self._look()
        return self.known()

    def known(self) -> list[Point]:
        """The same as far as it is known here, without asking the store."""
        since_ns = self._clock.utc_ns() - DAY_NS
        self._payloads = {key: one for key, one in self._payloads.items() if one[0] >= since_ns}
        self._lines = {key: one for key, one in self._lines.items() if one[0] >= since_ns}
        newest = {key: point for key, point in self._stored.items() if point.time_ns >= since_ns}
        for _, payload in sorted(self._payloads.values(), reverse=True):
            for line in payload.splitlines():
                _add(newest, line)
        for _, lines in self._lines.values():
            for line in lines.splitlines():
                _add(newest, line)
        return list(newest.values())

    def _take_apart(self, payload: bytes) -> None:
        lines = self._lines
        for line in payload.splitlines():
            if line.startswith(b"#"):
                continue
            key = line[: line.index(b" ")]
            time_ns = int(line[line.rindex(b" ") :])
            known = lines.get(key)
            if known is None or time_ns > known[0]:
                lines[key] = (time_ns, line)
            elif time_ns == known[0] and line not in known[1]:
                lines[key] = (time_ns, known[1] + b"\n" + line)  # adds to the fields of that stamp

    async def close(self) -> None:
        """End what is still being asked."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])

    def forget(self) -> None:
        """The database may not be the one that it was."""
        self._payloads, self._lines, self._stored, self._asked = {}, {}, {}, {}
        self._loaded, self._next_s = False, 0.0

    async def _look(self) -> None:
        """See to it that silent nodes are asked for; only before the first answer is that waited for."""
        if self._loading is None and self._clock.steady_s() >= self._next_s:
            self._loading = asyncio.create_task(self._load())
            self._loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        loading = self._loading
        if loading is None:
            return
        if not self._loaded:
            await asyncio.wait([loading], timeout=_FIRST_S)
        if loading.done():
            self._loading = None
            err = None if loading.cancelled() else loading.exception()
            if err is not None and not self._loaded:
                raise err
            self._next_s = self._clock.steady_s() + _ASK_S
        self._loaded = True

    async def _load(self) -> None:
        nodes = await self._silent()
        for first in range(0, len(nodes), _NODES_AT_ONCE):
            await self._ask(nodes[first : first + _NODES_AT_ONCE])

    async def _silent(self) -> list[str]:
        """Nodes in the store of which nothing came here lately, and that are due."""
        tables = ", ".join(map(identifier, MEASUREMENTS))
        answer = await self._http.query(f"SHOW TAG VALUES FROM {tables} WITH KEY = {identifier('node')}")
        lately_ns, now_s = self._clock.utc_ns() - _SILENT_NS, self._clock.steady_s()
        heard = {_node(key) for (key, _, _), (time_ns, _) in self._payloads.items() if time_ns >= lately_ns}
        heard |= {_node(key) for key, (time_ns, _) in self._lines.items() if time_ns >= lately_ns}
        known = {value for series in answer for _, value in series.values}
        return sorted(node for node in known - heard if self._asked.get(node, (0.0, 0.0))[0] <= now_s)

    async def _ask(self, nodes: Sequence[str]) -> None:
        tables, since_ns = ", ".join(map(identifier, MEASUREMENTS)), self._clock.utc_ns() - DAY_NS
        answer = await self._http.query(
            f'SELECT * FROM {tables} WHERE "node" =~ {any_of(nodes)} AND time >= {since_ns} '
            'GROUP BY "node", "device" ORDER BY time DESC LIMIT 1'
        )
        found = [point for series in answer for point in points(series)]
        moved = {point.node for point in found if _keep(self._stored, point)}
        for node in nodes:
            _, wait_s = self._asked.get(node, (0.0, _ASK_S / 2))
            wait_s = _ASK_S if node in moved else min(2 * wait_s, _ASK_MAX_S)
            self._asked[node] = (self._clock.steady_s() + wait_s, wait_s)


def _look_at(payload: bytes) -> tuple[int, _Shape]:
    """The stamp of its lines, 0 if they have several, and its shape."""
    begin = payload.index(b"\n") + 1 if payload.startswith(b"#") else 0
    end = payload.index(b"\n", begin)
    last = payload.rindex(b"\n", begin - 1 if begin else 0, -1) + 1 if end < len(payload) - 1 else begin
    stamp = payload[payload.rindex(b" ") : -1]
    same = payload[payload.rindex(b" ", begin, end) : end] == stamp
    shape = (
        payload[begin : payload.index(b" ", begin)],
        payload[last : payload.index(b" ", last)],
        payload.count(b"\n"),
    )
    return int(stamp) if same else 0, shape


def _add(newest: dict[_Identity, Point], line: bytes) -> None:
    """Keep what the line says unless something newer is known; a comment says nothing."""
    if line.startswith(b"#"):
        return
    key, fields, stamp = line.split(b" ")
    measurement, *tags = key.decode().split(",")
    tag = dict(pair.split("=") for pair in tags)
    identity = (measurement, tag["node"], tag.get("device", ""))
    known, time_ns = newest.get(identity), int(stamp)
    if known is None or known.time_ns <= time_ns:
        _keep(
            newest,
            Point(*identity, tag.get("model", ""), tag.get("origin", ""), _values(fields, line), time_ns),
        )


def _values(fields: bytes, line: bytes) -> dict[str, float]:
    """As `parse_points` has them, five times as fast: but for its signs, the field part is JSON."""
    text = fields.replace(b"i,", b",").removesuffix(b"i").replace(b"=", b'":').replace(b",", b',"')
    try:
        return _FIELDS.decode(b'{"' + text + b"}")
    except msgspec.MsgspecError:  # a number such as 007, which JSON does not know
        return parse_points(line)[0].fields


def _node(key: bytes) -> str:
    """Of "gpu,node=n17,device=0": the node, always the first tag."""
    return key.split(b",", 2)[1].removeprefix(b"node=").decode()


def _keep(newest: dict[_Identity, Point], point: Point) -> bool:
    """Keep the point if it is newer than the one known; with its stamp, its fields are added."""
    identity = (point.measurement, point.node, point.device)
    known = newest.get(identity)
    if known is not None and known.time_ns == point.time_ns:
        known.fields.update(point.fields)
        return False
    if known is None or known.time_ns < point.time_ns:
        newest[identity] = point
        return True
    return False

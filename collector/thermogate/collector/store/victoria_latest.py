"""The newest sample of every device, in memory; the server tells of those that others have written."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import aclosing

import msgspec

from thermogate.collector.store.base import DAY_NS
from thermogate.collector.store.victoria_http import VictoriaHttp
from thermogate.collector.store.victoria_text import MS, one_of, points, selector
from thermogate.core.clock import NS, Clock
from thermogate.core.schema import MEASUREMENTS, SIGNAL_FIELDS
from thermogate.core.wire import Point, parse_points

_SILENT_NS = 10 * NS
"""A device of which this collector has heard nothing for this long is asked for on the server."""
_SILENT_SIGNALS_NS = 60 * NS
"""The same of signals, which are told every 10 s, not every second."""
_REFRESH_S = 10.0
_MARGIN_MS = 120_000
"""Asked for again: a sample comes up to two minutes after its stamp, but for a backlog."""
_AHEAD_MS = DAY_NS // MS
"""Clocks of nodes may be this much ahead."""
_HOUR_MS = 3_600_000
_NEAR_MS = 2000
_NAMES_LENGTH = 4000
_PROBES: Mapping[str, tuple[str, ...]] = {
    "gpu": ("temp_c", "power_w", "util_ratio"),
    "cpu": ("temp_c", "power_w", "util_ratio"),
    "node": ("mem_available_bytes", "power_w"),
    "agent": ("ticks_count", "cpu_s"),
    "signal": SIGNAL_FIELDS,
}
"""Fields that tell when a device was last heard, at a tenth of the cost of all; one of them is in nearly
every sample. Devices that have none, and few nodes at a time, are asked for by all their fields."""
_FEW_NODES = 10
_SPANS_HOURS = ((1, 1000), (24, 30))
"""How far back silent nodes are looked for, and how many at once: 90 million values, 60 million."""

_PAYLOADS = 20_000
"""Held until they are asked for, about 100 MB of the largest fleet."""

Identity = tuple[str, str, str]
"""Measurement, node, device."""
Tick = tuple[bytes, tuple[int, ...]]
"""A telemetry payload with the stamps of its lines: one when they share it."""


class NewestSamples:
    """Knows of each device the line or the sample with the newest stamp, as the server keeps stamps."""

    def __init__(self, http: VictoriaHttp, database: str, clock: Clock) -> None:
        self._http = http
        self._database = database
        self._clock = clock
        self._newest: dict[Identity, tuple[int, bytes | Point]] = {}
        self._identities: dict[bytes, Identity] = {}
        self._payloads: dict[tuple[bytes, int], tuple[int, bytes]] = {}
        self._asked: tuple[float, int] | None = None
        self._asking = asyncio.Lock()

    def see(self, ticks: Iterable[Tick]) -> None:
        """Learn what has been written. Nobody may ask for long, so a payload is taken apart when asked for.

        Until then it is replaced by the next of its node with as many lines. A device that was in the
        one and is not in the other is silent from then on, and so is asked for on the server.
        """
        for payload, stamps in ticks:
            if len(stamps) != 1:
                self._take_apart(payload)
                continue
            key = payload[: payload.index(b" seq=")], payload.count(b"\n")
            if stamps[0] >= self._payloads.get(key, (-1, b""))[0]:
                self._payloads[key] = stamps[0], payload
        if len(self._payloads) > _PAYLOADS:
            self._take_all_apart()

    def _take_all_apart(self) -> None:
        for _, payload in self._payloads.values():
            self._take_apart(payload)
        self._payloads.clear()

    def _take_apart(self, payload: bytes) -> None:
        for line in payload.splitlines():
            if line.startswith(b"#"):
                continue
            key, _, rest = line.partition(b" ")
            time_ns = int(rest[rest.rindex(b" ") :])
            identity = self._identities.get(key) or self._new_identity(key)
            if time_ns >= self._newest.get(identity, (-1, b""))[0]:
                self._newest[identity] = (time_ns, line)

    async def latest(self) -> list[Point]:
        """As `Query.latest`."""
        self._take_all_apart()
        async with self._asking:
            await self._learn()
        since_ns = self._clock.utc_ns() - DAY_NS
        self._newest = {identity: one for identity, one in self._newest.items() if one[0] >= since_ns}
        known = [one for _, one in self._newest.values()]
        lines = b"\n".join(one for one in known if isinstance(one, bytes))
        parsed = await asyncio.to_thread(parse_points, lines)
        stored = [msgspec.structs.replace(point, time_ns=point.time_ns // MS * MS) for point in parsed]
        return stored + [one for one in known if isinstance(one, Point)]

    async def _learn(self) -> None:
        now_ms = self._clock.utc_ns() // MS
        if self._asked is None:
            for kind in MEASUREMENTS:
                await self._load(kind, now_ms)
        elif self._clock.steady_s() - self._asked[0] >= _REFRESH_S:
            await self._refresh(min(self._asked[1], now_ms) - _MARGIN_MS, now_ms)
        else:
            return
        self._asked = (self._clock.steady_s(), now_ms)

    async def _load(self, kind: str, now_ms: int) -> None:
        """Whoever spoke in the last minute, then, by the index of the day, those who did not."""
        await self._ask(kind, None, now_ms - 60_000, now_ms)
        devices = await self._of_the_day(kind, now_ms)
        for hours, most in (*_SPANS_HOURS, (24, _FEW_NODES)):
            silent = sorted({node for node, device in devices if (kind, node, device) not in self._newest})
            for first in range(0, len(silent), most):
                await self._ask(kind, silent[first : first + most], now_ms - hours * _HOUR_MS, now_ms)

    async def _refresh(self, since_ms: int, now_ms: int) -> None:
        now_ns = self._clock.utc_ns()
        for kind in MEASUREMENTS:
            silent_ns = now_ns - (_SILENT_SIGNALS_NS if kind == "signal" else _SILENT_NS)
            nodes = {node for (k, node, _), one in self._newest.items() if k == kind and one[0] < silent_ns}
            if nodes:
                await self._ask(kind, nodes, since_ms, now_ms)

    async def _of_the_day(self, kind: str, now_ms: int) -> set[tuple[str, str]]:
        """(node, device) of every series with samples on the last two days, a metric at a time."""
        span = now_ms - DAY_NS // MS, now_ms + _AHEAD_MS
        names = await self._http.label_values("__name__", selector(self._database, f"{kind}_"), *span)
        found = set()
        for name in names:
            for labels in await self._http.series(selector(self._database, name), *span):
                found.add((labels["node"], labels.get("device", "")))
        return found

    async def _ask(self, kind: str, nodes: Collection[str] | None, since_ms: int, now_ms: int) -> None:
        """Learn the newest samples since a time, of some nodes or of all: when they were, then what."""
        until_ms = now_ms + _AHEAD_MS
        name = f"{kind}_"
        if nodes is None or len(nodes) > _FEW_NODES:
            name += f"({'|'.join(_PROBES[kind])})"
        which = selector(self._database, name, *_among(nodes))
        rows = await self._http.instant(
            f"max(tlast_over_time({which}[{until_ms - since_ms}ms])) by (node, device)", until_ms
        )
        wanted: dict[int, set[Identity]] = {}
        for row in rows:
            identity = (kind, row.metric["node"], row.metric.get("device", ""))
            time_ms = round(float(row.value[1]) * 1000)
            if time_ms * MS > self._newest.get(identity, (-1, b""))[0]:
                wanted.setdefault(time_ms, set()).add(identity)
        for times in _near(sorted(wanted)):
            identities = {identity for time_ms in times for identity in wanted[time_ms]}
            which = selector(self._database, f"{kind}_", *_among({node for _, node, _ in identities}))
            async with aclosing(self._http.export(which, times[0], times[-1])) as series:
                exported = [one async for one in series]
            for point in points(kind, exported):
                identity = (kind, point.node, point.device)
                if identity in wanted.get(point.time_ns // MS, ()):
                    self._newest[identity] = (point.time_ns, point)

    def _new_identity(self, key: bytes) -> Identity:
        if len(self._identities) > 2 * len(self._newest) + 1000:
            self._identities.clear()
        measurement, *tags = key.decode("ascii").split(",")
        tag = dict(pair.split("=") for pair in tags)
        identity = self._identities[key] = (measurement, tag["node"], tag.get("device", ""))
        return identity


def _among(nodes: Collection[str] | None) -> list[str]:
    """A matcher for some nodes; none when all are meant, or too many to name."""
    if nodes is None or sum(len(node) + 2 for node in nodes) > _NAMES_LENGTH:
        return []
    return [one_of("node", sorted(nodes))]


def _near(times_ms: list[int]) -> Iterator[list[int]]:
    """Runs of times that are at most 2 s apart."""
    run: list[int] = []
    for time_ms in times_ms:
        if run and time_ms - run[-1] > _NEAR_MS:
            yield run
            run = []
        run.append(time_ms)
    if run:
        yield run

"""Rollups in InfluxDB: samples are read once, reduced here and written beside them.

Not by SELECT ... INTO, which only 1.x has: each of the 120 columns of a device's window costs 1.6.7
about 60 us, 90 s for a minute of 1000 nodes of 8 GPUs, and cannot tell steps that are too far apart.
Reading the same samples costs it 9 s.
"""
# ruff: noqa: S608 - names go through identifier(), texts through literal() or regex(), the rest are integers

import asyncio
from collections.abc import Iterator, Sequence

from thermogate.collector.store.influx_answers import Series
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_places import RAW, source
from thermogate.collector.store.influx_text import any_of, identifier
from thermogate.collector.store.influx_windows import Table, hours, minutes, table
from thermogate.collector.store.resolution import (
    LOOK_BACK_NS,
    ROLLED_KINDS,
    STEP_NS,
    Resolution,
    Window,
    counted_flags,
    counters,
    gauges,
    has_power,
    rolled_fields,
    rolled_name,
)
from thermogate.core.clock import NS
from thermogate.core.schema import Kind

_NODE_WINDOWS: dict[Resolution, int] = {"1m": 20, "1h": 4}
"""Windows times nodes read in one go: about 10,000 rows of nodes with 8 GPUs, 2 MB, which keep neither
the server nor this process busy for long."""
_LONG_S = 60.0
"""Waited for a part: a second, but on a server that is busy with a backlog."""
_SHORT_LOOK_NS = 10 * NS
"""Read before a window with it: at 1 Hz the step into it is there. Otherwise it is asked for."""


class Rollup:
    """Makes windows, of which `resolution` says what they hold, by way of an open `InfluxHttp`."""

    def __init__(self, http: InfluxHttp) -> None:
        self._http = http

    async def make(self, resolution: Resolution, windows: Sequence[Window]) -> None:
        """As `RollsUp.roll_up`."""
        for kind in ROLLED_KINDS:
            known: list[str] | None = None
            for window in windows:
                if window.nodes is None and known is None:
                    known = await nodes(self._http, kind, RAW if resolution == "1m" else "1m")
                names = known or [] if window.nodes is None else list(window.nodes)
                for part, start_ns, end_ns in _portions(resolution, window, names):
                    await self._make(kind, resolution, part, start_ns, end_ns)

    async def _make(
        self, kind: Kind, resolution: Resolution, names: Sequence[str], start_ns: int, end_ns: int
    ) -> None:
        if resolution == "1m":
            answer = await self._samples(kind, names, start_ns - _SHORT_LOOK_NS, end_ns, ())
            read = await asyncio.to_thread(_table, answer, _sampled(kind))
            read = await self._looked_back(kind, answer, read, start_ns)
        else:
            read = await asyncio.to_thread(
                _table, await self._minutes(kind, names, start_ns, end_ns), rolled_fields(kind)
            )
        lines = await asyncio.to_thread(_lines, kind, resolution, read, start_ns)
        if lines:
            await self._http.write(lines, resolution)

    async def _looked_back(self, kind: Kind, answer: list[Series], read: Table, start_ns: int) -> Table:
        """With older rows of the devices whose first step begins before what was read."""
        fields = grown_fields(kind)
        lacking = read.without(fields, start_ns)
        if not lacking:
            return read
        older_ns = start_ns - LOOK_BACK_NS
        names = sorted({node for node, _ in lacking})
        older = await self._samples(kind, names, older_ns, start_ns - _SHORT_LOOK_NS, fields)
        older = [series for series in older if _identity(series) in lacking]
        return await asyncio.to_thread(_table, [*older, *answer], _sampled(kind)) if older else read

    async def _samples(
        self, kind: Kind, names: Sequence[str], start_ns: int, end_ns: int, fields: Sequence[str]
    ) -> list[Series]:
        columns = ", ".join(map(identifier, fields)) or "*"
        return await self._http.query(
            f'SELECT {columns} FROM {identifier(kind)} WHERE "node" =~ {any_of(names)} '
            f'AND time >= {start_ns} AND time < {end_ns} GROUP BY "node", "device"',
            timeout_s=_LONG_S,
        )

    async def _minutes(self, kind: Kind, names: Sequence[str], start_ns: int, end_ns: int) -> list[Series]:
        table = source((await self._http.known()).generation, "1m", rolled_name(kind, "1m"))
        return await self._http.query(
            f'SELECT * FROM {table} WHERE "node" =~ {any_of(names)} '
            f'AND time >= {start_ns} AND time < {end_ns} GROUP BY "node", "device"',
            "1m",
            timeout_s=_LONG_S,
        )


async def nodes(http: InfluxHttp, kind: Kind, resolution: str = RAW) -> list[str]:
    """Every node that has rows of a kind, in order."""
    name = kind if resolution == RAW else rolled_name(kind, "1m")
    table = source((await http.known()).generation, resolution, name)
    answer = await http.query(f"SHOW TAG VALUES FROM {table} WITH KEY = {identifier('node')}", resolution)
    return sorted({value for series in answer for _, value in series.values})


def _portions(
    resolution: Resolution, window: Window, names: Sequence[str]
) -> Iterator[tuple[Sequence[str], int, int]]:
    """Nodes and times that are made in one go."""
    step_ns, most = STEP_NS[resolution], _NODE_WINDOWS[resolution]
    count = min(most, (window.end_ns - window.start_ns) // step_ns)
    for start_ns in range(window.start_ns, window.end_ns, max(1, count) * step_ns):
        end_ns = min(window.end_ns, start_ns + count * step_ns)
        for part in _parts(names, max(1, most // max(1, count))):
            yield part, start_ns, end_ns


def _sampled(kind: Kind) -> tuple[str, ...]:
    return (*gauges(kind), *counters(kind))


def grown_fields(kind: Kind) -> tuple[str, ...]:
    """Fields whose windows need the sample before the first: counters, flags that are counted, power."""
    return (*counters(kind), *counted_flags(kind), *(("power_w",) if has_power(kind) else ()))


def _identity(series: Series) -> tuple[str, str]:
    return series.tags.get("node") or "", series.tags.get("device") or ""


def _table(answer: Sequence[Series], wanted: Sequence[str]) -> Table:
    return table(((_identity(one), one.columns, one.values) for one in answer if one.values), wanted)


def _lines(kind: Kind, resolution: Resolution, read: Table, start_ns: int) -> bytes:
    step_ns, name = STEP_NS[resolution], rolled_name(kind, resolution)
    made = minutes(kind, read, start_ns, step_ns) if resolution == "1m" else hours(kind, read, step_ns)
    return "".join(
        f"{name},node={node}{f',device={device}' if device else ''} {_fields(fields)} {begin_ns}\n"
        for (node, device), begin_ns, fields in made
    ).encode()


def _fields(fields: dict[str, float]) -> str:
    """All of them floats, so that no type can ever differ from the stored one."""
    return ",".join(f"{name}={value!r}" for name, value in fields.items())


def _parts(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[first : first + size] for first in range(0, len(names), size))

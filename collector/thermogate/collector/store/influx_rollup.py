"""Rollups in InfluxDB: samples are read once, reduced here and written beside them.

Not by SELECT ... INTO, which only 1.x has: each of the 120 columns of a device's window costs 1.6.7
about 60 us, 90 s for a minute of 1000 nodes of 8 GPUs, and cannot tell steps that are too far apart.
docs/stores.md says what reading the same samples costs.
"""
# ruff: noqa: S608 - names go through identifier(), texts through literal() or regex(), the rest are integers

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from msgspec.structs import replace

from thermogate.collector.store.covers import Fields
from thermogate.collector.store.influx_answers import Series
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_places import RAW, source
from thermogate.collector.store.influx_text import any_of, identifier
from thermogate.collector.store.influx_windows import Made, Table, hours, minutes, table
from thermogate.collector.store.resolution import (
    LOOK_BACK_NS,
    ROLLED_KINDS,
    STEP_NS,
    Resolution,
    Window,
    counted_flags,
    counters,
    has_power,
    rolled_fields,
    rolled_name,
    sampled_fields,
)
from thermogate.core.clock import NS
from thermogate.core.schema import Kind

_NODE_WINDOWS: dict[Resolution, int] = {"1m": 20, "1h": 4}
"""Windows times nodes read in one go: about 10,000 rows of nodes with 8 GPUs, 1 MB, which keep neither
the server nor this process busy for long."""
_LONG_S = 60.0
"""Waited for a part: a second, but on a server that is busy with a backlog."""
_SHORT_LOOK_NS = 3 * NS
"""Read before a window with it: at 1 Hz the step into it is there. Otherwise it is asked for."""


class Rollup:
    """Makes windows, of which `resolution` says what they hold, by way of an open `InfluxHttp`."""

    def __init__(self, http: InfluxHttp) -> None:
        self._http = http

    async def make(self, resolution: Resolution, windows: Sequence[Window], of: Fields) -> None:
        """As `RollsUp.roll_up`, windows of these fields."""
        for kind in ROLLED_KINDS:
            if not sampled_fields(kind, of):
                continue
            known: list[str] | None = None
            for window in windows:
                if window.nodes is None and known is None:
                    known = await nodes(self._http, kind, RAW if resolution == "1m" else "1m")
                names = known or [] if window.nodes is None else list(window.nodes)
                for part, start_ns, end_ns in _portions(resolution, window, names):
                    await self._make(kind, of, resolution, Window(start_ns, end_ns, tuple(part)))

    async def _make(self, kind: Kind, of: Fields, resolution: Resolution, window: Window) -> None:
        if resolution == "1m":
            read = await self._minute(kind, of, window)
            made = partial(minutes, kind, of, read, window.start_ns)
        else:
            names = rolled_fields(kind, of)
            table = source((await self._http.known()).generation, "1m", rolled_name(kind, "1m"))
            read = await asyncio.to_thread(_table, await self._read(table, "1m", names, window), names)
            made = partial(hours, kind, of, read)
        lines = await asyncio.to_thread(_lines, kind, resolution, made)
        if lines:
            await self._http.write(lines, resolution)

    async def _minute(self, kind: Kind, of: Fields, window: Window) -> Table:
        """Samples, with older ones of the devices whose first step begins before what was read."""
        names, grown = sampled_fields(kind, of), grown_fields(kind, of)
        begin_ns = window.start_ns - _SHORT_LOOK_NS
        answer = await self._read(identifier(kind), RAW, names, replace(window, start_ns=begin_ns))
        read = await asyncio.to_thread(_table, answer, names)
        lacking = read.without(grown, window.start_ns)
        if not lacking:
            return read
        of_nodes = tuple(sorted({node for node, _ in lacking}))
        before = Window(window.start_ns - LOOK_BACK_NS, begin_ns, of_nodes)
        older = await self._read(identifier(kind), RAW, grown, before)
        older = [series for series in older if _identity(series) in lacking]
        return await asyncio.to_thread(_table, [*older, *answer], names) if older else read

    async def _read(self, table: str, place: str, names: Sequence[str], window: Window) -> list[Series]:
        columns = ", ".join(map(identifier, names))
        return await self._http.query(
            f'SELECT {columns} FROM {table} WHERE "node" =~ {any_of(window.nodes or ())} '
            f'AND time >= {window.start_ns} AND time < {window.end_ns} GROUP BY "node", "device"',
            place,
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


def grown_fields(kind: Kind, of: Fields) -> tuple[str, ...]:
    """Fields whose windows need the sample before the first: counters, flags that are counted, power."""
    power = ("power_w",) if has_power(kind, of) else ()
    return (*counters(kind, of), *counted_flags(kind, of), *power)


def _identity(series: Series) -> tuple[str, str]:
    return series.tags.get("node") or "", series.tags.get("device") or ""


def _table(answer: Sequence[Series], wanted: Sequence[str]) -> Table:
    return table(((_identity(one), one.columns, one.values) for one in answer if one.values), wanted)


def _lines(kind: Kind, resolution: Resolution, made: Callable[[int], Made]) -> bytes:
    name = rolled_name(kind, resolution)
    return "".join(
        f"{name},node={node}{f',device={device}' if device else ''} {_fields(fields)} {begin_ns}\n"
        for (node, device), begin_ns, fields in made(STEP_NS[resolution])
    ).encode()


def _fields(fields: dict[str, float]) -> str:
    """All of them floats, so that no type can ever differ from the stored one."""
    return ",".join(f"{name}={value!r}" for name, value in fields.items())


def _parts(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[first : first + size] for first in range(0, len(names), size))

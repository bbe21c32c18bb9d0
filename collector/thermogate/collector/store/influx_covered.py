"""Which windows InfluxDB has: a point a span, in the place of the windows, so that both go together."""

from collections.abc import Mapping

from thermogate.collector.store.base import DAY_NS
from thermogate.collector.store.influx_errors import missing
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_places import source
from thermogate.collector.store.influx_text import identifier
from thermogate.collector.store.resolution import (
    RESOLUTIONS,
    STEP_NS,
    Kept,
    Resolution,
    Span,
    floor,
    merged,
)
from thermogate.core.clock import NS, Clock
from thermogate.core.errors import StoreError

_TABLE = "rolled_up"
_FIELD = "windows"
_FRESH_S = 10.0
"""What another collector covered is known after this; until then samples answer."""

Covered = dict[Resolution, tuple[Span, ...]]


class Coverage:
    """Spans of windows that were made, by whichever collector, over an open `InfluxHttp`.

    A span is a point that no other overwrites: stamped with its begin plus as many nanoseconds as it
    has windows. One that continues what is covered is written from the begin of that or of its day,
    so that reading the longest of each begin is reading a row a day.
    """

    def __init__(self, http: InfluxHttp, kept: Kept, clock: Clock) -> None:
        self._http = http
        self._kept = kept
        self._clock = clock
        self._known: Covered = {}
        self._until_s = 0.0

    async def cover(self, resolution: Resolution, start_ns: int, end_ns: int) -> None:
        """As `RollsUp.cover`."""
        known = (await self.covered()).get(resolution, ())
        for begin_ns, until_ns in known:
            if begin_ns <= start_ns <= until_ns:
                start_ns = max(begin_ns, floor(start_ns, DAY_NS))
        count = (end_ns - start_ns) // STEP_NS[resolution]
        line = f"{_TABLE} {_FIELD}={count} {start_ns + count}\n"
        await self._http.write(line.encode(), resolution)
        self._known[resolution] = merged([*known, (start_ns, end_ns)])

    async def covered(self) -> Mapping[Resolution, tuple[Span, ...]]:
        """As `RollsUp.covered`."""
        if self._clock.steady_s() >= self._until_s:
            found = {resolution: await self._read(resolution) for resolution in RESOLUTIONS}
            self._known = {resolution: spans for resolution, spans in found.items() if spans}
            self._until_s = self._clock.steady_s() + _FRESH_S
        return self._known

    async def known(self) -> Mapping[Resolution, tuple[Span, ...]] | None:
        """The same for a question; None where nothing was set up for windows, so that samples answer all."""
        try:
            return await self.covered()
        except StoreError as err:
            if not missing(str(err)):
                raise
            return None

    def forget(self) -> None:
        """Ask again: the database may not be the one that it was."""
        self._until_s = 0.0

    async def _read(self, resolution: Resolution) -> tuple[Span, ...]:
        step_ns, now_ns = STEP_NS[resolution], self._clock.utc_ns()
        table = source((await self._http.known()).generation, resolution, _TABLE)
        answer = await self._http.query(
            f"SELECT max({identifier(_FIELD)}) FROM {table} "  # noqa: S608 - a name of ours
            f"WHERE time >= {now_ns - self._kept.of(resolution)} AND time < {now_ns + DAY_NS} "
            f"GROUP BY time({step_ns // NS}s) fill(none)",
            resolution,
        )
        rows = answer[0].values if answer else []
        starts = ((floor(time_ns, step_ns), round(count)) for time_ns, count in rows)
        return merged((start_ns, start_ns + count * step_ns) for start_ns, count in starts)

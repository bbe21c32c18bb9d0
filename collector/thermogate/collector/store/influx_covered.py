"""Which windows InfluxDB has: a point a span, in the place of the windows, so that both go together."""

from collections.abc import Sequence

from thermogate.collector.store.base import DAY_NS
from thermogate.collector.store.covers import Covers, Fields, Row, decoded, encoded, gathered, rows_of, told
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
)
from thermogate.core.clock import NS, Clock
from thermogate.core.errors import StoreError

_TABLE = "rolled_up"
_FIELD = "windows"
_TAG = "fields"
_FRESH_S = 10.0
"""What another collector covered is known after this; until then samples answer."""


class Coverage:
    """Spans of windows that were made, by whichever collector, over an open `InfluxHttp`.

    A span is a point that no other overwrites: tagged with the fields of its windows and stamped with
    its begin plus as many nanoseconds as it has windows. One that continues what is covered is written
    from the begin of that or of its day, so that reading the longest of each begin is reading a row a day.
    """

    def __init__(self, http: InfluxHttp, kept: Kept, clock: Clock) -> None:
        self._http = http
        self._kept = kept
        self._clock = clock
        self._known: Covers = {}
        self._until_s = 0.0

    async def cover(self, resolution: Resolution, span: Span, fields: Fields) -> None:
        """As `RollsUp.cover`, with the fields of the windows."""
        covers = await self.covers()
        known = covers.get(resolution, {})
        new = told(covers, resolution, span, fields)
        lines = [_line(resolution, _longer(one, known.get(has, ())), has) for one, has in new]
        if lines:
            await self._http.write("".join(lines).encode(), resolution)
        self._known = gathered([*rows_of(covers), *((resolution, has, one) for one, has in new)])

    async def covers(self) -> Covers:
        """What has been covered. Raises StoreError."""
        if self._clock.steady_s() >= self._until_s:
            found = [row for resolution in RESOLUTIONS for row in await self._read(resolution)]
            self._known = gathered(found)
            self._until_s = self._clock.steady_s() + _FRESH_S
        return self._known

    async def known(self) -> Covers | None:
        """The same for a question; None where nothing was set up for windows, so that samples answer all."""
        try:
            return await self.covers()
        except StoreError as err:
            if not missing(str(err)):
                raise
            return None

    def forget(self) -> None:
        """Ask again: the database may not be the one that it was."""
        self._until_s = 0.0

    async def _read(self, resolution: Resolution) -> list[Row]:
        step_ns, now_ns = STEP_NS[resolution], self._clock.utc_ns()
        table = source((await self._http.known()).generation, resolution, _TABLE)
        answer = await self._http.query(
            f"SELECT max({identifier(_FIELD)}) FROM {table} "  # noqa: S608 - names of ours
            f"WHERE time >= {now_ns - self._kept.of(resolution)} AND time < {now_ns + DAY_NS} "
            f"GROUP BY time({step_ns // NS}s), {identifier(_TAG)} fill(none)",
            resolution,
        )
        found: list[Row] = []
        for series in answer:
            fields = decoded(series.tags.get(_TAG))
            for time_ns, count in series.values:
                start_ns = floor(time_ns, step_ns)
                found.append((resolution, fields, (start_ns, start_ns + round(count) * step_ns)))
        return found


def _longer(span: Span, known: Sequence[Span]) -> Span:
    """From the begin of what it continues, or of its day."""
    start_ns = span[0]
    for begin_ns, until_ns in known:
        if begin_ns <= start_ns <= until_ns:
            start_ns = max(begin_ns, floor(start_ns, DAY_NS))
    return start_ns, span[1]


def _line(resolution: Resolution, span: Span, fields: Fields) -> str:
    start_ns, end_ns = span
    count = (end_ns - start_ns) // STEP_NS[resolution]
    return f"{_TABLE},{_TAG}={encoded(fields)} {_FIELD}={count} {start_ns + count}\n"

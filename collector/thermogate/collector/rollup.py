"""Rolls up what this collector has stored: minutes soon after their end, and again when samples come late."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from thermogate.collector.config import RollupSettings
from thermogate.collector.counters import Counters
from thermogate.collector.rollup_journal import Journal, State, listed
from thermogate.collector.rollup_windows import (
    ALL,
    HOUR_NS,
    MINUTE_NS,
    Dirty,
    Marker,
    Nodes,
    chunks,
    followed,
    newest_gap,
    runs,
    uncovered,
)
from thermogate.collector.store.base import Batch, KnowsOldest, RollsUp
from thermogate.collector.store.resolution import (
    STEP_NS,
    Kept,
    Resolution,
    Span,
    ceil,
    floor,
    horizon,
    merged,
)
from thermogate.core.clock import NS, Clock
from thermogate.core.errors import StoreError

log = logging.getLogger(__name__)

_CHUNK = 1000
"""Minutes times nodes in one request: half a million samples of 8 GPUs, a second's work."""
_FLEET = 100
"""Nodes that "all nodes" is taken for until it is known better."""
_QUICK_S = 0.3
_SLOW_S = 1.0
"""A step over older samples is made longer, or shorter, to take between these."""
_LONGEST_NS = 24 * HOUR_NS
_SET_BACK_NS = 2 * HOUR_NS
"""Of what has been rolled up, more than this in the future: it was another clock that said it had ended."""


class Roller:
    """`open`, then `stored` for every batch that the store has taken, while `run` runs.

    Fresh windows go first; late ones, and what was stored before there were windows, take at most
    `load_ratio` of the time. A store that fails is asked again at the next look.
    """

    def __init__(
        self,
        store: RollsUp,
        journal: Journal,
        settings: RollupSettings,
        kept: Kept,
        counters: Counters,
        clock: Clock,
    ) -> None:
        self._store = store
        self._journal = journal
        self._settings = settings
        self._kept = kept
        self._counters = counters
        self._clock = clock
        self._dirty: dict[Resolution, Dirty] = {}
        self._marker = Marker(Dirty("1m", 0))
        self._fleet = _FLEET
        self._step_ns = MINUTE_NS
        self._stepped_over = False
        self._state: State | None = None
        self._failing_since_s: float | None = None

    async def open(self) -> None:
        """Take up what an earlier run has left. To be called before anything is stored."""
        now_ns = self._clock.utc_ns()
        state, notes = await asyncio.to_thread(self._journal.open)
        minute_ns = floor(now_ns, MINUTE_NS)
        until_ns: Mapping[Resolution, int] = state.until_ns if state else {}
        minutes = Dirty("1m", max(until_ns.get("1m", minute_ns), self._oldest_ns(None)))
        hours = Dirty("1h", until_ns.get("1h", -(-minute_ns // HOUR_NS) * HOUR_NS))
        self._dirty = {"1m": minutes, "1h": hours}
        self._marker = Marker(minutes)
        for resolution, windows in state.dirty.items() if state else ():
            for start_ns, names in windows.items():
                nodes = None if names is None else {name.encode() for name in names}
                self._dirty[resolution].add(start_ns, nodes)
        for start_ns, node in notes:
            minutes.add(start_ns, None if node == ALL else {node})
        if minutes.add(minute_ns, None):  # an earlier run may have stored some of it
            self._journal.note([(minute_ns, ALL)])

    def stored(self, batch: Batch) -> None:
        """The store has taken this. To be called before the nodes hear of it."""
        self._follow()
        noted = self._marker.mark(batch.telemetry, self._clock.utc_ns(), self._oldest_ns(None))
        if noted:
            self._journal.note(noted)

    async def run(self) -> None:
        """Look for windows every `every_s`, for ever."""
        try:
            while True:
                began_s = self._clock.steady_s()
                await self._look_once(began_s + self._settings.every_s)
                await self._snapshot()
                await self._clock.sleep_until(began_s + self._settings.every_s)
        finally:
            self._journal.keep(self._now(), self._journal.rotate())
            self._journal.close()

    async def _look_once(self, until_s: float) -> None:
        try:
            if self._settings.fresh != "none":
                await self._fresh()
            await self._late(until_s)
            if self._settings.fresh != "none":
                await self._older(until_s)
        except StoreError as err:
            self._failed(err)
        self._counters.rollup_waiting = sum(dirty.late_count for dirty in self._dirty.values())

    async def _fresh(self) -> None:
        """Windows that have ended since the last look."""
        closed_ns = floor(self._clock.utc_ns() - round(self._settings.after_s * NS), MINUTE_NS)
        for resolution, dirty in self._dirty.items():
            end_ns = floor(closed_ns, STEP_NS[resolution])
            if end_ns < dirty.until_ns - _SET_BACK_NS:
                dirty.until_ns = end_ns + STEP_NS[resolution]  # the clock was ahead: time has not come so far
            if end_ns <= dirty.until_ns:
                continue
            windows = dirty.fresh(end_ns)
            if self._settings.fresh == "all":
                first_ns = max(dirty.until_ns, ceil(self._oldest_ns(None), STEP_NS[resolution]))
                windows = dict.fromkeys(range(first_ns, end_ns, STEP_NS[resolution]))
            self._fleet = max([self._fleet // 2, *(len(nodes or ()) for nodes in windows.values()), 1])
            for chunk in chunks(windows, _CHUNK, self._fleet):
                await self._roll_up(resolution, chunk, chunk)
            await self._store.cover(resolution, dirty.until_ns, end_ns)
            dirty.until_ns = end_ns

    def _follow(self) -> None:
        """Leave what has ended to another collector, which reads it `after_s` after its end. Half of that is
        for the difference of two clocks: what is stored later is late.
        """
        if self._settings.fresh == "none":
            ended_ns = self._clock.utc_ns() - round(self._settings.after_s / 2 * NS)
            for resolution, dirty in self._dirty.items():
                dirty.leave(floor(ended_ns, STEP_NS[resolution]))

    async def _late(self, until_s: float) -> None:
        """Windows that have been made before samples came for them."""
        self._follow()
        minutes, hours = self._dirty["1m"], self._dirty["1h"]
        minutes.forget(self._oldest_ns(None))
        hours.forget(self._oldest_ns("1m"))
        for chunk in chunks(minutes.late(), _CHUNK, self._fleet):
            if self._clock.steady_s() >= until_s:
                return
            await self._paced("1m", chunk, followed(chunk, minutes.until_ns))
        unmade = {floor(start_ns, HOUR_NS) for start_ns, _ in minutes.items()}
        ended_ns = minutes.until_ns - HOUR_NS
        late = hours.late().items()
        made = {
            start_ns: nodes for start_ns, nodes in late if start_ns <= ended_ns and start_ns not in unmade
        }
        for chunk in chunks(made, _CHUNK, self._fleet):
            if self._clock.steady_s() >= until_s:
                return
            await self._paced("1h", chunk, chunk)

    async def _older(self, until_s: float) -> None:
        """What was stored before this collector rolled up, newest first."""
        await self._step_over_nothing()
        covered: dict[Resolution, Sequence[Span]] = dict(await self._store.covered())
        until_ns = {resolution: dirty.until_ns for resolution, dirty in self._dirty.items()}
        while self._clock.steady_s() < until_s:
            gap = newest_gap(covered, until_ns, self._oldest_ns(None), self._step_ns)
            if gap is None:
                return
            resolution, (first_ns, last_ns) = gap
            windows: dict[int, Nodes] = dict.fromkeys(range(first_ns, last_ns, STEP_NS[resolution]))
            took_s = await self._paced(resolution, {}, windows)
            await self._store.cover(resolution, first_ns, last_ns)
            covered[resolution] = merged([*covered.get(resolution, ()), (first_ns, last_ns)])
            if took_s < _QUICK_S:
                self._step_ns = min(2 * self._step_ns, _LONGEST_NS)
            elif took_s > _SLOW_S:
                self._step_ns = max(floor(self._step_ns // 2, MINUTE_NS), MINUTE_NS)

    async def _step_over_nothing(self) -> None:
        """Once: before its oldest sample a store has nothing to roll up; what comes for that time is late."""
        if self._stepped_over or not isinstance(self._store, KnowsOldest):
            return
        stored_ns = await self._store.oldest()
        until_ns = self._dirty["1m"].until_ns
        end_ns = until_ns if stored_ns is None else min(floor(stored_ns, HOUR_NS), until_ns)
        covered = (await self._store.covered()).get("1m", ())
        for first_ns, last_ns in uncovered(covered, self._oldest_ns(None), end_ns):
            await self._store.cover("1m", first_ns, last_ns)
            hours = ceil(first_ns, HOUR_NS), floor(min(last_ns, self._dirty["1h"].until_ns), HOUR_NS)
            if hours[0] < hours[1]:
                await self._store.cover("1h", *hours)
        self._stepped_over = True

    async def _paced(
        self, resolution: Resolution, taken: Mapping[int, Nodes], windows: Mapping[int, Nodes]
    ) -> float:
        """Roll up, leave the store alone in proportion, and return how many seconds it took."""
        began_s = self._clock.steady_s()
        await self._roll_up(resolution, taken, windows)
        now_s = self._clock.steady_s()
        await self._clock.sleep_until(now_s + (now_s - began_s) * (1 / self._settings.load_ratio - 1))
        return now_s - began_s

    async def _roll_up(
        self, resolution: Resolution, taken: Mapping[int, Nodes], windows: Mapping[int, Nodes]
    ) -> None:
        """Make windows, of which those `taken` are dirty now and no longer then."""
        dirty = self._dirty[resolution]
        for start_ns in taken:
            dirty.take(start_ns)
        try:
            await self._store.roll_up(resolution, runs(windows, STEP_NS[resolution]))
        except BaseException:
            for start_ns, nodes in taken.items():
                dirty.add(start_ns, nodes)
            raise
        self._recovered()
        self._counters.rolled_up += len(windows)
        if resolution == "1m" and taken:
            for start_ns, nodes in windows.items():
                self._dirty["1h"].add(floor(start_ns, HOUR_NS), nodes)

    async def _snapshot(self) -> None:
        """Put the state on disk when it is another one."""
        state = self._now()
        if state != self._state or self._journal.is_full:
            await asyncio.to_thread(self._journal.keep, state, self._journal.rotate())
            self._state = state

    def _now(self) -> State:
        """Which nodes a fresh minute has is not noted: it is made of all after a restart."""
        minutes, hours = self._dirty["1m"], self._dirty["1h"]
        fresh_ns = minutes.until_ns
        return State(
            until_ns={resolution: dirty.until_ns for resolution, dirty in self._dirty.items()},
            dirty={
                "1m": {
                    start: None if start >= fresh_ns else listed(nodes) for start, nodes in minutes.items()
                },
                "1h": {start: listed(nodes) for start, nodes in hours.items()},
            },
        )

    def _oldest_ns(self, resolution: Resolution | None) -> int:
        """Windows before have lost, or will soon lose, some of what they are made from."""
        return horizon(resolution, self._kept, self._clock.utc_ns()) + HOUR_NS

    def _failed(self, err: StoreError) -> None:
        self._counters.rollup_errors += 1
        if self._failing_since_s is None:
            self._failing_since_s = self._clock.steady_s()
            log.error("the store does not roll up; questions are answered from samples meanwhile: %s", err)

    def _recovered(self) -> None:
        if self._failing_since_s is not None:
            log.info("the store rolls up again after %.0f s", self._clock.steady_s() - self._failing_since_s)
            self._failing_since_s = None

"""Live sensors on a fixed grid: every source read at once, none waited for beyond its tick."""

from collections.abc import AsyncIterator, Sequence

from thermogate.agent.config import SamplerSettings
from thermogate.agent.feed import Tick
from thermogate.agent.gathering import wait_all
from thermogate.agent.guard import Guard
from thermogate.agent.sources.base import Reading, Source, SourceEvent
from thermogate.core.clock import NS, Clock
from thermogate.core.model import DeviceInfo, Event, Origin, SourceReport

_LATE_SHARE = 0.1
"""A tick that begins later than this share of the period is counted as late (schema: late_count)."""
_READ_SHARE = 0.8
"""Share of a period that sources may take; what comes later is absent from the tick."""


class Sampler:
    """The feed of a node's own sensors.

    Ticks stand on absolute deadlines: a late tick is counted, a missed one is skipped and counted,
    and the grid never drifts. A wall clock that is set moves the stamps, not the grid, and is
    reported.
    """

    def __init__(
        self,
        node: str,
        sources: Sequence[Source],
        *,
        period_s: float,
        clock: Clock,
        settings: SamplerSettings = SamplerSettings(),  # noqa: B008 - frozen
    ) -> None:
        self.node = node
        self.origin: Origin | None = None
        self._guards = [Guard(source, settings) for source in sources]
        self._period_s = period_s
        self._clock = clock
        self._settings = settings
        self._utc_of_steady_ns: int | None = None
        self._counters: dict[str, float] = {"ticks_count": 0, "late_count": 0, "skipped_count": 0}

    async def open(self) -> None:
        """Open every source, waiting for the slow ones up to `open_timeout_s`; those go on by themselves.

        None of them failing is fatal: each reports what it found.
        """
        now_s = self._clock.steady_s()
        calls = [guard.open(now_s) for guard in self._guards]
        await wait_all(calls, self._settings.open_timeout_s)
        for guard in self._guards:
            guard.collect(now_s)

    def reports(self) -> tuple[SourceReport, ...]:
        """What each source found, in the order of the sources."""
        return tuple(guard.report for guard in self._guards)

    def devices(self) -> tuple[DeviceInfo, ...]:
        """All devices of all sources."""
        return tuple(device for guard in self._guards for device in guard.source.devices)

    def counters(self) -> dict[str, float]:
        """Ticks done, late and skipped, and how long the last one took to read (core/schema.py: agent)."""
        return dict(self._counters)

    def economize(self, *, frugal: bool) -> None:
        """Leave the optional sensors out from the next tick on, or take them in again."""
        for guard in self._guards:
            guard.source.frugal = frugal

    async def ticks(self) -> AsyncIterator[Tick]:
        """One tick a period, for ever."""
        period_s = self._period_s
        start_s = self._clock.steady_s()
        number = 0
        while True:
            await self._clock.sleep_until(start_s + number * period_s)
            behind_s = self._clock.steady_s() - (start_s + number * period_s)
            missed = int(behind_s / period_s)
            number += missed
            self._counters["skipped_count"] += missed
            self._counters["ticks_count"] += 1
            self._counters["late_count"] += behind_s - missed * period_s > _LATE_SHARE * period_s
            yield await self._read()
            number += 1

    async def close(self) -> None:
        """Close the sources that answer; one that hangs is left behind with its thread."""
        for guard in self._guards:
            guard.close()

    async def _read(self) -> Tick:
        time_ns, elapsed_s = self._clock.utc_ns(), self._clock.steady_s()
        events = self._note_clock(time_ns, elapsed_s)
        calls = []
        for guard in self._guards:
            call, said = guard.begin(elapsed_s)
            events += said
            if call is not None:
                calls.append(call)
        await wait_all(calls, _READ_SHARE * self._period_s)
        now_s = self._clock.steady_s()
        self._counters["sweep_s"] = now_s - elapsed_s
        readings: list[Reading] = []
        for guard in self._guards:
            read, said = guard.collect(now_s)
            readings += read
            events += said
        return Tick(time_ns, elapsed_s, tuple(readings), tuple(self._event(e, time_ns) for e in events))

    def _note_clock(self, time_ns: int, elapsed_s: float) -> list[SourceEvent]:
        """An event when the wall clock has gone another way than the steady one since the last tick."""
        before_ns, self._utc_of_steady_ns = self._utc_of_steady_ns, time_ns - round(elapsed_s * NS)
        jump_s = 0.0 if before_ns is None else (self._utc_of_steady_ns - before_ns) / NS
        if abs(jump_s) < self._settings.clock_jump_s:
            return []
        way = "forward" if jump_s > 0 else "back"
        text = f"the node's clock was set {way} by {abs(jump_s):.1f} s, or the node slept"
        return [SourceEvent("clock_jumped", text, data={"jump_s": jump_s})]

    def _event(self, event: SourceEvent, time_ns: int) -> Event:
        return Event(
            node=self.node,
            event=event.event,
            time_ns=time_ns,
            text=event.text,
            device_kind=event.kind,
            device=event.device,
            data=event.data,
        )

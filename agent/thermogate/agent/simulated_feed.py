"""One node of a simulated fleet as the feed of a real agent."""

from collections.abc import AsyncIterator, Sequence

import msgspec

from thermogate.agent.feed import Tick
from thermogate.agent.simulated import ORIGIN, Fleet, Played
from thermogate.agent.simulated_journal import Journal
from thermogate.core.clock import NS, Clock
from thermogate.core.model import DeviceInfo, Event, Origin, SourceReport

_SLOTS = 20
"""Parts of a period that nodes are spread over: those of one are served in one turn, which costs a
quarter less than a turn for each."""


class Jump(msgspec.Struct, frozen=True):
    """A node's wall clock is set by `by_s`, when its steady clock has gone on by `at_s`."""

    at_s: float
    by_s: float


class JumpingClock:
    """A clock like `clock`, except that its wall clock is set now and then."""

    def __init__(self, clock: Clock, jumps: Sequence[Jump]) -> None:
        self._clock = clock
        self._jumps = jumps
        self._began_s = clock.steady_s()

    def utc_ns(self) -> int:
        """UTC as a machine has it whose clock has been set."""
        passed_s = self.steady_s() - self._began_s
        return self._clock.utc_ns() + sum(
            round(jump.by_s * NS) for jump in self._jumps if jump.at_s <= passed_s
        )

    def steady_s(self) -> float:
        """That of `clock`: who sets a clock does not move it."""
        return self._clock.steady_s()

    async def sleep_until(self, steady_s: float) -> None:
        """As `clock` does."""
        await self._clock.sleep_until(steady_s)


class SimulatedFeed:
    """Ticks stand on a grid of the fleet's period, each node's a little later than that of the one before.

    What a tick says is in the journal before it is given out. It ends when it is told to.
    """

    def __init__(self, fleet: Fleet, index: int, journal: Journal, clock: Clock) -> None:
        self.node = fleet.name(index)
        self.origin: Origin | None = ORIGIN
        self.samples = 0
        """Lines given out."""
        self.skipped = 0
        """Ticks left out because this process was late."""
        self._fleet = fleet
        self._journal = journal
        self._clock = clock
        self._played = fleet.devices(index)
        self._heads = tuple(_head(self.node, played.device) for played in self._played)
        self._phase_s = fleet.period_s * (index % _SLOTS) / _SLOTS
        self._devices = tuple(played.device for played in self._played)
        self._reports = (
            SourceReport("simulated", True, f"SIMULATED from {len(fleet.traces)} recorded traces"),
        )
        self._ended = False

    def reports(self) -> tuple[SourceReport, ...]:
        """One sentence that says that all of this is simulated."""
        return self._reports

    def devices(self) -> tuple[DeviceInfo, ...]:
        """As recorded, under the numbers that they have on this node."""
        return self._devices

    def counters(self) -> dict[str, float]:
        """None: they would go into the store as a node's own cost, which nobody measured."""
        return {}

    def economize(self, *, frugal: bool) -> None:
        """There is no sensor to leave out."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    def end(self) -> None:
        """No more ticks."""
        self._ended = True

    async def ticks(self) -> AsyncIterator[Tick]:
        """A tick a period; one that is late by more than that is skipped and counted."""
        period_s = self._fleet.period_s
        start_s = self._clock.steady_s() + self._phase_s
        number = 0
        while True:
            await self._clock.sleep_until(start_s + number * period_s)
            if self._ended:
                return
            missed = int((self._clock.steady_s() - start_s) / period_s) - number
            number += missed + 1
            self.skipped += missed
            yield self._tick()

    def _tick(self) -> Tick:
        time_ns = self._clock.utc_ns()
        tick = self._journal.note(time_ns)
        lines, events = [], []
        for head, played in zip(self._heads, self._played, strict=True):
            row = played.row(tick)
            fields = played.trace.rows[row]
            if fields:
                lines.append(f"{head}{fields} {time_ns}\n")
            if row in played.trace.events:
                events += [self._event(event, played, time_ns) for event in played.trace.events[row]]
        self.samples += len(lines)
        return Tick(time_ns, self._clock.steady_s(), (), tuple(events), "".join(lines))

    def _event(self, event: Event, played: Played, time_ns: int) -> Event:
        device = played.device
        text = f"{device.kind}{device.device} {event.text.partition(' ')[2]}"
        return msgspec.structs.replace(
            event, node=self.node, device=device.device, time_ns=time_ns, text=text
        )


def _head(node: str, device: DeviceInfo) -> str:
    """A line up to its fields, as `wire.format_line` has it."""
    model = f",model={device.model}" if device.model else ""
    return f"{device.kind},node={node},device={device.device}{model},origin={ORIGIN} "

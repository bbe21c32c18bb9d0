"""What drives an agent: ticks, whether they come from sensors or from a recording."""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from thermogate.agent.sources.base import Reading
from thermogate.core.model import DeviceInfo, Event, Origin, SourceReport


class Tick(msgspec.Struct, frozen=True):
    """Everything read at one instant.

    `time_ns` is UTC. `elapsed_s` is the feed's own steady clock: for sensors the monotonic clock,
    for a recording the recorded time, so that RLE sees the recorded spacing at any speed.
    `lines` are lines of telemetry that need no pipeline any more, as a simulated node has them.
    """

    time_ns: int
    elapsed_s: float
    readings: tuple[Reading, ...]
    events: tuple[Event, ...] = ()
    lines: str = ""


class Feed(Protocol):
    """One node's samples, in order of time."""

    node: str
    origin: Origin | None

    def reports(self) -> tuple[SourceReport, ...]:
        """What was found and what was not, and why; final once `ticks` has begun."""
        ...

    def devices(self) -> tuple[DeviceInfo, ...]:
        """The devices known now."""
        ...

    def counters(self) -> dict[str, float]:
        """What it says of itself, by fields of core/schema.py: ticks_count, late_count and so on."""
        ...

    def economize(self, *, frugal: bool) -> None:
        """Leave optional sensors out from the next tick on, or take them in again."""
        ...

    def ticks(self) -> AsyncIterator[Tick]:
        """Ticks until the feed ends or its task is cancelled; a recording ends, sensors do not."""
        ...

    async def close(self) -> None:
        """A stop on purpose: let go of devices; a recording will play from its beginning again."""
        ...

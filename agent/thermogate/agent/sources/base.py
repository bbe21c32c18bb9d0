"""What a source of samples is: sensors of one vendor or kind, asked once a tick."""

from typing import Literal, Protocol

import msgspec

from thermogate.core.model import DeviceInfo, EventKind, SourceReport
from thermogate.core.schema import Kind

Fields = dict[str, float | int]
"""Names of core/schema.py and what was measured at one tick. What was not is left out: never 0,
never the last value."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What one device measured at one tick; `device` is its number on the node ("0"), "" for the node.

    `pids` are the processes that have work on the device, None when they were not asked for at
    this tick.
    """

    kind: Kind
    device: str
    fields: Fields
    pids: tuple[int, ...] | None = None


class SourceEvent(msgspec.Struct, frozen=True, gc=False):
    """Something that began or ended on a device, seen at this tick.

    `text` is one sentence for a person, `data` the same as numbers with units in the names.
    `report` is what the source has found by now, when that is more or less than it said before.
    """

    event: EventKind
    text: str
    kind: Kind | Literal[""] = ""
    device: str = ""
    data: dict[str, float | str] = {}
    report: SourceReport | None = None


class Source(Protocol):
    """Sensors that are opened, read and closed together.

    Every method blocks and is called in some thread, not always the same, and never two at once.
    """

    frugal: bool
    """Set by the sampler: while true, leave out the optional sensors, those that neither RLE nor the
    safety of the device needs."""

    @property
    def interval_s(self) -> float:
        """How often it is worth asking; 0: at every tick."""
        ...

    @property
    def name(self) -> str:
        """Short and stable: "nvml", "cpu"."""
        ...

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """The devices known now; a device that answers late is described late."""
        ...

    def open(self) -> SourceReport:
        """Find devices, or say in one sentence why there are none. Raises nothing."""
        ...

    def read(self) -> tuple[list[Reading], list[SourceEvent]]:
        """What is measured now. Raises SourceError when there is nothing now; ask again next tick."""
        ...

    def close(self) -> None:
        """Let go of what `open` took; harmless when `open` found nothing."""
        ...

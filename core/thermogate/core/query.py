"""What can be asked of a store. Every store answers the same questions in the same form.

Time ranges are [start_ns, end_ns) in UTC nanoseconds. A value that was not measured is missing
from the answer, never 0.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

import msgspec

from thermogate.core.decision import GateDecision
from thermogate.core.model import Event, EventKind, Status
from thermogate.core.schema import Kind
from thermogate.core.wire import Point

Reduction = Literal["mean", "min", "max"]


class Device(msgspec.Struct, frozen=True, order=True):
    """Identity of a device: `kind` gpu or cpu, `device` its number on `node`."""

    node: str
    kind: Kind
    device: str


class SeriesPoint(msgspec.Struct, frozen=True):
    """The samples of one step, which begins at `time_ns`."""

    time_ns: int
    mean: float
    min: float
    max: float
    count: int


class Series(msgspec.Struct, frozen=True):
    """One field of one device, oldest step first; steps without samples are missing."""

    device: Device
    field: str
    points: tuple[SeriesPoint, ...]


class Ranked(msgspec.Struct, frozen=True):
    """A device with the value it was ranked by."""

    device: Device
    value: float


class DeviceTime(msgspec.Struct, frozen=True):
    """A time of one device, [start_ns, end_ns)."""

    device: Device
    start_ns: int
    end_ns: int


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What the samples of a device over a time come to. A value of which there was no sample is None.

    `first_ns` and `last_ns` are of its first and last sample; means are over the samples that have
    the field, and `rle_count` is how many have an RLE. `collapse_count` counts collapses that began
    and one that lasted at the first sample. `energy_j` is by how much the energy counter has grown
    over `energy_s`, from its first to its last sample; a step down, when the counter began anew,
    counts nothing.
    """

    first_ns: int
    last_ns: int
    sample_count: int
    power_w: float | None = None
    temp_c: float | None = None
    temp_max_c: float | None = None
    rle: float | None = None
    rle_count: int = 0
    collapse_ratio: float | None = None
    collapse_count: int | None = None
    throttled_ratio: float | None = None
    energy_j: float | None = None
    energy_s: float = 0.0


class Query(Protocol):
    """Read side of a store. Every method raises StoreError when the store cannot answer."""

    async def latest(self) -> list[Point]:
        """The newest sample of every device and agent of the last day, in no order."""
        ...

    async def series(
        self,
        device: Device,
        fields: tuple[str, ...],
        *,
        start_ns: int,
        end_ns: int,
        step_ns: int,
    ) -> list[Series]:
        """One Series a field that has samples; steps stand on multiples of `step_ns` since 1970."""
        ...

    async def top(
        self,
        kind: Kind,
        field: str,
        *,
        start_ns: int,
        end_ns: int,
        limit: int,
        by: Reduction = "mean",
        largest: bool = True,
    ) -> list[Ranked]:
        """The `limit` devices with the largest (or smallest) `by` of `field` over the range."""
        ...

    async def usage(self, times: Sequence[DeviceTime]) -> list[Usage | None]:
        """What each device did over its time, in the order asked; None where there is no sample."""
        ...

    async def events(
        self,
        *,
        start_ns: int,
        end_ns: int,
        node: str | None = None,
        without: Sequence[str] = (),
        kinds: Sequence[EventKind] = (),
        limit: int = 1000,
    ) -> list[Event]:
        """Newest first; of some kinds only when any are named, and of no node named in `without`."""
        ...

    async def gates(self) -> list[GateDecision]:
        """The newest decision of each target, expired ones included, ordered by (kind, target)."""
        ...

    async def decisions(
        self, *, start_ns: int, end_ns: int, target: str | None = None, limit: int = 1000
    ) -> list[GateDecision]:
        """Every decision issued in the range, newest first."""
        ...

    async def statuses(self) -> list[Status]:
        """The newest status of each node, ordered by node."""
        ...

    def samples(
        self,
        *,
        start_ns: int,
        end_ns: int,
        node: str | None = None,
        device: str | None = None,
    ) -> AsyncIterator[list[Point]]:
        """Every sample in the range in chunks, ordered by (measurement, node, device, time).

        `device` is a kind and number as people write it: "gpu0", "cpu0".
        """
        ...

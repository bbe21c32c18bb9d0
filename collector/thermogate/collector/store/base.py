"""What a store is, and what is written into it."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self, cast, runtime_checkable

import msgspec

from thermogate.collector.store.resolution import Resolution, Span, Window
from thermogate.core.decision import GateDecision
from thermogate.core.errors import StoreError
from thermogate.core.model import Event, Status
from thermogate.core.query import Query
from thermogate.core.schema import MEASUREMENTS, SAMPLED_KINDS, Kind

DAY_NS = 86_400_000_000_000

Settling = asyncio.Future[bool]
"""Ends when a batch that was taken is past any crash (True) or may have been lost in one (False); cancelled
when the store closes before that is known."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What is written in one step.

    `telemetry` are payloads, header line included, that `wire.check_telemetry` has passed. Names in
    events and decisions (node, device, id, target) are fit for a tag, stamps are 0 to 2^63 - 1.
    """

    telemetry: tuple[bytes, ...] = ()
    events: tuple[Event, ...] = ()
    decisions: tuple[GateDecision, ...] = ()
    statuses: tuple[Status, ...] = ()


class Store(Query, Protocol):
    """Takes batches and answers queries: `async with store`.

    Of one device, one stamp is one sample: writing it again changes nothing. A node's newest status is
    the one written last, whatever its stamp, because a last will carries the stamp of the connect.
    """

    @property
    def description(self) -> str:
        """What stores and where, for a person: "DuckDB in DIR/store.duckdb"."""
        ...

    async def __aenter__(self) -> Self:
        """Open it. Raises UnavailableError when that will not work by itself later."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def write(self, batch: Batch) -> Settling | None:
        """Return when the store has taken the batch: None when every byte of it will survive a crash.

        A store that answers before it is durable returns what tells when it is; until then nothing of
        the batch may be acknowledged to a node. Raises StoreError when nothing is certain, to be tried
        again with the same batch, and RejectedError when the store will never take it.
        """
        ...


@runtime_checkable
class RollsUp(Protocol):
    """A store that also keeps windows of a minute and of an hour, as `resolution` says what they hold."""

    async def roll_up(self, resolution: Resolution, windows: Sequence[Window]) -> None:
        """Make these windows anew, of a minute from the samples and of an hour from the minutes.

        Doing it again changes nothing but adds what has come since. Asked for none of which the finer
        resolution is past its retention; making windows of more nodes than named does no harm.
        Raises StoreError when some may not be made; it is then asked again.
        """
        ...

    async def cover(self, resolution: Resolution, start_ns: int, end_ns: int) -> None:
        """From now on questions are answered from the windows of this time, as all were made once.

        Kept for good, together with what was covered before. Raises StoreError.
        """
        ...

    async def covered(self) -> Mapping[Resolution, tuple[Span, ...]]:
        """What has been covered so far, by whichever collector, as `resolution.merged`. Raises StoreError."""
        ...


@runtime_checkable
class KnowsOldest(Protocol):
    """A store that finds its oldest sample at once, so that nobody need look through the time before."""

    async def oldest(self) -> int | None:
        """Its stamp; None when there is no sample. Raises StoreError."""
        ...


class ThrottledError(StoreError):
    """The store is alive and asks to be left alone for `retry_after_s` seconds."""

    def __init__(self, text: str, *, retry_after_s: float) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


def split_device(text: str) -> tuple[Kind, str] | None:
    """("gpu", "0") of "gpu0"; None when no kind of device begins like this."""
    kind = next((kind for kind in MEASUREMENTS if text.startswith(kind)), None)
    return None if kind is None else (cast("Kind", kind), text.removeprefix(kind))


def matching_kinds(device: str | None) -> list[tuple[Kind, str | None]]:
    """Which measurements, and which number in each, "gpu0" or None (every device) stands for."""
    if device is None:
        return [(kind, None) for kind in sorted(SAMPLED_KINDS)]
    found = split_device(device)
    return [] if found is None else [found]

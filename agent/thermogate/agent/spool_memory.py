"""Where records wait while the disk takes none."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from thermogate.agent.spool_format import scan
from thermogate.agent.spool_record import Record, of_entry


class Held(NamedTuple):
    """An entry that is still to be written; `at_s` is the steady clock when it was made."""

    seq: int
    at_s: float
    entry: bytes


class Memory:
    """Entries in order, the oldest given up when there are more than `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: deque[Held] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        """Oldest first."""
        return iter(self._held)

    @property
    def first(self) -> Held:
        """The oldest. Raises IndexError without one."""
        return self._held[0]

    def add(self, held: Held) -> Held | None:
        """Keep one more; the oldest, if there is no place for it any longer."""
        self._held.append(held)
        return self._held.popleft() if len(self._held) > self._limit else None

    def done(self) -> None:
        """The oldest has been written."""
        self._held.popleft()

    def records(self, seq: int) -> Iterator[Record]:
        """Those from number `seq` on."""
        return (of_entry(next(scan(held.entry))) for held in self._held if held.seq >= seq)

    def written_s(self, seq: int) -> float | None:
        """When the first one from number `seq` on was made; None without one."""
        return next((held.at_s for held in self._held if held.seq >= seq), None)

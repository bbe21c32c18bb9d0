"""What a spool had to drop, until somebody reports it."""

from typing import Literal, NamedTuple

from thermogate.core.clock import NS, Clock

Why = Literal["size", "age", "memory"]


class Drop(NamedTuple):
    """Records dropped unstored for one reason, written between two UTC stamps.

    The reason is the bound that was reached: size or age of the files, or, while the disk takes
    none, how many records memory may hold. A range holds what was dropped and perhaps stored records.
    """

    why: Why
    records: int
    from_ns: int
    to_ns: int


class Drops:
    """Counts by reason; ranges are kept on the steady clock, so that a clock that is set moves none."""

    def __init__(self) -> None:
        self.total = 0
        """All since the start."""
        self._untold: dict[Why, tuple[int, float, float]] = {}

    def add(self, why: Why, count: int, from_s: float, to_s: float) -> None:
        """`count` more, written in a range of the steady clock."""
        self.total += count
        before = self._untold.get(why, (0, from_s, to_s))
        self._untold[why] = before[0] + count, min(before[1], from_s), max(before[2], to_s)

    def take(self, clock: Clock) -> list[Drop]:
        """What was dropped since the last call, one Drop a reason."""
        untold, self._untold = self._untold, {}
        zero_ns = clock.utc_ns() - round(clock.steady_s() * NS)
        return [
            Drop(why, count, zero_ns + round(from_s * NS), zero_ns + round(to_s * NS))
            for why, (count, from_s, to_s) in untold.items()
        ]

"""The circuit breaker: how much of a fleet, and of each group of it, may be held at once."""

import fnmatch
from collections import Counter
from collections.abc import Sequence

from thermogate.analytics.combine import Room
from thermogate.analytics.config import GroupSettings

FREE = Room()


class Groups:
    """Which groups a node is in."""

    def __init__(self, groups: Sequence[GroupSettings]) -> None:
        self._groups = groups
        self._of: dict[str, tuple[str, ...]] = {}

    def of(self, node: str) -> tuple[str, ...]:
        """The names of the groups of a node."""
        known = self._of.get(node)
        if known is None:
            known = self._of[node] = tuple(
                group.name
                for group in self._groups
                if any(fnmatch.fnmatchcase(node, pattern) for pattern in group.nodes)
            )
        return known

    def forget(self, node: str) -> None:
        """The node has gone."""
        self._of.pop(node, None)


class Breaker:
    """Counts what is known and what is held of it; `what` are "nodes" or "jobs".

    What is held stays held when the fleet shrinks: the breaker stops what is new and releases nothing.
    """

    def __init__(
        self, what: str, share: float, least: int, *, groups: Groups | None = None, group_share: float = 1.0
    ) -> None:
        self._what = what
        self._share = share
        self._least = least
        self._groups = groups
        self._group_share = group_share
        self._known: set[str] = set()
        self._held: set[str] = set()
        self._known_of: Counter[str] = Counter()
        self._held_of: Counter[str] = Counter()

    @property
    def held(self) -> frozenset[str]:
        """What is held now."""
        return frozenset(self._held)

    @property
    def most(self) -> int:
        """How many may be held now."""
        return self._most(len(self._known), self._share)

    def see(self, target: str) -> None:
        """The target is there."""
        if target not in self._known:
            self._known.add(target)
            self._known_of.update(self._of(target))

    def forget(self, target: str) -> None:
        """The target has gone, and is held no more."""
        self.set_held(target, held=False)
        if target in self._known:
            self._known.remove(target)
            self._known_of.subtract(self._of(target))

    def set_held(self, target: str, *, held: bool) -> None:
        """Whether the target is held."""
        if held == (target in self._held):
            return
        if held:
            self._held.add(target)
            self._held_of.update(self._of(target))
        else:
            self._held.remove(target)
            self._held_of.subtract(self._of(target))

    def room(self, target: str) -> Room:
        """Whether one more, this one, may be held."""
        if target in self._held:
            return FREE
        held, known = len(self._held), len(self._known)
        if held >= self._most(known, self._share):
            return Room(False, self._full(held, known, "", self._share))
        for group in self._of(target):
            held, known = self._held_of[group], self._known_of[group]
            if held >= self._most(known, self._group_share):
                return Room(False, self._full(held, known, f" of {group}", self._group_share))
        return FREE

    def _of(self, target: str) -> tuple[str, ...]:
        return self._groups.of(target) if self._groups is not None else ()

    def _most(self, known: int, share: float) -> int:
        # 0.1 of 30 nodes are 3, whatever a float makes of it
        return max(self._least, int(known * share + 1e-9))

    def _full(self, held: int, known: int, where: str, share: float) -> str:
        return f"{held} of {known} {self._what}{where} are held already ({share:.0%} at most)"

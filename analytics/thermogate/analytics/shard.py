"""Which nodes are this process's: several gates share a fleet, and each receives its own nodes only. Pure."""

import hashlib
from collections.abc import Iterable

from thermogate.analytics.subscriber import PARTS, TOPICS
from thermogate.core.wire import node_topic

_MAX_NODES = 50_000
"""Twice the largest fleet that this is for: statuses that a stranger invents do not fill the memory."""


class Shard:
    """The part of the fleet with this index, of `count` parts: by a hash of the name, the same everywhere.

    A part alone has all topics at once. Of several, each asks for the statuses and decisions of all, which
    brokers retain, and for what a node measures once it has seen its status.
    """

    def __init__(self, index: int, count: int) -> None:
        self._index = index
        self._count = count
        self._known: set[str] = set()

    def owns(self, node: str) -> bool:
        """Whether this shard decides about the node."""
        digest = hashlib.blake2b(node.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self._count == self._index

    def name(self, client_id: str) -> str:
        """What this shard is called at the broker."""
        return client_id if self._count == 1 else f"{client_id}-{self._index}-of-{self._count}"

    def topics(self) -> tuple[str, ...]:
        """What is subscribed to from the beginning."""
        return TOPICS if self._count == 1 else PARTS

    def topics_of(self, nodes: Iterable[str]) -> tuple[str, ...]:
        """What is to be subscribed to beside, now that these nodes have said their status."""
        if self._count == 1:
            return ()
        fresh = [node for node in dict.fromkeys(nodes) if node not in self._known and self.owns(node)]
        fresh = fresh[: _MAX_NODES - len(self._known)]
        self._known.update(fresh)
        return tuple(node_topic(node, leaf) for node in fresh for leaf in ("telemetry", "event"))

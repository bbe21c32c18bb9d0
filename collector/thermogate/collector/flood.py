"""How fast a node may send: a token bucket a node. Times come from the caller."""

import logging

from thermogate.collector.config import LimitSettings
from thermogate.core.wire import node_topic

log = logging.getLogger(__name__)

_NODES = node_topic("", "").rstrip("/") + "/"
_NAME_LENGTH = 128
"""What is longer is no name, and shares the bucket of those that begin so."""
_QUIET_S = 60.0
"""A node that has kept to its rate for this long has stopped flooding."""


class _Bucket:
    """What a node may still send, and what of it was dropped since it began to send too much."""

    __slots__ = ("at_s", "dropped", "dropped_s", "tokens")

    def __init__(self, tokens: float, now_s: float) -> None:
        self.tokens = tokens
        self.at_s = now_s
        self.dropped = 0
        self.dropped_s = 0.0


class Flood:
    """Says of each message whether its node may send it, and of a node once that it sends too much.

    `dropped` messages it was not to send; `nodes` are over their rate now. Bounded by `max_nodes`: a
    bucket that is full again says nothing and is forgotten.
    """

    def __init__(self, settings: LimitSettings) -> None:
        self.dropped = 0
        self.nodes: set[str] = set()
        self._rate = settings.node_msgs_per_s
        self._burst = float(settings.node_burst_msgs)
        self._max_nodes = settings.max_nodes
        self._buckets: dict[str, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def admits(self, topic: str, now_s: float) -> bool:
        """Whether this message is within its node's rate; if not, drop it and acknowledge it to no node.

        Its spool keeps it then and sends it again. Topics that no node writes to are not counted.
        """
        if not topic.startswith(_NODES):
            return True
        name = topic[len(_NODES) :].partition("/")[0][:_NAME_LENGTH]
        bucket = self._buckets.get(name) or self._new(name, now_s)
        tokens = bucket.tokens + (now_s - bucket.at_s) * self._rate
        bucket.at_s = now_s
        if tokens < 1.0:
            bucket.tokens = tokens
            self._drop(name, bucket, now_s)
            return False
        bucket.tokens = (tokens if tokens < self._burst else self._burst) - 1.0
        if bucket.dropped and now_s - bucket.dropped_s >= _QUIET_S:
            self._calmed(name, bucket)
        return True

    def _drop(self, name: str, bucket: _Bucket, now_s: float) -> None:
        self.dropped += 1
        if not bucket.dropped:
            self.nodes.add(name)
            log.warning(
                "node %s sends more than %g messages a second (collector.limits.node_msgs_per_s):"
                " the rest is dropped unacknowledged, and its spool keeps it",
                ascii(name)[1:-1],
                self._rate,
            )
        bucket.dropped += 1
        bucket.dropped_s = now_s

    def _calmed(self, name: str, bucket: _Bucket) -> None:
        log.info(
            "node %s keeps to its rate again; %d messages were dropped", ascii(name)[1:-1], bucket.dropped
        )
        self.nodes.discard(name)
        bucket.dropped = 0

    def _new(self, name: str, now_s: float) -> _Bucket:
        if len(self._buckets) >= self._max_nodes:
            self._forget(now_s)
        bucket = self._buckets[name] = _Bucket(self._burst, now_s)
        return bucket

    def _forget(self, now_s: float) -> None:
        """Make room: those that are full again, or all when more nodes than there may be send at once."""
        full_s = self._burst / self._rate
        kept = {name: one for name, one in self._buckets.items() if now_s - one.at_s < full_s}
        self._buckets = kept if len(kept) < self._max_nodes // 2 else {}
        self.nodes &= self._buckets.keys()

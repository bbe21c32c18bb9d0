"""Whatever stands between a message and the store: its node's rate, what it is, and what it may bring."""

from thermogate.collector.checking import Checked, Receipt, check
from thermogate.collector.config import CollectorSettings
from thermogate.collector.flood import Flood
from thermogate.collector.known import Known
from thermogate.collector.limits import Limits
from thermogate.core.clock import Clock
from thermogate.core.mqtt import Message
from thermogate.core.wire import split_topic


class Guard:
    """Two calls a message: `admits`, and for those that it does, `check`."""

    def __init__(self, settings: CollectorSettings, clock: Clock) -> None:
        self._flood = Flood(settings.limits)
        self._limits = Limits(settings.limits, settings.retention.raw_days)
        self._known = Known()
        self._clock = clock

    @property
    def flooding(self) -> int:
        """Nodes that send more than they may now."""
        return len(self._flood.nodes)

    def admits(self, message: Message) -> bool:
        """False for one that is over its node's rate: to be dropped and acknowledged to the broker only."""
        return self._flood.admits(message.topic, self._clock.steady_s())

    def check(self, message: Message) -> Checked:
        """Raises WireError with the reason for what is not to be stored."""
        return self._known_as_sound(message) or self._inspected(message)

    def _known_as_sound(self, message: Message) -> Checked | None:
        family, node, leaf = split_topic(message.topic)
        if (family, leaf) != ("node", "telemetry"):
            return None
        told = self._known.find(node, message.payload)
        if told is None or not self._limits.knows(told.time_ns, self._clock.utc_ns()):
            return None
        return Checked(message, message.payload, Receipt(node, told.spool, told.seq, told.ack))

    def _inspected(self, message: Message) -> Checked:
        checked = check(message)
        self._limits.inspect(checked, self._clock.utc_ns())
        if isinstance(checked.content, bytes) and checked.receipt is not None:
            self._known.learn(checked.receipt.node, checked.content, self._clock.steady_s())
        return checked

"""Whatever stands between a message and the store: its node's rate, what it is, and what it may bring."""

from thermogate.collector.checking import Checked, check
from thermogate.collector.config import CollectorSettings
from thermogate.collector.flood import Flood
from thermogate.collector.limits import Limits
from thermogate.core.clock import Clock
from thermogate.core.mqtt import Message


class Guard:
    """Two calls a message: `admits`, and for those that it does, `check`."""

    def __init__(self, settings: CollectorSettings, clock: Clock) -> None:
        self._flood = Flood(settings.limits)
        self._limits = Limits(settings.limits, settings.retention.raw_days)
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
        checked = check(message)
        self._limits.inspect(checked, self._clock.utc_ns())
        return checked

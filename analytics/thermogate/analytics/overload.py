"""A gate that cannot keep up: it leaves out samples, goes on deciding about now, and says so."""

import logging

from thermogate.core.clock import Clock
from thermogate.core.mqtt import MqttClient

log = logging.getLogger(__name__)

LOSSY = frozenset(("telemetry",))
"""What may be left out. Were every sample kept for a gate that is too slow, it would decide about older and
older ones, and what the broker says of its own decisions would wait behind them."""
WINDOW = 500
"""Events, statuses and words on their way; and by it the samples that wait are a few seconds old."""
_TOLD_S = 60.0
"""So long after the last sample that was left out it is a problem."""


class Overload:
    """Watches what a client leaves out; `look` at every tick."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self._until_s = 0.0

    @property
    def problem(self) -> str:
        """What to tell a person; "" when all samples are looked at."""
        if self._clock.steady_s() >= self._until_s:
            return ""
        return (
            f"more samples come than this process can look at: {self._count} were left out since the start; "
            "shards take a part of the fleet each (docs/scale.md)"
        )

    def look(self, client: MqttClient) -> None:
        """Note what was left out since the last look."""
        if client.dropped_count > self._count:
            if not self.problem:
                log.warning("more samples come than this process can look at: some are left out")
            self._count = client.dropped_count
            self._until_s = self._clock.steady_s() + _TOLD_S

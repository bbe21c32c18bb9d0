"""Decisions to the broker: retained, and said again whenever the connection comes back."""

import contextlib
import logging
from collections import OrderedDict

from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision
from thermogate.core.errors import NotConnectedError
from thermogate.core.mqtt import MqttClient
from thermogate.core.wire import encode, gate_topic

log = logging.getLogger(__name__)


class Publisher:
    """Keeps the newest decision of each target until it expires.

    On every connection all that is in force is said again: what could not be sent, what was on its
    way when the connection broke, and what a broker that keeps nothing on disk has forgotten. A
    subscriber that sees one twice sees the same id.
    """

    def __init__(self, client: MqttClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._newest: OrderedDict[tuple[str, str], GateDecision] = OrderedDict()

    def publish(self, decision: GateDecision) -> None:
        """Send now if there is a connection, and on the next one if not."""
        target = (decision.kind, decision.target)
        before = self._newest.pop(target, None)
        self._newest[target] = decision
        self._drop_expired()
        if before is None or before.state is not decision.state:
            log.info(
                "%s %s for %s %s: %s",
                decision.mode,
                decision.state,
                decision.kind,
                decision.target,
                decision.why,
            )
        self._send(decision)

    def connected(self) -> None:
        """Say again what is in force."""
        self._drop_expired()
        for decision in self._newest.values():
            self._send(decision)

    def _drop_expired(self) -> None:
        now_ns = self._clock.utc_ns()
        while self._newest:  # in the order of issue, so the first expires first
            target, oldest = next(iter(self._newest.items()))
            if oldest.valid_at(now_ns):
                return
            del self._newest[target]

    def _send(self, decision: GateDecision) -> None:
        topic = gate_topic(decision.kind, decision.target)
        with contextlib.suppress(NotConnectedError):  # `connected` sends it
            self._client.send(topic, encode(decision), retain=True)

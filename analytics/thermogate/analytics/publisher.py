"""Decisions to the broker: retained, and said again whenever the connection comes back."""

import contextlib
import logging
from collections import OrderedDict

from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision
from thermogate.core.errors import NotConnectedError
from thermogate.core.mqtt import MqttClient
from thermogate.core.wire import gate_topic

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
        self._newest: OrderedDict[tuple[str, str], tuple[GateDecision, bytes]] = OrderedDict()

    def publish(self, decision: GateDecision, payload: bytes) -> None:
        """Send now if there is a connection, and on the next one if not. `payload` is it, sealed."""
        target = (decision.kind, decision.target)
        before = self._newest.pop(target, None)
        self._newest[target] = decision, payload
        self._drop_expired()
        if before is None or before[0].state is not decision.state:
            log.info(
                "%s %s for %s %s: %s",
                decision.mode,
                decision.state,
                decision.kind,
                decision.target,
                decision.why,
            )
        self._send(decision, payload)

    def remember(self, decision: GateDecision, payload: bytes) -> None:
        """One of before a restart, oldest first: nobody may have heard it."""
        self._newest[decision.kind, decision.target] = decision, payload

    def connected(self) -> None:
        """Say again what is in force."""
        self._drop_expired()
        for decision, payload in self._newest.values():
            self._send(decision, payload)

    def is_outdated(self, decision: GateDecision) -> bool:
        """Whether a newer one was published about the same target. An old one that is retained instead, as
        it was sent twice or somebody has kept it, would be found by whoever comes later."""
        newest = self._newest.get((decision.kind, decision.target))
        return newest is not None and newest[0].seq > decision.seq

    def say_again(self, kind: str, target: str) -> None:
        """Somebody else has written over a decision in force."""
        self._drop_expired()
        newest = self._newest.get((kind, target))
        if newest is not None:
            self._send(*newest)

    def _drop_expired(self) -> None:
        now_ns = self._clock.utc_ns()
        while self._newest:  # in the order of issue, so the first expires first
            target, (oldest, _) = next(iter(self._newest.items()))
            if oldest.valid_at(now_ns):
                return
            del self._newest[target]

    def _send(self, decision: GateDecision, payload: bytes) -> None:
        topic = gate_topic(decision.kind, decision.target)
        with contextlib.suppress(NotConnectedError):  # `connected` sends it
            self._client.send(topic, payload, retain=True)

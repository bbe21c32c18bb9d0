"""From messages to what they say. What is malformed is refused here; the collector quarantines it."""

from typing import NamedTuple

from thermogate.core.decision import GateDecision
from thermogate.core.errors import WireError
from thermogate.core.gate_messages import Override
from thermogate.core.model import Event, Status
from thermogate.core.mqtt import Message
from thermogate.core.wire import (
    Point,
    check_telemetry,
    decode,
    gate_topic,
    node_topic,
    override_topic,
    parse_points,
    split_topic,
)

PARTS = (node_topic("+", "status"), gate_topic("node", "+"), override_topic("+", "+"))
"""What every one of several gates of a fleet has to hear."""
TOPICS = (*PARTS, gate_topic("job", "+"), node_topic("+", "telemetry"), node_topic("+", "event"))
"""What the only one hears."""


class Telemetry(NamedTuple):
    """The samples of one message."""

    node: str
    points: list[Point]


Said = Telemetry | Event | Status | GateDecision | Override


def understand(message: Message) -> Said | None:
    """What a message says; None for a topic that was cleared.

    Raises WireError when it is malformed or speaks of another node than its topic.
    """
    family, name, leaf = split_topic(message.topic)
    match family, leaf:
        case "node", "telemetry":
            check_telemetry(name, message.payload)
            return Telemetry(name, parse_points(message.payload))
        case "node", "event":
            event = decode(message.payload, Event)
            _same(event.node, name)
            return event
        case "node", "status":
            status = decode(message.payload, Status)
            _same(status.node, name)
            return status
        case "gate", target:
            if not message.payload:
                return None
            decision = decode(message.payload, GateDecision)
            _same(f"{decision.kind}/{decision.target}", f"{name}/{target}")
            return decision
        case "override", target:
            if not message.payload:
                return None
            word = decode(message.payload, Override)
            _same(f"{word.kind}/{word.target}", f"{name}/{target}")
            return word
    raise WireError(f"nothing is said on {message.topic}")


def _same(said: str, topic: str) -> None:
    if said != topic:
        raise WireError(f"message about {said[:200]} on the topic of {topic}")

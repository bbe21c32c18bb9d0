"""What passes between a client and its connection."""

from typing import NamedTuple


class Message(NamedTuple):
    """A received message. `connection` tells acknowledgements of an earlier connection apart."""

    topic: str
    payload: bytes
    retained: bool
    mid: int
    qos: int
    connection: int


class Will(NamedTuple):
    """What the broker publishes, retained, when this client is gone without a word."""

    topic: str
    payload: bytes


class Session(NamedTuple):
    """What a client is to the broker, on every connection."""

    client_id: str
    subscribe: tuple[str, ...]
    will: Will | None
    manual_ack: bool
    window: int = 0
    """Messages that the broker may have on their way unacknowledged, asked for by MQTT 5; 0: MQTT 3.1.1, and
    the broker's own number holds."""
    lossy: frozenset[str] = frozenset()
    """Last levels of topics that are asked for at QoS 0: what there is too much of is left out."""

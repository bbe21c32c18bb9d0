"""How big a run is, and how long each fault lasts."""

from typing import NamedTuple


class Plan(NamedTuple):
    """Times in seconds. `fleet_sets` and `collector_sets` are settings that differ from the shipped ones."""

    nodes: int
    lead_s: float
    """Of publishing before the fault."""
    kills: int
    """Of a collector; half as many before VictoriaMetrics, and a third of brokers and databases."""
    down_s: float
    """How long what was killed stays dead."""
    between_s: float
    """How long it lives until it is killed again."""
    fault_s: float
    """How long a fault lasts that is no kill."""
    cut_s: float
    """How long the network is cut: longer than the keepalive, 45 s, and the time to send again, 20 s."""
    tail_s: float
    """Of publishing after everything was caught up."""
    fleet_sets: tuple[str, ...] = ()
    collector_sets: tuple[str, ...] = ()


FULL = Plan(nodes=200, lead_s=5, kills=10, down_s=1, between_s=3, fault_s=30, cut_s=75, tail_s=3)
"""With every setting as shipped."""

SHORT = Plan(
    nodes=20,
    lead_s=0.5,
    kills=2,
    down_s=0.5,
    between_s=1.5,
    fault_s=3,
    cut_s=8,
    tail_s=0.5,
    fleet_sets=(
        "agent.uplink.ack_timeout_s=5",
        "mqtt.reconnect_min_s=0.1",
        "mqtt.reconnect_max_s=0.5",
    ),
    collector_sets=(
        "collector.ack_interval_s=0.5",
        "collector.retry_min_s=0.1",
        "collector.retry_max_s=0.5",
        "mqtt.reconnect_min_s=0.1",
        "mqtt.reconnect_max_s=0.5",
    ),
)
"""For the tests: waits are cut short, everything else is the same."""

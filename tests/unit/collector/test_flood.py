"""A node that sends too much is held to its rate, and nobody else is."""

import pytest

from thermogate.collector.config import LimitSettings
from thermogate.collector.flood import Flood
from thermogate.core.wire import gate_topic, node_topic

N1 = node_topic("n1", "telemetry")
SETTINGS = LimitSettings(node_msgs_per_s=10, node_burst_msgs=20, max_nodes=100)


def admitted(flood: Flood, topic: str, count: int, start_s: float, per_s: float) -> int:
    return sum(flood.admits(topic, start_s + number / per_s) for number in range(count))


def test_a_burst_passes_and_then_the_rate() -> None:
    flood = Flood(SETTINGS)
    assert admitted(flood, N1, 1000, 100.0, 100) == pytest.approx(20 + 10 * 10, abs=2)
    assert flood.dropped == pytest.approx(1000 - 120, abs=2)


def test_an_agent_with_a_backlog_is_never_held_up_by_the_defaults() -> None:
    flood = Flood(LimitSettings())
    assert admitted(flood, N1, 60_000, 0.0, 201) == 60_000


def test_all_topics_of_a_node_share_its_rate_and_another_node_has_its_own() -> None:
    flood = Flood(SETTINGS)
    admitted(flood, N1, 50, 5.0, 1e6)
    assert not flood.admits(node_topic("n1", "event"), 5.0)
    assert flood.admits(node_topic("n2", "telemetry"), 5.0)


def test_decisions_are_not_counted() -> None:
    assert admitted(Flood(SETTINGS), gate_topic("node", "n1"), 1000, 0.0, 1e6) == 1000


def test_a_flood_is_told_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    flood = Flood(SETTINGS)
    admitted(flood, N1, 500, 0.0, 1000)
    assert flood.nodes == {"n1"}
    for second in range(1, 90):
        flood.admits(N1, float(second))
    assert flood.nodes == set()
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert texts[0].startswith("node n1 sends more than 10 messages a second")
    assert texts[1] == f"node n1 keeps to its rate again; {flood.dropped} messages were dropped"


def test_names_that_a_stranger_invents_do_not_fill_the_memory() -> None:
    flood = Flood(SETTINGS)
    for number in range(10_000):
        flood.admits(node_topic(f"x{number}", "telemetry"), number / 1e6)
    assert len(flood) <= 100


def test_name_of_64_kb_takes_no_room_of_its_own() -> None:
    flood = Flood(LimitSettings())
    for number in range(100):
        flood.admits(f"thermogate/v1/node/{'x' * 60_000}{number}/telemetry", 0.0)
    assert len(flood) == 1

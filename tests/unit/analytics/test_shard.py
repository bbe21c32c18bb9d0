"""Every node belongs to exactly one shard, for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermogate.analytics.config import AnalyticsSettings
from thermogate.analytics.shard import Shard
from thermogate.analytics.subscriber import PARTS, TOPICS
from thermogate.core import config
from thermogate.core.errors import ConfigError


@given(st.text(min_size=1), st.integers(1, 9))
def test_every_node_belongs_to_exactly_one_shard(node, count):
    assert [Shard(index, count).owns(node) for index in range(count)].count(True) == 1


def test_who_owns_a_node_never_changes_between_versions_or_processes():
    owned = [node for node in (f"n{number}" for number in range(12)) if Shard(0, 2).owns(node)]
    assert owned == ["n0", "n2", "n4", "n5", "n6", "n8", "n10", "n11"]


def test_shares_are_about_equal():
    counts = [sum(Shard(index, 4).owns(f"node-{n:05}") for n in range(20_000)) for index in range(4)]
    assert all(4800 <= count <= 5200 for count in counts)


def test_a_gate_alone_asks_for_everything_at_once_and_for_nothing_more():
    alone = Shard(0, 1)
    assert alone.topics() == TOPICS
    assert alone.topics_of(["n1"]) == ()
    assert alone.name("gate") == "gate"


def test_a_shard_asks_for_what_its_own_nodes_measure_once_it_knows_of_them():
    shards = [Shard(index, 2) for index in (0, 1)]
    for shard in shards:
        assert shard.topics() == PARTS
    asked = [shard.topics_of(["n1", "n2", "n1"]) for shard in shards]
    assert asked == [
        ("thermogate/v1/node/n2/telemetry", "thermogate/v1/node/n2/event"),
        ("thermogate/v1/node/n1/telemetry", "thermogate/v1/node/n1/event"),
    ]
    assert shards[0].topics_of(["n2"]) == ()
    assert {shard.name("gate") for shard in shards} == {"gate-0-of-2", "gate-1-of-2"}


@pytest.mark.parametrize("shard", ["2/2", "1", "0/0", "-1/2", "a/b", "0/1000"])
def test_a_shard_that_makes_no_sense_is_refused(shard):
    with pytest.raises(ConfigError, match="shard"):
        config.load(AnalyticsSettings, sets=[f'shard="{shard}"'])

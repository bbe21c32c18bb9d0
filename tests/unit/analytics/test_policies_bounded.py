"""Whatever a node sends, every policy goes on: finite numbers, JSON that reads back, bounded memory."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.analytics.making import (
    Watched,
    WatchedConsistency,
    WatchedCooling,
    WatchedHardware,
    event,
    inventory,
    point,
    through_json,
)
from thermogate.analytics.policies.base import Peers
from thermogate.core.schema import MEASUREMENTS

FIELDS = [field.name for field in MEASUREMENTS["gpu"].fields]
WILD = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 1e308, -1e308, 1e-308, 87.0, 700.0]), st.floats(-1e308, 1e308)
)
SAMPLES = st.lists(st.dictionaries(st.sampled_from(FIELDS), WILD, max_size=20), min_size=1, max_size=12)
POLICIES = [Watched, WatchedHardware, WatchedCooling, WatchedConsistency]


@pytest.mark.parametrize("watched", POLICIES)
@settings(max_examples=40, deadline=None)
@given(samples=SAMPLES, seconds=st.sampled_from([1, 9, 60]), times=st.integers(1, 5))
def test_no_number_stops_a_policy_or_gets_lost_in_its_log(watched, samples, seconds, times):
    node = watched()
    node.peers = {"": Peers(100, 0.1, 0.001)}
    node.hear(inventory("A", rated_power_w=1e-308), event(0, "xid", xid=1e308, count=1e308))
    for n, fields in enumerate(samples * times):
        node.hear(point(n * seconds, **fields))
        assert through_json(node.state) == node.state
    for _, verdict in node.verdicts:
        assert through_json(verdict) == verdict
        assert 0.0 <= verdict.pace <= 1.0


@pytest.mark.parametrize("watched", POLICIES)
def test_the_state_of_a_policy_stops_growing(watched):
    node = watched()
    sizes = []
    for second in range(600):
        heard = [
            point(
                second,
                device=f"gpu{number}",
                temp_c=60.0 + 25.0 * (second % 7 == 0),
                power_w=500.0 + second % 13,
                power_limit_w=700.0,
                collapse=float(second % 9 == 0),
                ecc_corrected_count=float(second),
                clock_event_sw_thermal=float(second % 2),
                energy_j=float(second % 50),
            )
            for number in range(4)
        ]
        node.hear(heard, event(second, "xid", device=f"gpu{second % 4}", xid=second % 200))
        if second % 150 == 149:
            sizes.append(len(msgspec.json.encode(node.state)))
    assert sizes[-1] < 1.5 * sizes[2] + 2000

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
from thermogate.analytics.config import IdleSettings, LadderSettings, PowerSettings
from thermogate.analytics.policies import idle, ladder, power
from thermogate.analytics.policies.base import (
    Drawer,
    GroupObservation,
    JobObservation,
    Member,
    Observation,
    Peers,
)
from thermogate.core.clock import NS
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


SMALL = st.lists(
    st.dictionaries(
        st.sampled_from(
            ["util_ratio", "power_w", "power_limit_w", "rle", "rle_peak", "a_load_ratio", "collapse"]
        ),
        WILD,
        max_size=7,
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(samples=SMALL, seconds=st.sampled_from([1, 9, 60, 200]))
def test_no_number_stops_the_ladder_or_the_idle_policy_or_gets_lost_in_its_log(samples, seconds):
    climbing, waiting = ladder.initial(), idle.initial()
    for n, fields in enumerate(samples * 3):
        newest = point(n * seconds, **fields)
        seen = Observation(target="n17", now_ns=newest.time_ns, points=(newest,))
        climbing, verdict = ladder.step(LadderSettings(), climbing, seen)
        assert through_json(climbing) == climbing
        assert through_json(verdict) == verdict
        members = (Member(node="n17", device="gpu0", began_ns=0, point=newest),)
        job = JobObservation(target="j1", now_ns=newest.time_ns, members=members)
        waiting, verdict = idle.step(IdleSettings(after_s=300.0, start_s=300.0), waiting, job)
        assert through_json(waiting) == waiting
        assert through_json(verdict) == verdict


WATTS = st.one_of(st.none(), WILD)


@settings(max_examples=60, deadline=None)
@given(nodes=st.lists(st.tuples(WATTS, WATTS, st.floats(0, 1e308)), min_size=1, max_size=4))
def test_no_power_stops_the_budget_or_gets_lost_in_its_log(nodes):
    state = power.initial()
    for n in range(6):
        drawers = tuple(
            Drawer(node=f"n{k}", power_w=watts, rated_w=rated_w, floor_w=floor_w)
            for k, (watts, rated_w, floor_w) in enumerate(nodes)
        )
        seen = GroupObservation(target="feed", now_ns=(n + 1) * 20 * NS, cap_w=1000.0, drawers=drawers)
        state, verdicts = power.step(PowerSettings(), state, seen)
        assert through_json(state) == state
        assert all(through_json(verdict) == verdict for verdict in verdicts.values())


def test_a_node_that_claims_to_draw_what_no_node_can_slows_nobody_down():
    state, paces = power.initial(), []
    for n in range(60):
        honest = Drawer(node="n1", power_w=600.0, rated_w=700.0)
        liar = Drawer(node="n2", power_w=1e300, rated_w=None)
        seen = GroupObservation(target="feed", now_ns=(n + 1) * NS, cap_w=1000.0, drawers=(honest, liar))
        state, verdicts = power.step(PowerSettings(), state, seen)
        paces.append(verdicts["n1"].pace)
    assert set(paces) == {1.0}

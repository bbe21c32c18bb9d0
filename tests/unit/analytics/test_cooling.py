"""GPUs that are harder to cool than their peers: found on raised recordings, silent on healthy ones."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.policies import read, repeated, worsened
from tests.unit.analytics.making import NODE, NS, WatchedCooling, at, inventory, point, through_json
from tests.unit.analytics.test_hardware_xids import decision
from thermogate.analytics.config import CoolingSettings
from thermogate.analytics.policies import cooling
from thermogate.analytics.policies.base import Peers
from thermogate.core.decision import State
from thermogate.core.wire import Point

TRAININGS = Path(__file__).parents[2] / "recordings" / "training"
GPUS = ["rtx3090_resnet50", "rtx3070_mobilenet_v2"]
FLEET = {"H100": Peers(count=64, median_k_per_w=0.10, spread_k_per_w=0.004)}
RATED_W = 700.0


def sample(second, *, k_per_w=0.1, power_w=600.0, device="gpu0", air_c=30.0, model="H100", **fields):
    """A GPU at rest: its temperature is what its resistance makes of its power."""
    values = {"power_w": power_w, "temp_c": air_c + k_per_w * power_w, "power_limit_w": RATED_W, **fields}
    present = {name: value for name, value in values.items() if value is not None}
    return Point("gpu", NODE, device[3:], model, "", present, at(second))


def watched(**changed):
    node = WatchedCooling(**changed)
    node.peers = FLEET
    return node


def working(start, minutes, *, every=10, **kinds):
    """`minutes` of work, a sample every 10 s; `kinds` as `sample` has them."""
    return [sample(start + second, **kinds) for second in range(0, minutes * 60, every)]


def states(node):
    return [state for _, state in node.changes()]


def test_a_gpu_that_stands_out_for_half_an_hour_of_load_takes_its_node_out():
    node = watched()
    verdict = node.hear(*working(0, 60, k_per_w=0.15))
    ((second, state),) = node.changes()
    assert state is State.REPAIR
    assert 1800 <= second <= 2300
    assert verdict.pace == 0.0
    assert verdict.why == (
        "gpu0 heats up by 0.150 K a watt (median over 600 s of load), 50% more than the 0.100 K/W of its "
        "model in this fleet, 12 robust deviations, for 30 min of load (REPAIR from 35%): "
        "drain this node and look at the fan, the heat sink and the thermal paste of gpu0"
    )
    assert verdict.cjp.path == (
        "RUN when gpu0 is within 20% of its peers for 20 min of load (a burn-in serves), "
        "or it is no longer in this node"
    )


@pytest.mark.parametrize(
    ("stricter", "peers"),
    [
        ({"excess_ratio": 0.6}, FLEET),
        ({"excess_z": 20.0}, FLEET),
        ({"min_peers": 65}, FLEET),
        ({"load_ratio": 0.9}, FLEET),
        ({"out_windows": 40}, FLEET),
        ({"steady_c": 0.5, "window_count": 20}, FLEET),
        ({}, {}),
        ({}, {"A100": FLEET["H100"]}),
    ],
)
def test_each_condition_can_keep_it_from_firing(stricter, peers):
    node = watched(**stricter)
    node.peers = peers
    node.hear(*working(0, 60, k_per_w=0.15))
    assert node.changes() == []


def test_idling_says_nothing_of_cooling():
    node = watched()
    node.hear(*working(0, 120, k_per_w=0.4, power_w=80.0))
    assert node.changes() == []
    assert cooling.resistances(node.state) == {}


def test_while_it_warms_up_it_is_not_judged():
    node = watched()
    warming = [sample(second, temp_c=30.0 + second / 20) for second in range(0, 1200, 10)]
    node.hear(*warming)
    assert cooling.resistances(node.state) == {}


def test_a_hot_aisle_raises_all_of_a_node_and_is_no_fault_of_one():
    node = watched()
    for second in range(0, 3600, 10):
        node.hear([sample(second, device=f"gpu{n}", air_c=55.0) for n in range(8)])
    assert node.changes() == []


def test_where_the_inlet_is_known_a_node_that_is_hot_altogether_is_found():
    node = watched(inlet_c=30.0)
    for second in range(0, 3600, 10):
        node.hear([sample(second, device=f"gpu{n}", k_per_w=0.15) for n in range(8)])
    assert states(node) == [State.REPAIR]


def test_one_of_eight_that_stands_out_beside_its_neighbours_is_named():
    node = watched()
    for second in range(0, 3600, 10):
        heard = [sample(second, device=f"gpu{n}", k_per_w=0.15 if n == 5 else 0.1) for n in range(8)]
        node.hear(heard)
    assert states(node) == [State.REPAIR]
    assert node.verdicts[-1][1].why.startswith("gpu5 heats up by")
    assert "also" not in node.verdicts[-1][1].why


def test_rear_positions_that_run_a_tenth_hotter_are_no_fault():
    node = watched()
    for second in range(0, 3600, 10):
        node.hear([sample(second, device=f"gpu{n}", k_per_w=0.098 if n < 4 else 0.113) for n in range(8)])
    assert node.changes() == []


def test_it_is_released_when_it_has_been_among_its_peers_under_load():
    node = watched()
    node.hear(*working(0, 60, k_per_w=0.15), *working(3600, 240, power_w=80.0, k_per_w=0.1))
    assert states(node) == [State.REPAIR]  # idling in repair proves nothing
    verdict = node.hear(*working(20_000, 60, k_per_w=0.102))
    assert states(node) == [State.REPAIR, State.RUN]
    assert verdict.why.startswith("gpu0 is back at 0.102 K/W, within 20% of its peers for 20 min of load")


def test_another_gpu_in_its_place_releases_it():
    node = watched()
    node.hear(inventory("A", model="H100"), *working(0, 60, k_per_w=0.15))
    verdict = node.hear(inventory("B", model="H100"), *working(9000, 1, power_w=80.0))
    assert states(node) == [State.REPAIR, State.RUN]
    assert verdict.why.startswith("gpu0 is no longer in this node")


def test_a_gpu_that_is_taken_out_releases_it():
    node = watched()
    node.hear(inventory("A", "B"), *working(0, 60, k_per_w=0.15, device="gpu1"))
    node.hear(inventory("A"), *working(9000, 1, power_w=80.0))
    assert states(node) == [State.REPAIR, State.RUN]


def test_a_restart_forgets_no_repair():
    node = watched()
    verdict = node.hear(*working(0, 60, k_per_w=0.15))
    after = watched()
    after.state = through_json(cooling.resume(decision(verdict)))
    after.hear(*working(4000, 15, k_per_w=0.1))
    assert after.verdicts[-1][1].state is State.REPAIR
    after.hear(*working(4900, 30, k_per_w=0.1))
    assert after.verdicts[-1][1].state is State.RUN


def test_a_resistance_that_is_a_day_old_is_not_told_any_more():
    node = watched()
    node.hear(*working(0, 10))
    assert cooling.resistances(node.state) == {"gpu0": ("H100", pytest.approx(0.1))}
    node.hear(*working(100_000, 5, power_w=80.0), *working(100_400, 3, device="gpu1"))
    assert cooling.resistances(node.state) == {"gpu1": ("H100", pytest.approx(0.1))}


def test_the_distribution_of_a_fleet_is_robust():
    fleet = [("H100", 0.1 + 0.001 * (n % 5)) for n in range(60)] + [("H100", 0.9), ("A30", 0.3)]
    peers = cooling.distribution(fleet)
    assert set(peers) == {"H100"}
    assert peers["H100"].count == 61
    assert peers["H100"].median_k_per_w == pytest.approx(0.102)
    assert peers["H100"].spread_k_per_w == pytest.approx(1.4826 * 0.001)


def test_two_ways_of_cooling_under_one_name_are_no_distribution():
    assert cooling.distribution([("H100", 0.06)] * 60 + [("H100", 0.11)] * 40) == {}


def played(recording, peers, **changed):
    """A recording under the policy, with these peers of its model."""
    node = WatchedCooling(**changed)
    node.peers = {recording.model: peers} if peers else {}
    for row in recording.rows:
        if row.kind == "gpu" and row.temp_c is not None:
            node.hear(
                point(
                    (row.time_ns - recording.rows[0].time_ns) / NS,
                    temp_c=row.temp_c,
                    power_w=row.power_w,
                    power_limit_w=recording.rated_w["gpu"],
                )
            )
    return node


def as_one_of_the_fleet(name):
    """(recording, peers): what a fleet of this recording, give or take 5 %, has as resistance."""
    recording = read(TRAININGS / f"{name}.csv")
    ((_, own),) = cooling.resistances(played(recording, None, load_ratio=0.5).state).values()
    return recording, own, Peers(40, own, 0.05 * own)


@pytest.mark.parametrize("name", GPUS)
def test_a_recorded_training_is_itself_no_fault_and_is_one_at_half_as_much_again(name):
    recording, own, peers = as_one_of_the_fleet(name)
    recording = repeated(recording._replace(model=""), 4)
    healthy = played(recording, peers, load_ratio=0.5)
    assert healthy.changes() == []
    ill = played(worsened(recording, 1.5, own), peers, load_ratio=0.5)
    assert states(ill) == [State.REPAIR]
    assert ill.verdicts[-1][1].because[0].value == pytest.approx(1.5 * own, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 900, allow_nan=False),
            st.floats(-50, 200, allow_nan=False),
            st.integers(1, 400),
            st.sampled_from(["gpu0", "gpu1", "cpu0"]),
        ),
        max_size=60,
    ),
    st.floats(0.01, 1.0),
)
def test_whatever_is_measured_resistances_are_positive_and_the_state_is_bounded(readings, median_k_per_w):
    node = watched(window_s=60.0, window_count=2, out_windows=1, back_windows=1)
    node.peers = {"": Peers(100, median_k_per_w, 0.0)}
    second = 0
    for power_w, temp_c, after_s, device in readings:
        second += after_s
        node.hear(point(second, device=device, power_w=power_w, temp_c=temp_c, power_limit_w=700.0))
    assert set(node.state.devices) <= {"gpu0", "gpu1"}
    for device in node.state.devices.values():
        assert len(device.resistances) <= CoolingSettings().windows
        assert all(k_per_w > 0 for k_per_w in device.resistances)
    for _, verdict in node.verdicts:
        assert verdict.state in (State.RUN, State.REPAIR)
        assert (verdict.state is State.REPAIR) == verdict.asks


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0.88, 1.12), min_size=8, max_size=60),
    st.floats(1.75, 3.0),
    st.integers(0, 59),
)
def test_in_a_fleet_that_varies_by_an_eighth_only_the_one_that_is_ill_stands_out(factors, ill, at_index):
    healthy = [0.1 * factor for factor in factors]
    index = at_index % len(healthy)
    fleet = [*healthy[:index], healthy[index] * ill, *healthy[index + 1 :]]
    peers = cooling.distribution([("H100", k_per_w) for k_per_w in fleet])
    stands_out = []
    for number in (index, (index + 1) % len(fleet)):
        node = WatchedCooling(excess_z=1.0, out_windows=3)
        node.peers = peers
        node.hear(*working(0, 12, k_per_w=fleet[number], every=15))
        stands_out.append(bool(node.changes()))
    assert stands_out == [True, False]

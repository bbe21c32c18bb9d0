"""Repair severity: learned while healthy, told when the cooler is worse, not poisoned, slow to forgive."""

from collections.abc import Iterator

import msgspec
import pytest

from tests.unit.analytics.signal_traces import RATED_W, Node, gpu
from thermogate.core.model import DeviceInfo
from thermogate.core.wire import Point

AIR_C = 25.0
HEALTHY_K = 50.0
"""Rise above the air at rated power."""


class Machine:
    """A device whose temperature follows its power with one time constant, and its cooler."""

    def __init__(self) -> None:
        self.second = 0.0
        self.rise_k = 0.0

    def works(
        self, seconds: int, *, load: float = 0.75, cooler: float = 1.0, every_s: float = 1.0
    ) -> Iterator[Point]:
        """Samples at this load; `cooler` is its thermal resistance over the healthy one."""
        for _ in range(round(seconds / every_s)):
            self.second += every_s
            self.rise_k += every_s / (every_s + 60) * (load * HEALTHY_K * cooler - self.rise_k)
            yield gpu(self.second, power_w=load * RATED_W, temp_c=AIR_C + self.rise_k, temp_limit_c=120.0)


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def machine() -> Machine:
    return Machine()


def severity(node: Node) -> float | None:
    return node.last().repair_severity


def test_a_healthy_device_has_none_until_its_baseline_is_learned_and_then_nothing(node, machine):
    node.hear(*machine.works(180 + 1800))
    assert severity(node) is None
    node.hear(*machine.works(600))
    assert severity(node) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("cooler", [1.3, 1.6, 2.0])
def test_a_cooler_that_becomes_worse_is_told_by_how_much(node, machine, cooler):
    node.hear(*machine.works(3600))
    node.hear(*machine.works(3600, cooler=cooler))
    assert severity(node) == pytest.approx(cooler - 1, rel=0.02)


def test_it_takes_the_time_of_its_window_not_one_hot_sample(node, machine):
    node.hear(*machine.works(3600))
    node.hear(*machine.works(20, cooler=3.0))
    assert severity(node) < 0.1


def test_the_fault_does_not_get_into_the_baseline(node, machine):
    node.hear(*machine.works(3600))
    node.hear(*machine.works(100_000, cooler=1.6, every_s=10))
    assert severity(node) == pytest.approx(0.6, rel=0.02)


def test_a_cool_pause_is_no_recovery(node, machine):
    node.hear(*machine.works(3600))
    node.hear(*machine.works(3600, cooler=1.6))
    node.hear(*machine.works(20_000, load=0.1, every_s=10))
    assert severity(node) == pytest.approx(0.6, rel=0.02)


def test_recovery_counts_once_it_has_lasted(node, machine):
    node.hear(*machine.works(3600))
    node.hear(*machine.works(3600, cooler=1.6))
    node.hear(*machine.works(1500))
    assert severity(node) == pytest.approx(0.6, rel=0.02)
    node.hear(*machine.works(3600))
    assert severity(node) < 0.1


def test_recovery_that_does_not_last_is_none(node, machine):
    node.hear(*machine.works(3600))
    for _ in range(4):
        node.hear(*machine.works(1800, cooler=1.6))
        node.hear(*machine.works(1200))
    assert severity(node) == pytest.approx(0.6, rel=0.02)


def test_another_load_is_judged_by_what_was_learned_at_that_load(node, machine):
    for load in (0.4, 0.9):
        node.hear(*machine.works(3600, load=load))
    node.hear(*machine.works(3600, load=0.4, cooler=1.5))
    assert severity(node) == pytest.approx(0.5, rel=0.1)


def test_a_device_that_slows_itself_down_for_heat_is_told_at_a_load_that_was_never_learned(node, machine):
    node.hear(*machine.works(3600, load=0.95))
    node.hear(*machine.works(3600, load=0.5, cooler=3.0))
    assert severity(node) > 0.4


def test_a_load_that_was_never_learned_is_learned_and_no_reason_for_alarm(node, machine):
    node.hear(*machine.works(3600, load=0.4))
    node.hear(*machine.works(3600, load=0.95))
    assert severity(node) == pytest.approx(0.0, abs=0.02)
    node.hear(*machine.works(3600, load=0.95, cooler=1.5))
    assert severity(node) == pytest.approx(0.5, rel=0.05)


def test_a_light_load_says_nothing(node, machine):
    node.hear(*machine.works(6000, load=0.2))
    assert severity(node) is None


def test_without_temperature_or_power_there_is_none(node, machine):
    for missing in ("temp_c", "power_w"):
        other = Node()
        other.hear(*(_without(point, missing) for point in machine.works(3000)))
        assert severity(other) is None


def test_jobs_that_come_and_go_are_no_drift_though_temperature_lags(node, machine):
    for _ in range(10):
        node.hear(*machine.works(900, load=0.75))
        node.hear(*machine.works(300, load=0.05))
    assert severity(node) == pytest.approx(0.0, abs=0.05)


def test_samples_every_ten_seconds_say_the_same(machine):
    often, seldom, other = Node(), Node(), Machine()
    for node, played, every_s in ((often, machine, 1.0), (seldom, other, 10.0)):
        node.hear(*played.works(3600, every_s=every_s))
        node.hear(*played.works(3600, cooler=1.6, every_s=every_s))
    assert severity(seldom) == pytest.approx(severity(often), rel=0.05)


def test_a_lowered_power_limit_makes_no_better_cooler_and_raising_it_again_no_worse_one(node, machine):
    def works_at(limit_ratio, seconds, **how):
        for sample in machine.works(seconds, **how):
            fields = {**sample.fields, "power_limit_w": limit_ratio * RATED_W}
            yield msgspec.structs.replace(sample, fields=fields)

    node.hear(*works_at(1.0, 3600, load=0.9))
    node.hear(*works_at(0.6, 7200, load=0.58))
    node.hear(*works_at(1.0, 3600, load=0.9))
    assert severity(node) == pytest.approx(0.0, abs=0.01)


def test_five_degrees_of_warmer_air_are_no_fault_of_a_device_that_water_cools(node):
    for second in range(7200):
        node.hear(gpu(second, temp_c=40.0 if second < 3600 else 45.0))
    assert severity(node) <= 0.25


def _without(point: Point, missing: str) -> Point:
    fields = {name: value for name, value in point.fields.items() if name != missing}
    return msgspec.structs.replace(point, fields=fields)


def listed(uuid: str) -> dict[str, DeviceInfo]:
    return {"gpu0": DeviceInfo(kind="gpu", device="0", model="x", uuid=uuid)}


@pytest.mark.parametrize(("after", "severity_is_known"), [("GPU-a", True), ("", True), ("GPU-b", False)])
def test_another_device_of_the_same_number_is_not_held_against_the_baseline_of_the_first(
    machine, after, severity_is_known
):
    node = Node(listed("GPU-a"))
    node.hear(*machine.works(180 + 1800 + 600))
    node.inventory = listed(after)
    node.hear(*machine.works(900, cooler=1.6))
    assert (severity(node) is not None) is severity_is_known


def test_what_was_stored_before_devices_had_a_uuid_is_still_read(node, machine):
    node.hear(*machine.works(300))
    stored = msgspec.json.decode(msgspec.json.encode(node.state))
    stored["devices"]["gpu0"].pop()
    assert msgspec.convert(stored, type(node.state)) == node.state

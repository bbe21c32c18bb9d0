"""Devices that slow themselves down for heat: HOLD with a pace, and back."""

import pytest

from tests.unit.analytics.making import Watched, point
from thermogate.core.decision import State


def slowed(start, until, *, on=lambda _: True, by="clock_event_sw_thermal", **fields):
    """A sample a second of a device at 84 C, 6 below its limit, where `on` says that it slows down."""
    values = {"temp_c": 84.0, "power_w": 600.0, "power_limit_w": 700.0, **fields}
    return [point(second, **values, **{by: float(on(second))}) for second in range(start, until)]


def states(node):
    return [state for _, state in node.changes()]


@pytest.mark.parametrize("by", ["clock_event_sw_thermal", "clock_event_hw_thermal", "throttled"])
def test_a_device_that_slows_itself_down_for_heat_holds_its_node_at_a_pace(by):
    node = Watched()
    verdict = node.hear(*slowed(0, 60, by=by))
    assert states(node) == [State.HOLD]
    assert verdict.why == (
        "gpu0 slowed itself down for heat in 100% of the last 30 s under load (HOLD from 30%): "
        "start nothing new here, keep to 0.75 of full power and look at the cooling"
    )
    assert verdict.cjp.path == "RUN when gpu0 has not slowed itself down for heat for 120 s on end"


def test_now_and_then_is_none():
    node = Watched()
    node.hear(*slowed(0, 600, on=lambda second: second % 5 == 0))
    assert node.changes() == []


def test_a_third_of_the_time_is_one():
    node = Watched()
    node.hear(*slowed(0, 120, on=lambda second: second % 3 == 0))
    assert states(node) == [State.HOLD]


@pytest.mark.parametrize(
    "fields",
    [{"util_ratio": 0.1, "power_w": 100.0}, {"temp_c": 50.0}],
    ids=["without load", "far below its limit, which is the consistency policy's"],
)
def test_what_is_no_heat_under_load_is_none(fields):
    node = Watched()
    node.hear(*slowed(0, 120, **fields))
    assert node.changes() == []


def test_hot_memory_slows_a_cool_core_down_and_is_heat():
    node = Watched()
    node.hear(*slowed(0, 120, temp_c=50.0, mem_temp_c=97.0))
    assert states(node) == [State.HOLD]


def test_a_power_brake_is_no_heat():
    node = Watched()
    heard = [
        point(second, temp_c=84.0, throttled=1.0, clock_event_hw_power_brake=1.0, clock_event_hw_thermal=0.0)
        for second in range(120)
    ]
    node.hear(*heard)
    assert node.changes() == []


def test_throttling_of_no_known_cause_is_taken_for_heat_near_the_limit_only():
    node = Watched()
    node.hear(*slowed(0, 120, by="throttled", temp_c=74.0))
    assert node.changes() == []


def test_it_is_released_when_it_has_run_freely_for_two_minutes():
    node = Watched()
    verdict = node.hear(*slowed(0, 60), *slowed(60, 300, on=lambda _: False))
    assert states(node) == [State.HOLD, State.RUN]
    assert 60 + 120 <= node.changes()[1][0] <= 60 + 155
    assert verdict.why.startswith("gpu0 has not slowed itself down for heat for 120 s (RUN at 120 s)")


def test_a_limit_that_is_not_known_does_not_hide_what_the_device_says_itself():
    node = Watched()
    verdict = node.hear(*slowed(0, 60, temp_limit_c=None))
    assert verdict.state is State.HOLD
    assert verdict.pace == 0.9


@pytest.mark.parametrize(("util", "state"), [(0.0, State.RUN), (0.95, State.HOLD)])
def test_an_idle_device_that_slows_itself_down_is_not_held_either_when_its_limit_is_not_known(util, state):
    node = Watched()
    for second in range(60):
        fields = {"temp_limit_c": None, "util_ratio": util, "clock_event_hw_thermal": 1.0}
        node.hear(point(second, temp_c=60.0, **fields))
    assert node.verdicts[-1][1].state is state

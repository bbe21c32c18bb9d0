"""Heat: what holds a node, what does not, and what lets go again."""

import pytest

from tests.unit.analytics.making import Watched, heating, point, trace
from thermogate.core.decision import State
from thermogate.core.model import DeviceInfo, Status

HOT = heating(to_c=86.0)


def steady(temp_c, seconds):
    return [temp_c] * seconds


def test_a_device_that_heats_towards_its_limit_holds_its_node():
    node = Watched()
    node.hear(*trace(HOT))
    # 85 C, at second 99, is within 5 C of 90 C and 20 s from it; one more for the median of three
    assert node.changes() == [(100.0, State.HOLD)]


def test_the_why_line_of_heating_is_what_an_operator_needs():
    node = Watched()
    verdict = node.hear(*trace(HOT[:101]))
    assert verdict.why == (
        "gpu0 is at 85 C and would reach its limit of 90 C in 20 s at its rate over 30 s (HOLD below 60 s): "
        "start nothing new here, keep to 0.7 of full power and look at the cooling"
    )
    time, temp = verdict.because
    assert (time.metric, time.value, time.threshold, time.window_s) == ("time_to_limit_s", 20.2, 60.0, 30.0)
    assert (temp.metric, temp.value, temp.threshold, temp.unit) == ("temp_c", 85.0, 85.0, "degC")
    assert verdict.cjp.path == (
        "RUN when gpu0 has kept at least 5 C and 120 s from its limit for 60 s on end"
    )


@pytest.mark.parametrize(
    "stricter",
    [
        {"heat_time_s": 10.0},
        {"heat_near_c": 3.0},
        {"heat_window_s": 600.0},
        {"heat_count": 100},
        {"load_util_ratio": 0.99},
    ],
    ids=lambda stricter: next(iter(stricter)),
)
def test_each_threshold_of_heating_can_keep_it_from_firing(stricter):
    node = Watched(**stricter)
    node.hear(*trace(HOT))
    assert node.changes() == []


def test_a_device_that_is_idle_may_heat():
    node = Watched()
    node.hear(*trace(HOT, util_ratio=0.5))
    assert node.changes() == []


def test_power_is_load_too():
    loaded = {"util_ratio": 0.3, "power_w": 560.0, "power_limit_w": 700.0}
    node, stricter = Watched(), Watched(load_power_ratio=0.9)
    node.hear(*trace(HOT, **loaded))
    stricter.hear(*trace(HOT, **loaded))
    assert node.changes() == [(100.0, State.HOLD)]
    assert stricter.changes() == []


def test_work_with_pauses_is_load_as_long_as_it_fills_its_share():
    paused = [
        point(second, temp_c=temp, util_ratio=1.0 if second % 3 else 0.0) for second, temp in enumerate(HOT)
    ]
    node, stricter = Watched(), Watched(load_share=0.8)
    node.hear(*paused)
    stricter.hear(*paused)
    assert node.changes() == [(100.0, State.HOLD)]
    assert stricter.changes() == []


def test_a_device_that_works_at_its_limit_holds_its_node_though_it_does_not_heat():
    node, stricter = Watched(), Watched(heat_at_limit_c=0.5)
    verdict = node.hear(*trace(steady(89.0, 60)))
    stricter.hear(*trace(steady(89.0, 60)))
    assert node.changes() == [(23.0, State.HOLD)]
    assert stricter.changes() == []
    assert verdict.why == (
        "gpu0 works at 89 C (median of 30 s) with its limit at 90 C (HOLD from 88 C): "
        "start nothing new here, keep to 0.8 of full power and look at the cooling"
    )


@pytest.mark.parametrize("temp_c", [60, 70, 80, 84, 86])
def test_a_sensor_that_steps_by_1_c_at_a_steady_temperature_never_fires(temp_c):
    node = Watched()
    flicker = [temp_c + (second // 7 % 2) for second in range(600)]
    node.hear(*trace(flicker))
    assert node.changes() == []


def test_warming_up_from_cold_never_fires_however_fast():
    node = Watched()
    node.hear(*trace([*range(30, 76, 3), *steady(76, 300)]))
    assert node.changes() == []


@pytest.mark.parametrize("nonsense_c", [0.0, 255.0])
def test_one_reading_of_nonsense_moves_nothing(nonsense_c):
    temps = [*steady(84.0, 100), nonsense_c, *steady(84.0, 100)]
    node = Watched()
    node.hear(*trace(temps))
    assert node.changes() == []


def test_without_temperature_or_limit_nothing_fires():
    for absent in ({"temp_c": None}, {"temp_limit_c": None}):
        node = Watched()
        node.hear(*[point(second, **{"temp_c": 95.0, **absent}) for second in range(200)])
        assert node.changes() == []


def test_the_limit_of_the_inventory_serves_where_samples_carry_none():
    inventory = Status(
        node="n17",
        online=True,
        time_ns=1,
        devices=(DeviceInfo(kind="gpu", device="0", model="x", temp_limit_c=90.0),),
    )
    node = Watched()
    node.hear(inventory, *trace(HOT, temp_limit_c=None))
    assert node.changes() == [(100.0, State.HOLD)]


def cooling_after(hot, *, to_c, seconds):
    """The hot trace, then at once at `to_c`, as after work has stopped."""
    return trace([*hot, *steady(to_c, seconds)])


def test_it_lets_go_once_the_device_has_kept_off_its_limit_for_a_minute():
    node = Watched()
    verdict = node.hear(*cooling_after(HOT, to_c=72.0, seconds=120))
    # 105 s is the second cool sample, from which the median of three is cool, then 60 s
    assert node.changes() == [(100.0, State.HOLD), (165.0, State.RUN)]
    assert verdict.pace == 1.0
    assert verdict.why == (
        "gpu0 is at 72 C and has kept at least 5 C and 120 s from its limit of 90 C for 60 s (RUN at 60 s): "
        "work may go on after 65 s of HOLD"
    )
    assert [(reason.metric, reason.value, reason.threshold) for reason in verdict.because] == [
        ("time_to_limit_s", 600.0, 120.0),
        ("temp_c", 72.0, 85.0),
    ]


def test_settled_short_of_the_limit_is_released_as_well():
    node = Watched()
    node.hear(*cooling_after(HOT, to_c=85.0, seconds=200))
    assert [state for _, state in node.changes()] == [State.HOLD, State.RUN]


@pytest.mark.parametrize(
    ("stricter", "to_c"),
    [({"heat_release_c": 10.0}, 82.0), ({"heat_release_s": 500.0}, 72.0)],
    ids=["heat_release_c", "heat_release_s"],
)
def test_each_release_threshold_can_keep_it_held(stricter, to_c):
    plain, node = Watched(), Watched(**stricter)
    plain.hear(*cooling_after(HOT, to_c=to_c, seconds=200))
    node.hear(*cooling_after(HOT, to_c=to_c, seconds=200))
    assert [state for _, state in plain.changes()] == [State.HOLD, State.RUN]
    assert [state for _, state in node.changes()] == [State.HOLD]


def test_a_device_that_still_heats_is_not_released_although_it_is_below():
    slow_rise = [70.0 + 0.1 * second for second in range(130)]  # always less than 200 s away
    plain, node = Watched(), Watched(heat_release_time_s=300.0)
    plain.hear(*trace([*HOT, *slow_rise]))
    node.hear(*trace([*HOT, *slow_rise]))
    assert [state for _, state in plain.changes()] == [State.HOLD, State.RUN]
    assert [state for _, state in node.changes()] == [State.HOLD]


def test_a_short_pause_is_no_cure():
    node = Watched()
    node.hear(*trace([*HOT, *steady(80.0, 40), *steady(86.0, 40), *steady(80.0, 40), *steady(86.0, 40)]))
    assert node.changes() == [(100.0, State.HOLD)]


def test_a_device_that_says_nothing_more_lets_go_after_the_stale_time():
    node = Watched()
    others = [point(len(HOT) + second, device="gpu1", temp_c=50.0) for second in range(400)]
    verdict = node.hear(*trace(HOT), *others)
    assert node.changes() == [(100.0, State.HOLD), (403.0, State.RUN)]
    assert verdict.why == (
        "gpu0 has sent nothing to judge it by for 300 s: work may go on after 303 s of HOLD"
    )
    assert "gpu0" not in node.state.devices


def test_the_pace_is_where_the_device_would_settle_short_of_its_limit():
    # 85 C + 60 s of 0.25 C/s = 100 C, 70 C over the air at 30 C; 80 C are 50 C over it: 0.714
    measured = {"power_w": 700.0, "power_limit_w": 700.0}
    full = Watched().hear(*trace(HOT[:101], **measured))
    half = Watched().hear(*trace(HOT[:101], **{**measured, "power_w": 420.0}))
    blind = Watched().hear(*trace(HOT[:101]))
    assert (full.pace, half.pace, blind.pace) == (0.7, 0.4, 0.7)


@pytest.mark.parametrize(
    ("settings", "pace"),
    [
        ({"pace_least_ratio": 0.8}, 0.8),
        ({"pace_most_ratio": 0.6}, 0.6),
        ({"pace_step_ratio": 0.3}, 0.6),
        ({"pace_margin_c": 30.0}, 0.4),
        ({"pace_ambient_c": 60.0}, 0.5),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_setting_of_the_pace_moves_it(settings, pace):
    assert Watched(**settings).hear(*trace(HOT[:101])).pace == pace


def test_the_pace_only_goes_down_while_a_hold_stands():
    node = Watched()
    node.hear(*trace([*HOT, *[86.0 + 0.5 * second for second in range(8)], *steady(89.5, 60)]))
    paces = [verdict.pace for _, verdict in node.verdicts if verdict.state is State.HOLD]
    assert paces == sorted(paces, reverse=True)
    assert paces[-1] < paces[0]


def test_memory_stays_bounded_at_any_rate():
    node = Watched()
    node.hear(*[point(number / 100, temp_c=60.0 + number % 2) for number in range(5000)])
    assert len(node.state.devices["gpu0"].readings) == 256

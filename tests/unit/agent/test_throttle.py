from hypothesis import given
from hypothesis import strategies as st

from thermogate.agent.throttle import ThrottleSettings, step

SETTINGS = ThrottleSettings(clear_after_s=10.0)


def edges(flags):
    """(second, event) of every edge for one flag a second; None is a second that was not measured."""
    state, found = None, []
    for second, flag in enumerate(flags):
        fields = {} if flag is None else {"throttled": flag}
        state, edge = step(SETTINGS, state, fields, float(second))
        if edge:
            found.append((second, edge.event, edge.data.get("lasted_s")))
    return found


def test_a_flag_that_flickers_is_one_event():
    assert edges([0, 1, 0, 0, 1, 0, 1] + [0] * 10) == [
        (1, "throttle_began", None),
        (16, "throttle_ended", 5.0),
    ]


def test_seconds_that_were_not_measured_end_nothing():
    assert edges([1] + [None] * 100) == [(0, "throttle_began", None)]
    assert edges([1, *[None] * 100, 0]) == [(0, "throttle_began", None), (101, "throttle_ended", 0.0)]


def test_the_event_names_the_causes_by_which_the_device_saves_itself():
    fields = {
        "throttled": 1,
        "clock_event_hw_thermal": 1,
        "clock_event_hw_slowdown": 1,
        "clock_event_sw_power_cap": 1,
        "temp_c": 91.0,
        "power_w": 480.0,
    }
    _, edge = step(SETTINGS, None, fields, 0.0)
    assert edge.text == "is slowed down by temperature (hardware), hardware slowdown at 91 C"
    assert edge.data == {
        "cause": "temperature (hardware), hardware slowdown",
        "temp_c": 91.0,
        "power_w": 480.0,
    }


def test_a_device_that_tells_no_cause_is_still_told_of():
    _, edge = step(SETTINGS, None, {"throttled": 1}, 0.0)
    assert (edge.text, edge.data) == ("is slowed down", {})


@given(st.lists(st.sampled_from([0, 1, None]), max_size=80))
def test_beginnings_and_ends_take_turns(flags):
    kinds = [event for _, event, _ in edges(flags)]
    assert kinds == (["throttle_began", "throttle_ended"] * len(kinds))[: len(kinds)]

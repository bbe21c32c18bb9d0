"""Repeated collapses: what counts as one, how many hold a node, and what lets go again."""

import pytest

from tests.unit.analytics.making import Watched, collapsing, event, point
from thermogate.core.decision import State

THREE = (50, 150, 250)


def test_the_third_collapse_within_the_window_holds_the_node():
    node = Watched()
    verdict = node.hear(*collapsing(THREE, 251, power_w=700.0, power_limit_w=700.0))
    assert node.changes() == [(250.0, State.HOLD)]
    assert verdict.why == (
        "gpu0 collapsed 3 times in 600 s (HOLD at 3), its efficiency falling as it heats: "
        "start nothing new here, keep to 0.9 of full power and look at the cooling"
    )
    (reason,) = verdict.because
    assert (reason.metric, reason.device, reason.value, reason.threshold, reason.window_s) == (
        "collapse",
        "gpu0",
        3.0,
        3.0,
        600.0,
    )
    assert verdict.cjp.path == "RUN when gpu0 has not collapsed for 300 s"
    assert verdict.cjp.conflict == "the load on gpu0 asks for full speed, its heat does not allow it"


@pytest.mark.parametrize(
    "stricter",
    [
        {"collapse_count": 4},
        {"collapse_window_s": 200.0},
        {"collapse_near_c": 9.0},
        {"load_util_ratio": 0.99},
    ],
    ids=lambda stricter: next(iter(stricter)),
)
def test_each_threshold_of_collapse_can_keep_it_from_firing(stricter):
    node = Watched(**stricter)
    node.hear(*collapsing(THREE, 400))
    assert node.changes() == []


def test_a_long_collapse_is_one():
    node = Watched()
    node.hear(*collapsing((50,), 600, lasts=500))
    assert node.changes() == []


def test_a_collapse_that_was_there_at_the_first_sample_counts():
    node = Watched()
    node.hear(*collapsing((0, 100, 200), 400))
    assert node.changes() == [(200.0, State.HOLD)]


def test_a_sample_without_the_field_neither_ends_nor_begins_a_collapse():
    ill = [point(second, temp_c=80.0, collapse=None if second % 2 else 1.0) for second in range(400)]
    node = Watched()
    node.hear(*ill)
    assert node.changes() == []


def test_collapses_of_a_device_far_below_its_limit_are_no_matter_of_heat():
    node = Watched()
    node.hear(*collapsing(THREE, 400, temp_c=60.0))
    assert node.changes() == []


def test_without_temperature_or_limit_or_rle_nothing_counts():
    for absent in ({"temp_c": None}, {"temp_limit_c": None}, {"collapse": None}):
        node = Watched()
        node.hear(*collapsing(THREE, 400, **absent))
        assert node.changes() == []


def test_collapses_of_different_devices_do_not_add_up():
    node = Watched()
    node.hear(
        *[
            point(second, device=device, temp_c=80.0, collapse=float(second in range(begins, begins + 5)))
            for second in range(400)
            for device, begins in (("gpu0", 50), ("gpu1", 150), ("gpu2", 250))
        ]
    )
    assert node.changes() == []


def test_events_of_collapses_say_what_the_samples_said_and_do_not_count_again():
    node = Watched()
    for sample in collapsing((50, 150), 400):
        node.hear(sample)
        second = (sample.time_ns - collapsing((), 1)[0].time_ns) / 1e9
        if second in (50, 150):
            node.hear(event(second, "collapse_began"))
        if second in (55, 155):
            node.hear(event(second, "collapse_ended"))
    assert node.changes() == []


def test_it_lets_go_after_a_time_without_a_collapse():
    node = Watched()
    verdict = node.hear(*collapsing(THREE, 600))
    # the last collapse ends with second 254
    assert node.changes() == [(250.0, State.HOLD), (555.0, State.RUN)]
    assert verdict.why == (
        "gpu0 has not collapsed for 300 s (RUN at 300 s): work may go on after 305 s of HOLD"
    )


def test_the_release_time_can_keep_it_held():
    node = Watched(collapse_release_s=400.0)
    node.hear(*collapsing(THREE, 600))
    assert node.changes() == [(250.0, State.HOLD)]


def test_a_collapse_during_the_wait_begins_the_wait_again():
    node = Watched()
    node.hear(*collapsing((*THREE, 500), 900))
    assert node.changes() == [(250.0, State.HOLD), (805.0, State.RUN)]


def test_how_many_are_remembered_is_bounded():
    node = Watched()
    node.hear(*collapsing(range(0, 600, 2), 600, lasts=1))
    assert len(node.state.devices["gpu0"].began_ns) == 64

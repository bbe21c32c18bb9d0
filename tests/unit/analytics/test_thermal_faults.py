"""GPUs that are lost and drivers that hang: REPAIR, and back."""

import itertools

import pytest

from tests.unit.analytics.making import Watched, at, collapsing, event, heating, point, trace
from thermogate.analytics.policies.base import MAX_DEVICES
from thermogate.core.decision import State


def cpu(start, until):
    """What a node still sends when its GPU does not."""
    return [point(second, device="cpu0", temp_c=50.0) for second in range(start, until)]


def test_a_gpu_that_stays_lost_takes_its_node_out():
    node = Watched()
    verdict = node.hear(*trace([60.0] * 10), event(10, "gpu_lost"), *cpu(10, 42))
    assert node.changes() == [(41.0, State.REPAIR)]
    assert verdict.pace == 0.0
    assert verdict.why == (
        "gpu0 has been lost for 31 s (REPAIR after 30 s): drain this node, then reset or replace gpu0"
    )
    (reason,) = verdict.because
    assert (reason.metric, reason.value, reason.threshold, reason.unit) == ("gpu_lost_s", 31.0, 30.0, "s")
    assert reason.since_ns == at(10)
    assert verdict.cjp.conflict == "the node sends its samples, gpu0 is not in them"
    assert verdict.cjp.path == "RUN when gpu0 has answered for 60 s on end"


def test_a_driver_that_hangs_takes_its_node_out():
    node = Watched()
    verdict = node.hear(*trace([60.0] * 10), event(10, "driver_hung", device=""), *cpu(10, 42))
    assert node.changes() == [(41.0, State.REPAIR)]
    assert verdict.why == (
        "the GPU driver has not answered for 31 s (REPAIR after 30 s): "
        "drain this node, then reload the driver or reboot"
    )


def test_the_grace_can_keep_it_from_firing():
    node = Watched(fault_grace_s=100.0)
    node.hear(event(10, "gpu_lost"), *cpu(10, 100))
    assert node.changes() == []


@pytest.mark.parametrize(
    "answer", [event(30, "gpu_back"), point(30, temp_c=60.0)], ids=["its event", "its sample"]
)
def test_a_gpu_that_is_back_within_the_grace_is_none(answer):
    node = Watched()
    node.hear(event(10, "gpu_lost"), *cpu(10, 30), answer, *cpu(31, 100))
    assert node.changes() == []


def test_another_gpus_sample_says_nothing_about_the_lost_one_but_all_about_the_driver():
    lost, hung = Watched(), Watched()
    others = [point(second, device="gpu1", temp_c=60.0) for second in range(11, 60)]
    lost.hear(event(10, "gpu_lost"), *others)
    hung.hear(event(10, "driver_hung", device=""), *others)
    assert lost.changes() == [(41.0, State.REPAIR)]
    assert hung.changes() == []


def test_repair_ends_once_the_gpu_has_answered_for_a_minute():
    node = Watched()
    back = [point(second, temp_c=60.0) for second in range(100, 170)]
    verdict = node.hear(event(10, "gpu_lost"), *cpu(10, 100), event(100, "gpu_back"), *back)
    assert node.changes() == [(41.0, State.REPAIR), (159.0, State.RUN)]
    assert verdict.why == ("gpu0 has answered for 60 s (RUN at 60 s): work may go on after 118 s of REPAIR")


def test_a_gpu_that_comes_and_goes_stays_out():
    node = Watched()
    for start in range(100, 400, 50):
        node.hear(event(start, "gpu_lost"), *cpu(start, start + 40), event(start + 40, "gpu_back"))
    assert node.changes() == [(131.0, State.REPAIR)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_in_which_events_and_samples_come_does_not_matter(order):
    heard = [event(10, "gpu_lost"), event(40, "gpu_back"), point(41, temp_c=60.0)]
    node = Watched(fault_grace_s=5.0)
    node.hear(point(5, temp_c=60.0), *[heard[n] for n in order], *cpu(42, 120))
    assert node.verdicts[-1][1].state is State.RUN
    assert node.state.faults == {}


def test_a_lost_event_out_of_an_old_backlog_is_no_news():
    node = Watched()
    node.hear(*trace([60.0] * 100), event(10, "gpu_lost"), *cpu(100, 200))
    assert node.changes() == []


def test_repair_goes_before_hold_and_hold_stands_when_it_ends():
    hot = [point(second, device="gpu1", temp_c=89.0) for second in range(250)]
    lost = [*cpu(0, 1), event(60, "gpu_lost"), point(100, temp_c=60.0)]
    node = Watched()
    node.hear(*sorted([*hot, *lost], key=lambda heard: heard.time_ns))
    # gpu0 answers from second 100 on
    assert node.changes() == [(23.0, State.HOLD), (91.0, State.REPAIR), (160.0, State.HOLD)]
    repair = node.verdict_at(95.0)
    assert repair.why == (
        "gpu0 has been lost for 35 s (REPAIR after 30 s) (also gpu1): "
        "drain this node, then reset or replace gpu0"
    )
    assert [reason.metric for reason in repair.because] == ["gpu_lost_s", "temp_c"]
    assert repair.cjp.path == (
        "RUN when gpu0 has answered for 60 s on end, and gpu1 has kept at least 5 C and 120 s from its limit "
        "for 60 s on end"
    )


def test_many_alarms_are_told_in_a_sentence_that_ends():
    hot = [point(second, device=f"gpu{device}", temp_c=89.0) for second in range(60) for device in range(8)]
    node = Watched()
    verdict = node.hear(*hot)
    assert verdict.why.startswith("gpu0 works at 89 C")
    assert "(also gpu1, gpu2, gpu3, gpu4, gpu5, gpu6, gpu7)" in verdict.why
    assert verdict.cjp.path.endswith(", and the same for 5 more")
    assert len(verdict.because) == 8


def test_heat_is_told_before_collapse():
    node = Watched()
    hot = trace(heating(to_c=86.0), start=400)
    verdict = node.hear(*collapsing((50, 150, 250), 300), *hot)
    assert verdict.why.startswith("gpu0 is at ")
    assert [reason.metric for reason in verdict.because] == ["time_to_limit_s", "temp_c", "collapse"]


def test_devices_that_never_were_cannot_fill_the_memory():
    node = Watched()
    node.hear(*[event(1, "gpu_lost", device=f"gpu{number}") for number in range(1000)])
    assert len(node.state.faults) == MAX_DEVICES

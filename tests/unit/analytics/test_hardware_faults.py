"""GPUs that are lost and drivers that hang: REPAIR, and back."""

import itertools

import pytest

from tests.unit.analytics.making import WatchedHardware, at, event, inventory, point, trace
from thermogate.analytics.policies.base import MAX_DEVICES
from thermogate.core.decision import State


def cpu(start, until):
    """What a node still sends when its GPU does not."""
    return [point(second, device="cpu0", temp_c=50.0) for second in range(start, until)]


def test_a_gpu_that_stays_lost_takes_its_node_out():
    node = WatchedHardware()
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
    assert verdict.cjp.path == ("RUN when gpu0 has answered for 60 s on end, or another GPU is in its place")


def test_a_driver_that_hangs_takes_its_node_out():
    node = WatchedHardware()
    verdict = node.hear(*trace([60.0] * 10), event(10, "driver_hung", device=""), *cpu(10, 42))
    assert node.changes() == [(41.0, State.REPAIR)]
    assert verdict.why == (
        "the GPU driver has not answered for 31 s (REPAIR after 30 s): "
        "drain this node, then reload the driver or reboot"
    )


def test_the_grace_can_keep_it_from_firing():
    node = WatchedHardware(grace_s=100.0)
    node.hear(event(10, "gpu_lost"), *cpu(10, 100))
    assert node.changes() == []


@pytest.mark.parametrize(
    "answer", [event(30, "gpu_back"), point(30, temp_c=60.0)], ids=["its event", "its sample"]
)
def test_a_gpu_that_is_back_within_the_grace_is_none(answer):
    node = WatchedHardware()
    node.hear(event(10, "gpu_lost"), *cpu(10, 30), answer, *cpu(31, 100))
    assert node.changes() == []


def test_another_gpus_sample_says_nothing_about_the_lost_one_but_all_about_the_driver():
    lost, hung = WatchedHardware(), WatchedHardware()
    others = [point(second, device="gpu1", temp_c=60.0) for second in range(11, 60)]
    lost.hear(event(10, "gpu_lost"), *others)
    hung.hear(event(10, "driver_hung", device=""), *others)
    assert lost.changes() == [(41.0, State.REPAIR)]
    assert hung.changes() == []


def test_repair_ends_once_the_gpu_has_answered_for_a_minute():
    node = WatchedHardware()
    back = [point(second, temp_c=60.0) for second in range(100, 170)]
    verdict = node.hear(event(10, "gpu_lost"), *cpu(10, 100), event(100, "gpu_back"), *back)
    assert node.changes() == [(41.0, State.REPAIR), (159.0, State.RUN)]
    assert verdict.why == (
        "gpu0 has answered, or another GPU has in its place, for 60 s (RUN at 60 s): "
        "work may go on after 118 s of REPAIR"
    )


def test_a_gpu_that_comes_and_goes_stays_out():
    node = WatchedHardware()
    for start in range(100, 400, 50):
        node.hear(event(start, "gpu_lost"), *cpu(start, start + 40), event(start + 40, "gpu_back"))
    assert node.changes() == [(131.0, State.REPAIR)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_in_which_events_and_samples_come_does_not_matter(order):
    heard = [event(10, "gpu_lost"), event(40, "gpu_back"), point(41, temp_c=60.0)]
    node = WatchedHardware(grace_s=5.0)
    node.hear(point(5, temp_c=60.0), *[heard[n] for n in order], *cpu(42, 120))
    assert node.verdicts[-1][1].state is State.RUN
    assert node.state.faults == {}


def test_a_lost_event_out_of_an_old_backlog_is_no_news():
    node = WatchedHardware()
    node.hear(*trace([60.0] * 100), event(10, "gpu_lost"), *cpu(100, 200))
    assert node.changes() == []


def test_devices_that_never_were_cannot_fill_the_memory():
    node = WatchedHardware()
    node.hear(*[event(1, "gpu_lost", device=f"gpu{number}") for number in range(1000)])
    assert len(node.state.faults) == MAX_DEVICES


def energies(start, until, *, device="gpu0", joules=1e6):
    """A GPU at work; its energy counter is at `joules` at the first sample."""
    return [
        point(second, device=device, temp_c=60.0, energy_j=joules + 300.0 * (second - start))
        for second in range(start, until)
    ]


def test_the_agent_alone_started_again_does_not_release_a_gpu_that_it_no_longer_sees():
    node = WatchedHardware()
    node.hear(inventory("A", "B"), *energies(0, 10), *energies(0, 10, device="gpu1"), event(10, "gpu_lost"))
    node.hear(*energies(10, 100, device="gpu1", joules=1e6 + 3000.0))
    # it is listed no more, and the other one is gpu0 now
    node.hear(inventory("B"), *energies(100, 400, joules=1.1e6))
    assert node.changes()[-1][1] is State.REPAIR


def test_a_node_that_was_started_again_without_its_lost_gpu_is_released():
    node = WatchedHardware()
    node.hear(
        inventory("A", "B"),
        *energies(0, 10),
        *energies(0, 10, device="gpu1"),
        event(10, "gpu_lost", device="gpu1"),
    )
    node.hear(*energies(11, 100))
    node.hear(inventory("A"), *energies(400, 500, joules=500.0))
    assert [state for _, state in node.changes()] == [State.REPAIR, State.RUN]


def test_a_gpu_in_the_place_of_a_lost_one_releases_its_node():
    node = WatchedHardware()
    node.hear(
        inventory("A", "B"),
        *energies(0, 10),
        *energies(0, 10, device="gpu1"),
        event(10, "gpu_lost", device="gpu1"),
    )
    node.hear(*energies(11, 100))
    node.hear(inventory("A", "C"), *energies(400, 500, joules=1.2e6))
    assert [state for _, state in node.changes()] == [State.REPAIR, State.RUN]


def test_a_gpu_that_is_back_under_another_number_has_answered():
    node = WatchedHardware()
    node.hear(inventory("A", "B"), *energies(0, 10), *energies(0, 10, device="gpu1"), event(10, "gpu_lost"))
    node.hear(*energies(10, 100, device="gpu1", joules=1e6 + 3000.0))
    node.hear(inventory("B", "A"), *energies(400, 500), *energies(500, 600, device="gpu1"))
    assert [state for _, state in node.changes()] == [State.REPAIR, State.RUN]

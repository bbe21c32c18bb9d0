"""Pacing incoherence: who is out of step with its job, and who only differs."""

from math import sin
from statistics import median

import pytest

from tests.unit.analytics.signal_traces import RATED_W, Job, gpus, sample
from thermogate.analytics.policies.base import Member

BOUND = 0.2


def work(second: float) -> float:
    """What a job draws: steps of five seconds, a pause of 20 s every two minutes."""
    return 0.15 if second % 120 < 20 else 0.75 + 0.1 * ((second // 5) % 2)


def in_step(count: int) -> dict:
    return dict.fromkeys(gpus(count), work)


@pytest.mark.parametrize("count", [3, 8, 512])
def test_a_straggler_stands_out_and_nobody_else(count):
    job, loads = Job(), in_step(count)
    straggler = gpus(count)[count // 2]
    seconds = 300 if count == 512 else 900
    job.run(range(seconds), loads)
    assert job.job < 0.01
    job.run(range(seconds, seconds + 90), loads | {straggler: lambda second: 0.6 * work(second)})
    assert job.found[straggler] > BOUND
    assert job.job == job.found[straggler]
    assert max(value for name, value in job.found.items() if name != straggler) < 0.05


def test_of_two_devices_neither_is_right():
    job, (one, other) = Job(), gpus(2)
    job.run(range(600), in_step(2))
    job.run(range(600, 690), {one: work, other: lambda second: 0.5 * work(second)})
    assert job.found[one] > BOUND
    assert job.found[other] > BOUND


def test_one_device_alone_is_in_step_with_nobody():
    job = Job()
    job.run(range(100), in_step(1))
    assert job.found == {}
    assert job.job is None


def test_devices_that_differ_by_a_constant_factor_are_in_step():
    job = Job()
    loads = {
        name: (lambda second, factor=0.4 + 0.1 * index: factor * work(second))
        for index, name in enumerate(gpus(8))
    }
    job.run(range(600), loads)
    assert job.job < 0.02


def test_what_differs_by_a_factor_and_then_lags_is_told():
    job, names = Job(), gpus(8)
    loads = {
        name: (lambda second, factor=0.5 + 0.07 * index: factor * work(second))
        for index, name in enumerate(names)
    }
    job.run(range(600), loads)
    lagging = loads[names[7]]
    job.run(range(600, 700), loads | {names[7]: lambda second: 0.5 * lagging(second)})
    assert max(job.found, key=job.found.__getitem__) == names[7]
    assert job.job > BOUND


def test_a_pause_of_the_whole_job_puts_nobody_out_of_step():
    job = Job()
    job.run(range(600), in_step(8))
    job.run(range(600, 700), {name: lambda second: 0.1 for name in gpus(8)})
    assert job.job < 0.01


def test_a_device_that_stops_while_the_others_go_on_is_told():
    job, loads = Job(), in_step(8)
    job.run(range(600), loads)
    job.run(range(600, 680), loads | {("n0", "gpu3"): lambda second: 0.1})
    assert job.found["n0", "gpu3"] > 0.5


def test_nodes_that_sample_at_other_moments_of_a_step_are_in_step():
    job = Job()
    loads = {
        name: (lambda second, late=index / 8: 0.6 + 0.3 * sin(second + late))
        for index, name in enumerate(gpus(8))
    }
    job.run(range(600), loads)
    assert job.job < 0.1


def test_idle_devices_that_draw_some_watts_more_are_not_out_of_step():
    job = Job()
    job.run(range(400), {name: lambda second: 0.1 for name in gpus(8)})
    job.run(range(400, 500), {name: (lambda second, i=i: 0.1 + 0.005 * i) for i, name in enumerate(gpus(8))})
    assert job.job < BOUND / 2


def test_a_straggler_does_not_soon_become_usual():
    job, loads = Job(), in_step(8)
    job.run(range(600), loads)
    ill = loads | {("n0", "gpu0"): lambda second: 0.5 * work(second)}
    job.run(range(600, 1800), ill)
    assert job.found["n0", "gpu0"] > BOUND


def test_what_was_not_measured_or_is_old_is_left_out():
    job, loads = Job(), in_step(4)
    job.run(range(100), loads)
    job.run(range(100, 101), loads | {("n0", "gpu1"): lambda second: None})
    assert set(job.found) == {("n0", "gpu0"), ("n0", "gpu2"), ("n0", "gpu3")}
    members = [_member(name, 200) for name in gpus(3)] + [_member(("n0", "gpu3"), 189)]
    job.look(200, [*members, Member(node="n9", device="gpu0", began_ns=0)])
    assert ("n0", "gpu3") not in job.found


def test_there_is_none_before_the_window_is_full_and_again_after_a_gap_but_the_habit_is_kept():
    job = Job()
    loads = {
        name: (lambda second, factor=factor: factor * work(second))
        for name, factor in zip(gpus(3), (1, 1, 0.5), strict=True)
    }
    job.run(range(30), loads)
    assert job.found == {}
    job.run(range(30, 300), loads)
    assert len(job.found) == 3
    job.run(range(400, 425), loads)
    assert job.found == {}
    job.run(range(425, 440), loads)
    assert job.job < 0.05


def test_a_device_that_leaves_the_job_is_forgotten():
    job = Job()
    job.run(range(60), in_step(8))
    job.run(range(60, 61), in_step(3))
    assert len(job.state.devices) == 3


def test_looking_again_without_a_new_sample_changes_nothing():
    job = Job()
    job.run(range(60), in_step(4))
    before = job.state
    members = [_member(name, 59) for name in gpus(4)]
    for second in (59.2, 59.4):
        job.look(second, members)
    assert job.state == before


def test_the_pace_is_the_median_so_that_a_third_of_stragglers_move_nobody_else():
    job, loads = Job(), in_step(9)
    job.run(range(600), loads)
    ill = {name: (lambda second: 0.5 * work(second)) for name in gpus(3)}
    job.run(range(600, 660), loads | ill)
    assert median(job.found[name] for name in ill) > BOUND
    assert max(job.found[name] for name in gpus(9)[3:]) < 0.01


def _member(name: tuple[str, str], second: float) -> Member:
    node, device = name
    point = sample(second, device=device, node=node, power_w=work(second) * RATED_W, power_limit_w=RATED_W)
    return Member(node=node, device=device, began_ns=0, point=point)


@pytest.mark.parametrize("loading", [0.2, 0.28])
def test_a_device_that_prepares_the_work_of_all_is_in_step_once_they_work(loading):
    job, devices = Job(), gpus(8)
    quiet = dict.fromkeys(devices, lambda second: 0.1) | {devices[0]: lambda second: loading}
    job.run(range(600), quiet)
    job.run(range(600, 900), in_step(8))
    assert job.found[devices[0]] < BOUND

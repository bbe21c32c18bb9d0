"""Volatility and overload: the formulas on cases computed by hand, gaps, stamps, and what is absent."""

from math import exp, sqrt

import pytest

from tests.unit.analytics.signal_traces import LIMIT_C, Node, gpu, sample
from thermogate.core.model import DeviceInfo


def test_volatility_is_the_deviation_now_over_the_root_mean_square_of_the_normal():
    node = Node(fast_s=10, slow_s=20)
    rles = [0.4 if second < 20 else 0.8 for second in range(24)]
    node.hear(*(gpu(second, rle=rle) for second, rle in enumerate(rles)))
    # by hand: 20 samples of 0.4 make a mean of 0.4, no variance and a mean square of 0.16; a sample then has
    # the share 1 / 11 of the fast window and 1 / 21 of the slow one, 1 / 20 while 19 s have been covered
    mean, variance, square = 0.4, 0.0, 0.16
    for covered_s in (19, 20, 21, 22):
        variance = (1 - 1 / 11) * (variance + 1 / 11 * (0.8 - mean) ** 2)
        mean += 1 / 11 * (0.8 - mean)
        square += 1 / (1 + min(covered_s, 20)) * (0.64 - square)
    assert node.last().volatility == pytest.approx(sqrt(variance / square))


def test_overload_is_volatility_squared_times_load_over_headroom():
    node = Node(fast_s=10, slow_s=20, ambient_c=30)
    node.hear(*(gpu(second, rle=0.4 + 0.2 * (second % 2), temp_c=75, power_w=200) for second in range(60)))
    found = node.last()
    assert found.overload == pytest.approx(found.volatility**2 * 0.5 / ((LIMIT_C - 75) / (LIMIT_C - 30)))


def test_headroom_has_a_floor_so_that_a_device_over_its_limit_has_an_overload_too():
    node = Node(fast_s=10, slow_s=20, headroom_least_ratio=0.1)
    node.hear(*(gpu(second, rle=0.4 + 0.2 * (second % 2), temp_c=95) for second in range(60)))
    found = node.last()
    assert found.overload == pytest.approx(found.volatility**2 * 0.75 / 0.1)


def test_rle_below_what_the_wire_carries_does_not_vary():
    node = Node(fast_s=10, slow_s=20)
    node.hear(*(gpu(second, rle=1e-162 * (second % 2)) for second in range(60)))
    assert node.last().volatility == 0.0


@pytest.mark.parametrize("rle", [0.0, 1e-9, 0.5, 3.0])
def test_rle_that_never_varies_has_no_volatility_and_no_overload_also_at_nothing(rle):
    node = Node()
    node.hear(*(gpu(second, rle=rle) for second in range(700)))
    assert node.last().volatility == pytest.approx(0.0, abs=1e-6)
    assert node.last().overload == pytest.approx(0.0, abs=1e-9)


def test_rle_that_awakes_from_nothing_is_bounded_by_the_root_of_the_windows():
    node = Node()
    node.hear(*(gpu(second, rle=0.0) for second in range(1000)))
    worst = max(node.hear(gpu(second, rle=0.9))["gpu0"].volatility for second in range(1000, 1100))
    assert 1.0 < worst < sqrt(600 / 30)


def test_there_is_no_volatility_before_the_slow_window_is_full():
    node = Node()
    assert (
        node.hear(*(gpu(second, rle=0.5 + 0.1 * (second % 3)) for second in range(600)))["gpu0"].volatility
        is None
    )
    assert node.hear(gpu(600))["gpu0"].volatility > 0


def test_a_node_that_samples_every_ten_seconds_has_about_the_same_volatility():
    often, seldom = Node(), Node()
    wave = [0.5 + 0.2 * ((second // 20) % 2) for second in range(2000)]
    often.hear(*(gpu(second, rle=wave[second]) for second in range(2000)))
    seldom.hear(*(gpu(second, rle=wave[second]) for second in range(0, 2000, 10)))
    assert seldom.last().volatility == pytest.approx(often.last().volatility, rel=0.25)


def test_after_a_gap_longer_than_the_fast_window_it_fills_anew_and_a_new_level_is_no_spike():
    node = Node()
    node.hear(*(gpu(second, rle=0.3) for second in range(700)))
    assert node.hear(gpu(760, rle=0.9))["gpu0"].volatility is None
    found = [node.hear(gpu(760 + second, rle=0.9))["gpu0"].volatility for second in range(1, 60)]
    assert found[28] is None
    assert set(found[30:]) == {0.0}


def test_after_a_gap_longer_than_the_slow_window_there_is_no_normal():
    node = Node()
    node.hear(*(gpu(second) for second in range(700)))
    node.hear(*(gpu(2000 + second) for second in range(599)))
    assert node.last().volatility is None


def test_a_sample_that_is_not_newer_changes_nothing():
    node = Node()
    node.hear(*(gpu(second, rle=0.5 + 0.1 * (second % 2)) for second in range(700)))
    before = node.state
    assert node.hear(gpu(699, rle=9.0)) == {}
    assert node.hear(gpu(12, rle=9.0)) == {}
    assert node.state == before


def test_without_rle_there_is_no_volatility_and_without_power_temperature_or_limit_no_overload():
    node = Node(fast_s=10, slow_s=20)
    node.hear(*(gpu(second, rle=0.4 + 0.2 * (second % 2)) for second in range(60)))
    assert node.hear(gpu(60, rle=None))["gpu0"].volatility is None
    for second, missing in enumerate(("power_w", "power_limit_w", "temp_c", "temp_limit_c"), start=61):
        found = node.hear(gpu(second, **{missing: None}))["gpu0"]
        assert found.volatility is not None
        assert found.overload is None


def test_what_a_sample_does_not_say_of_its_limits_the_inventory_says():
    info = DeviceInfo(kind="gpu", device="0", model="m", rated_power_w=400.0, temp_limit_c=LIMIT_C)
    told, known = Node(fast_s=10, slow_s=20), Node({"gpu0": info}, fast_s=10, slow_s=20)
    for second in range(60):
        rle = 0.4 + 0.2 * (second % 2)
        told.hear(gpu(second, rle=rle))
        known.hear(gpu(second, rle=rle, power_limit_w=None, temp_limit_c=None))
    assert known.last() == told.last()
    assert known.last().overload is not None


@pytest.mark.parametrize("fields", [{"rle": -1.0}, {"rle": 1e300}, {"temp_c": 1e9}, {"power_limit_w": 0.0}])
def test_a_value_that_cannot_be_is_as_good_as_absent(fields):
    node = Node(fast_s=10, slow_s=20)
    node.hear(*(gpu(second, rle=0.4 + 0.2 * (second % 2)) for second in range(60)))
    found = node.hear(gpu(60, **fields))["gpu0"]
    assert found.overload is None
    assert (found.volatility is None) == ("rle" in fields)


def test_only_devices_that_work_have_signals():
    node = Node()
    assert node.hear(sample(0, device="node", power_w=700.0), sample(0, device="agent", cpu_s=1.0)) == {}
    assert node.state.devices == {}


def test_no_message_can_fill_the_memory():
    node = Node()
    node.hear(*(sample(0, device=f"gpu{number}", rle=0.5) for number in range(1000)))
    assert len(node.state.devices) == 256


def test_the_load_and_temperature_of_overload_are_means_so_that_one_reading_is_not_told():
    node = Node()
    node.hear(*(gpu(second, rle=0.4 + 0.2 * (second % 2)) for second in range(700)))
    before = node.last().overload
    spiked = node.hear(gpu(700, rle=0.4, temp_c=LIMIT_C))["gpu0"].overload
    assert spiked < before * (1 + 2 * (1 - exp(-1 / 30)))

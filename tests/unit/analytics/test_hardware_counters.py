"""Memory errors that grow, counters that begin anew, and power brakes."""

from tests.unit.analytics.making import WatchedHardware, inventory, point
from tests.unit.analytics.test_hardware_xids import decision
from thermogate.analytics.policies import hardware
from thermogate.core.decision import State


def counting(start, counts, *, name="ecc_uncorrected_count", **fields):
    """A sample a second with these counts."""
    return [
        point(start + n, temp_c=60.0, **{name: None if count is None else float(count)}, **fields)
        for n, count in enumerate(counts)
    ]


def states(node):
    return [state for _, state in node.changes()]


def test_one_error_that_ecc_could_not_correct_takes_the_node_out():
    node = WatchedHardware()
    verdict = node.hear(*counting(0, [0, 0, 1]))
    assert node.changes() == [(2.0, State.REPAIR)]
    assert verdict.why == (
        "gpu0 has had 1 memory error that ECC could not correct (REPAIR from 1): "
        "drain this node, then reset gpu0 or reboot"
    )


def test_a_counter_that_begins_above_zero_says_nothing_of_when():
    node = WatchedHardware()
    node.hear(*counting(0, [7] * 1000))
    assert node.changes() == []
    assert node.hear(*counting(1000, [8])).because[0].value == 1.0


def test_errors_do_not_heal_by_quiet_but_by_a_reset():
    node = WatchedHardware()
    node.hear(*counting(0, [0, 2]), *counting(2, [2] * 5000))
    assert states(node) == [State.REPAIR]
    verdict = node.hear(*counting(6000, [0] * 302))
    assert states(node) == [State.REPAIR, State.RUN]
    assert verdict.why.startswith("gpu0 was reset and has been well for 300 s")


def test_errors_right_after_a_reset_are_new_ones():
    node = WatchedHardware()
    node.hear(*counting(0, [5] * 10), *counting(100, [2] * 400))
    assert states(node) == [State.REPAIR]
    assert node.verdicts[-1][1].because[0].value == 2.0


def test_a_frugal_agent_that_leaves_the_counts_out_hides_no_growth():
    node = WatchedHardware()
    node.hear(*counting(0, [0, 0]), *counting(2, [None] * 100), *counting(102, [1]))
    assert states(node) == [State.REPAIR]


def test_a_restart_of_the_gate_does_not_take_the_present_count_for_mended():
    node = WatchedHardware()
    verdict = node.hear(*counting(0, [0, 2]))
    after = WatchedHardware()
    after.state = hardware.resume(decision(verdict))
    after.hear(*counting(100, [2] * 1000))
    assert after.verdicts[-1][1].state is State.REPAIR
    after.hear(*counting(2000, [0] * 302))
    assert after.verdicts[-1][1].state is State.RUN


def test_corrected_errors_count_by_their_rate():
    slow, fast = WatchedHardware(), WatchedHardware()
    slow.hear(*counting(0, [n // 10 for n in range(9000)], name="ecc_corrected_count"))
    verdict = fast.hear(*counting(0, list(range(1001)), name="ecc_corrected_count"))
    assert slow.changes() == []
    assert states(fast) == [State.REPAIR]
    assert verdict.why.startswith(
        "ECC corrected 1000 memory errors of gpu0 within 3600 s (REPAIR from 1000): drain this node"
    )


def test_corrected_errors_that_stop_release_after_two_windows():
    node = WatchedHardware()
    node.hear(*counting(0, [0, 5000], name="ecc_corrected_count"))
    quiet = [point(2 + 60 * n, temp_c=60.0, ecc_corrected_count=5000.0) for n in range(300)]
    node.hear(*quiet)
    assert states(node) == [State.REPAIR, State.RUN]
    assert 3600 + 7200 <= node.changes()[1][0] <= 3600 + 7200 + 120


def test_errors_of_a_gpu_that_the_node_came_back_without_are_over():
    node = WatchedHardware()
    heard = [*counting(0, [0, 2], device="gpu1"), *counting(2, [0, 0], energy_j=1e6)]
    node.hear(inventory("A", "B"), *heard, inventory("A"), *counting(10, [0] * 500, energy_j=1e6))
    assert states(node) == [State.REPAIR]  # not listed by an agent that was started again
    node.hear(*counting(900, [0] * 310, energy_j=5.0))
    assert states(node) == [State.REPAIR, State.RUN]


def test_another_gpu_of_the_same_number_is_looked_at_for_the_first_time():
    node = WatchedHardware()
    node.hear(inventory("A"), *counting(0, [3, 3]), inventory("B"), *counting(2, [9, 9]))
    assert node.changes() == []


def braked(start, until, *, on=lambda _: True):
    return [
        point(second, temp_c=60.0, clock_event_hw_power_brake=float(on(second)))
        for second in range(start, until)
    ]


def test_a_power_brake_that_lasts_holds_the_node_and_asks_to_look_at_its_supply():
    node = WatchedHardware()
    verdict = node.hear(*braked(0, 10, on=lambda _: False), *braked(10, 72))
    assert node.changes() == [(70.0, State.HOLD)]
    assert verdict.pace == 0.5
    assert verdict.why == (
        "gpu0 has been held down by an external power brake for 61 s (HOLD after 60 s): start nothing new "
        "here, keep to 0.5 of full power and look at the power supplies and the feed of this node"
    )


def test_a_brake_that_flickers_is_one_brake_and_short_ones_are_none():
    flickering, short = WatchedHardware(), WatchedHardware()
    flickering.hear(*braked(0, 200, on=lambda second: second % 5 == 0))
    short.hear(*braked(0, 400, on=lambda second: second % 50 < 20))
    assert states(flickering) == [State.HOLD]
    assert short.changes() == []


def test_a_brake_releases_when_it_has_been_off_for_five_minutes():
    node = WatchedHardware()
    verdict = node.hear(*braked(0, 100), *braked(100, 500, on=lambda _: False))
    assert states(node) == [State.HOLD, State.RUN]
    assert verdict.why.startswith("gpu0 has not been braked for 300 s (RUN at 300 s)")

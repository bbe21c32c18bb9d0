"""XIDs: which take a node out, after how many, and what brings it back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.analytics.making import NODE, WatchedHardware, event, inventory, point, through_json
from thermogate.analytics.config import HardwareSettings
from thermogate.analytics.policies import hardware
from thermogate.analytics.policies.hardware.xids import XIDS
from thermogate.core.decision import GateDecision, State

OURS = sorted(number for number, xid in XIDS.items() if xid.remedy == "none")
RESETS = sorted(number for number, xid in XIDS.items() if xid.remedy == "reset" and not xid.repeats)
REPEATS = sorted(number for number, xid in XIDS.items() if xid.repeats)


def xid(second, number, *, device="gpu0", **data):
    return event(second, "xid", device=device, xid=number, **data)


def running(start, until, *, energy_j=1e6, device="gpu0", **fields):
    """A GPU that works, with its counter of energy."""
    return [
        point(second, device=device, temp_c=60.0, energy_j=energy_j + 300.0 * (second - start), **fields)
        for second in range(start, until)
    ]


@pytest.mark.parametrize("number", [*OURS, 999])
def test_an_applications_own_xid_decides_nothing_however_often(number):
    node = WatchedHardware()
    node.hear(
        *running(0, 5), *[xid(5 + second, number) for second in range(20)], *running(30, 60, energy_j=2e6)
    )
    assert node.changes() == []


@pytest.mark.parametrize("number", RESETS)
def test_an_xid_that_needs_a_reset_takes_the_node_out_at_once(number):
    node = WatchedHardware()
    verdict = node.hear(*running(0, 5), xid(5, number))
    assert (verdict.state, verdict.pace) == (State.REPAIR, 0.0)
    assert verdict.why == (
        f"gpu0 reported XID {number}, {XIDS[number].meaning}: "
        "drain this node, then reset gpu0 (nvidia-smi --gpu-reset) or reboot"
    )
    assert verdict.because[0].metric == f"xid_{number}_count"


@pytest.mark.parametrize("number", REPEATS)
def test_an_xid_that_heals_by_itself_counts_when_it_comes_back(number):
    node = WatchedHardware()
    node.hear(*running(0, 5), xid(10, number), xid(1000, number), *running(1000, 1005, energy_j=2e6))
    assert node.changes() == []
    verdict = node.hear(xid(1010, number))
    assert verdict.state is State.REPAIR
    assert f"XID {number} 3 times in 3600 s (REPAIR from 3)" in verdict.why


def test_repeats_long_apart_are_none():
    node = WatchedHardware()
    for hour in range(10):
        start = 2 * 3600 * hour
        node.hear(*running(start, start + 3, energy_j=1e6 + start * 300), xid(start + 3, 94))
    assert node.changes() == []


def test_an_event_that_counts_several_counts_as_so_many():
    node = WatchedHardware()
    assert node.hear(*running(0, 5), xid(5, 94, count=3)).state is State.REPAIR


def test_the_same_event_once_more_is_no_repeat():
    node = WatchedHardware()
    node.hear(*running(0, 5), xid(5, 94), xid(5, 94), xid(5, 94), xid(5, 94))
    assert node.changes() == []


def test_quiet_does_not_mend_an_xid_a_reset_does():
    node = WatchedHardware()
    node.hear(*running(0, 5), xid(5, 95), *running(6, 2000, energy_j=1.002e6))
    assert node.changes() == [(4.0, State.REPAIR)]
    verdict = node.hear(*running(2000, 2299, energy_j=10.0))
    assert verdict.state is State.REPAIR
    verdict = node.hear(*running(2299, 2310, energy_j=1e5))
    assert verdict.state is State.RUN
    assert verdict.why == (
        "gpu0 was reset and has been well for 300 s (RUN at 300 s): work may go on after 2296 s of REPAIR"
    )


def test_an_xid_after_the_reset_starts_it_again():
    node = WatchedHardware()
    node.hear(*running(0, 5), xid(5, 119), *running(100, 200, energy_j=10.0), xid(200, 119))
    node.hear(*running(200, 900, energy_j=1e5))
    assert node.changes() == [(4.0, State.REPAIR)]


def test_a_gpu_that_fell_off_the_bus_and_is_back_is_released():
    node = WatchedHardware()
    node.hear(inventory("A"), *running(0, 5, energy_j=1e6), xid(5, 79))
    node.hear(event(400, "gpu_back"), *running(400, 800, energy_j=5e6))
    assert [state for _, state in node.changes()] == [State.REPAIR, State.RUN]


def test_an_xid_that_needs_another_gpu_outlasts_resets():
    node = WatchedHardware()
    node.hear(inventory("A", "B"), *running(0, 5), xid(5, 64), *running(500, 3000, energy_j=10.0))
    assert node.changes() == [(4.0, State.REPAIR)]
    assert "have gpu0 replaced" in node.verdicts[-1][1].why
    node.hear(inventory("C", "B"), *running(4000, 4400, energy_j=10.0))
    assert [state for _, state in node.changes()] == [State.REPAIR, State.RUN]


def test_where_a_node_does_not_say_which_gpu_it_is_a_reset_has_to_do():
    node = WatchedHardware()
    node.hear(*running(0, 5), xid(5, 64), *running(500, 900, energy_j=10.0))
    assert [state for _, state in node.changes()] == [State.REPAIR, State.RUN]


def test_an_xid_of_before_the_reset_that_arrives_after_it_is_no_news():
    node = WatchedHardware()
    node.hear(
        *running(0, 5), *running(100, 110, energy_j=10.0), xid(50, 95), *running(110, 120, energy_j=4e3)
    )
    assert node.changes() == []


def test_an_xid_from_a_clock_far_ahead_is_mended_like_others():
    node = WatchedHardware()
    node.hear(*running(0, 5), xid(10**8, 95), *running(100, 450, energy_j=10.0))
    assert [state for _, state in node.changes()] == [State.REPAIR, State.RUN]


def test_an_xid_of_no_one_gpu_is_told_as_such_and_mended_by_any_reset():
    node = WatchedHardware()
    verdict = node.hear(*running(0, 5), xid(5, 119, device=""))
    assert verdict.why.startswith("a GPU reported XID 119")
    node.hear(*running(10, 400, energy_j=10.0))
    assert [state for _, state in node.changes()] == [State.REPAIR, State.RUN]


def test_the_gravest_is_told_first():
    node = WatchedHardware()
    verdict = node.hear(*running(0, 5), xid(5, 95), xid(6, 64, device="gpu1"), xid(7, 79, device="gpu2"))
    assert verdict.why.startswith("gpu1 reported XID 64")
    assert "(also gpu2, gpu0)" in verdict.why


@pytest.mark.parametrize("data", [{}, {"xid": "79"}, {"xid": -1.0}, {"xid": 95.0, "count": "many"}])
def test_strange_data_break_nothing(data):
    node = WatchedHardware()
    node.hear(*running(0, 5), event(5, "xid", **data), *running(6, 10, energy_j=2e6))
    assert [state for _, state in node.changes()] == ([State.REPAIR] if data.get("xid") == 95.0 else [])


def decision(verdict):
    return GateDecision(
        id="x",
        seq=1,
        kind="node",
        target=NODE,
        state=verdict.state,
        pace=verdict.pace,
        mode="enforce",
        issued_at_ns=1,
        expires_at_ns=2,
        policy="hardware",
        policy_version=1,
        why=verdict.why,
        because=verdict.because,
        cjp=verdict.cjp,
        inputs="",
    )


@pytest.mark.parametrize("number", [64, 79, 94, 95])
def test_a_restart_forgets_no_xid(number):
    node = WatchedHardware()
    verdict = node.hear(*running(0, 5), xid(5, number, count=3))
    after = WatchedHardware()
    after.state = through_json(hardware.resume(decision(verdict)))
    after.hear(*running(100, 900, energy_j=1e6))
    assert after.verdicts[-1][1].state is State.REPAIR
    after.hear(*running(900, 1300, energy_j=10.0))
    assert after.verdicts[-1][1].state is State.RUN


numbers = st.sampled_from([13, 48, 63, 64, 79, 94, 95, 119, 154, 7777])
happenings = st.one_of(
    st.tuples(st.just("xid"), numbers, st.sampled_from(["gpu0", "gpu1", ""])),
    st.tuples(
        st.sampled_from(["gpu_lost", "gpu_back", "driver_hung", "driver_back"]), st.just(0), st.just("gpu1")
    ),
    st.tuples(st.just("reset"), st.just(0), st.sampled_from(["gpu0", "gpu1"])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(happenings, max_size=20))
def test_whatever_happens_every_fault_ends_once_gpus_are_replaced_and_well(happened):
    node = WatchedHardware(clean_s=5.0, answered_s=5.0, grace_s=2.0)
    node.hear(inventory("A", "B"), *running(0, 2), *running(0, 2, device="gpu1"))
    for n, (kind, number, device) in enumerate(happened):
        second = 10 + 10 * n
        if kind == "reset":
            node.hear(point(second, device=device, temp_c=50.0, energy_j=float(n % 2)))
        else:
            node.hear(event(second, kind, device=device, **({"xid": number} if kind == "xid" else {})))
    start = 500
    node.hear(inventory("C", "D"))
    for second in range(start, start + 20):
        node.hear([point(second, device=d, temp_c=50.0, energy_j=3.0 + second) for d in ("gpu0", "gpu1")])
    node.hear(event(start + 20, "gpu_found", device=""))
    assert node.params == HardwareSettings(clean_s=5.0, answered_s=5.0, grace_s=2.0)
    for second in range(start + 20, start + 40):
        node.hear([point(second, device=d, temp_c=50.0, energy_j=3.0 + second) for d in ("gpu0", "gpu1")])
    assert node.verdicts[-1][1].state is State.RUN

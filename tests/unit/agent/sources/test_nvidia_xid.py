"""XIDs of NVIDIA GPUs, told with the tick after they happen."""

import threading
import time
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.nvml_stub.driver import DRIVER, StubDriver
from tests.unit.agent.sources.gpus import (
    HASTY,
    NOT_SUPPORTED,
    PATIENT,
    UNKNOWN,
    Bus,
    opened,
    read_until,
    told,
)
from thermogate.agent.sources.base import SourceEvent
from thermogate.agent.sources.nvidia import NvidiaSettings, NvidiaSource
from thermogate.agent.sources.nvml.xid import XidListener


def listening(driver: StubDriver, source: NvidiaSource, *gpus: int) -> None:
    """Read until events are awaited; what happened before is not recorded."""
    for gpu in gpus:
        read_until(source, lambda *_, gpu=gpu: driver.calls("nvmlDeviceRegisterEvents", gpu) > 0)
    before = driver.calls("nvmlEventSetWait", DRIVER)
    read_until(source, lambda *_: driver.calls("nvmlEventSetWait", DRIVER) > before)


def xids(events: list[SourceEvent]) -> list[SourceEvent]:
    return [event for event in events if event.event == "xid"]


def test_an_xid_is_an_event_of_its_gpu_with_number_and_meaning(driver: StubDriver) -> None:
    with opened() as source:
        listening(driver, source, *range(8))
        driver.xid(3, 94)
        _, events = read_until(source, lambda _, events: bool(events))
        _, after = source.read()
    (event,) = events
    assert (event.event, event.kind, event.device) == ("xid", "gpu", "3")
    assert event.text == "gpu3: XID 94: an uncorrectable memory error hit one program only, which was stopped"
    assert event.data == {
        "xid": 94,
        "meaning": "an uncorrectable memory error hit one program only, which was stopped",
    }
    assert after == []


def test_an_xid_that_is_not_well_known_has_its_number_only(driver: StubDriver) -> None:
    with opened() as source:
        listening(driver, source, 7)
        driver.xid(7, 999)
        _, events = read_until(source, lambda _, events: bool(events))
    assert (events[0].text, events[0].data) == ("gpu7: XID 999", {"xid": 999})


def test_an_xid_of_a_mig_instance_names_the_instance(driver: StubDriver) -> None:
    with opened() as source:
        listening(driver, source, 1)
        driver.xid(1, 43, 9, 0)
        _, events = read_until(source, lambda _, events: bool(events))
    assert (events[0].data["gpu_instance"], events[0].data["compute_instance"]) == (9, 0)


def test_a_storm_of_one_xid_is_one_event_a_tick_with_its_count(driver: StubDriver) -> None:
    with opened() as source:
        listening(driver, source, 0, 1)
        for _ in range(5):
            driver.xid(0, 31)
        driver.xid(1, 31)
        deadline_s = time.monotonic() + 20
        while sum(source._listener._seen.values()) < 6 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        _, events = source.read()
    assert [(event.device, event.data.get("count")) for event in events] == [("0", 5), ("1", None)]
    assert events[0].text.endswith("(5 times since the last tick)")


@pytest.mark.parametrize("code", [NOT_SUPPORTED, UNKNOWN])
def test_a_gpu_that_does_not_support_events_is_left_out_and_the_others_are_heard(
    driver: StubDriver, code: int
) -> None:
    driver.error("nvmlDeviceRegisterEvents", code, 2)
    with opened() as source:
        listening(driver, source, 7)
        driver.xid(2, 13)
        driver.xid(5, 13)
        _, events = read_until(source, lambda _, events: bool(events))
    assert told(events) == [("xid", "5")]


def test_a_lost_gpu_silences_no_other(driver: StubDriver) -> None:
    with opened() as source:
        listening(driver, source, 7)
        before = driver.calls("nvmlDeviceRegisterEvents", 7)
        driver.xid(4, 79)
        driver.set(4, lost=1)
        _, events = read_until(source, lambda _, events: len(events) == 2)
        assert sorted(told(events)) == [("gpu_lost", "4"), ("xid", "4")]
        read_until(source, lambda *_: driver.calls("nvmlDeviceRegisterEvents", 7) > before)
        listening(driver, source)
        driver.xid(6, 48)
        _, events = read_until(source, lambda _, events: bool(events))
    assert told(events) == [("xid", "6")]


def test_a_driver_without_events_is_measured_all_the_same(driver: StubDriver) -> None:
    driver.error("nvmlEventSetCreate", NOT_SUPPORTED, DRIVER)
    with opened() as source:
        for _ in range(3):
            readings, events = source.read()
    assert (len(readings), events) == (8, [])


def test_a_listener_that_hangs_holds_up_neither_readings_nor_close_and_is_told(driver: StubDriver) -> None:
    listener = XidListener(hung_after_s=0.1, retry_s=30.0, wait_s=0.1)
    with opened() as source:
        driver.hang("nvmlEventSetWait", DRIVER)
        source._listener.stop()
        source._listener = listener
        source.read()
        _, events = read_until(source, lambda _, events: bool(events))
        assert told(events) == [("driver_hung", "")]
        assert events[0].text == (
            "nvml's listener to XIDs has not answered for 1 s: its driver hangs in nvmlEventSetWait"
        )
        assert len(source.read()[0]) == 8
        driver.release()
        _, events = read_until(source, lambda _, events: bool(events))
        assert told(events) == [("driver_back", "")]
        driver.hang("nvmlEventSetWait", DRIVER)
        began_s = time.monotonic()
        source.close()
        assert time.monotonic() - began_s < 3.0


def test_a_registration_that_hangs_is_told_with_its_gpu(driver: StubDriver) -> None:
    driver.hang("nvmlDeviceRegisterEvents", 6)
    with opened() as source:
        source._listener = XidListener(hung_after_s=0.1, retry_s=30.0, wait_s=0.1)
        _, events = read_until(source, lambda _, events: bool(events))
        assert events[0].data["call"] == "nvmlDeviceRegisterEvents(gpu6)"
        assert len(source.read()[0]) == 8


def test_an_error_of_every_wait_costs_no_busy_loop(driver: StubDriver) -> None:
    driver.error("nvmlEventSetWait", UNKNOWN, DRIVER)
    with opened(PATIENT) as source:
        read_until(source, lambda *_: driver.calls("nvmlEventSetWait", DRIVER) > 0)
        time.sleep(0.3)
    assert driver.calls("nvmlEventSetWait", DRIVER) == 1


def test_the_thread_ends_after_close(driver: StubDriver) -> None:
    with opened(HASTY, FakeClock()) as source:
        listening(driver, source, 0)
        thread = source._listener._thread
    assert isinstance(thread, threading.Thread)
    thread.join(20)
    assert not thread.is_alive()


def test_xids_of_the_others_come_while_one_gpu_hangs_and_another_has_left_the_bus(
    driver: StubDriver, tmp_path: Path
) -> None:
    """NVML wants to be started again to list what is there, and cannot be while a call hangs."""
    clock, bus = FakeClock(), Bus(tmp_path / "bus")
    with opened(NvidiaSettings(read_timeout_s=0.5, slow_interval_s=0.1), clock, bus.host) as source:
        source.read()
        driver.hang("nvmlDeviceGetTemperatureV", 0)
        source.read()
        bus.unplug(0)
        for _ in range(3):
            clock.pass_time(5)
            source.read()
        driver.xid(3, 79)
        _, events = read_until(source, lambda _, events: ("xid", "3") in told(events))
        driver.release()
    assert ("xid", "3") in told(events)

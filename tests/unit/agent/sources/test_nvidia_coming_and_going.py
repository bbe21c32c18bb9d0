"""NVIDIA GPUs that are lost, unplugged and plugged in while the agent runs."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.fakes import FakeClock
from tests.nvml_stub.driver import DRIVER, StubDriver
from tests.unit.agent.sources.gpus import (
    HOST,
    PATIENT,
    RESET_REQUIRED,
    Bus,
    fields_of,
    opened,
    read_until,
    told,
)
from thermogate.agent.sources.base import Reading, SourceEvent
from thermogate.agent.sources.nvidia import NvidiaSettings, NvidiaSource


def test_a_lost_gpu_is_an_event_and_the_others_go_on(driver: StubDriver) -> None:
    with opened() as source:
        source.read()
        driver.set(3, lost=1)
        readings, events = source.read()
        _, again = source.read()
    assert [reading.device for reading in readings] == ["0", "1", "2", "4", "5", "6", "7"]
    assert [(event.event, event.kind, event.device) for event in events] == [("gpu_lost", "gpu", "3")]
    assert events[0].text == "gpu3 is lost: nvmlDeviceGetFieldValues: GPU is lost"
    assert again == []


def test_a_gpu_that_comes_back_is_an_event_with_the_time_it_was_away(driver: StubDriver) -> None:
    clock = FakeClock()
    with opened(clock=clock) as source:
        driver.set(3, lost=1)
        source.read()
        clock.pass_time(42)
        driver.set(3, lost=0)
        readings, events = source.read()
    assert fields_of(readings, "3")["power_w"] == 612.4
    assert [(event.event, event.data) for event in events] == [("gpu_back", {"lost_s": 42.0})]


def test_a_gpu_that_was_lost_from_the_start_is_told_at_the_first_tick_and_described_when_back(
    driver: StubDriver,
) -> None:
    clock = FakeClock()
    driver.set(5, lost=1)
    source = NvidiaSource(PATIENT, HOST, clock)
    report = source.open()
    assert "gpu5 does not answer (nvmlDeviceGetHandleByIndex: GPU is lost)" in report.text
    _, events = source.read()
    assert [(event.event, event.device) for event in events] == [("gpu_lost", "5")]
    assert source.devices[5].model == "unknown"
    driver.set(5, lost=0)
    clock.pass_time(PATIENT.retry_s)
    _, events = source.read()
    assert [event.event for event in events] == ["gpu_back"]
    assert source.devices[5].model == "H100-80GB-HBM3"
    source.close()


def live(**more: float) -> NvidiaSettings:
    """Settings under which the list of GPUs is looked at in every tick."""
    return NvidiaSettings(**{"read_timeout_s": 5.0, "slow_interval_s": 0.1, **more})


def has(device: str) -> Callable[[list[Reading], list[SourceEvent]], bool]:
    return lambda readings, _: "power_w" in fields_of(readings, device)


def test_a_gpu_that_is_unplugged_is_lost_and_back_under_its_number_when_plugged_in_again(
    driver: StubDriver, tmp_path: Path
) -> None:
    bus, clock = Bus(tmp_path), FakeClock()
    with opened(live(retry_s=1000.0), clock, bus.host) as source:
        source.read()
        driver.set(3, present=0)
        bus.unplug(3)
        _, events = read_until(source, lambda _, events: bool(events))
        assert told(events) == [("gpu_lost", "3")]
        driver.set(6, power_instant_mw=66_000)
        readings, _ = read_until(source, has("6"))
        assert source.devices[6].uuid == "GPU-00000006"
        assert fields_of(readings, "6")["power_w"] == 66.0  # though NVML now lists it under 5
        assert fields_of(readings, "3") == {}
        clock.pass_time(30.0)
        driver.set(3, present=1)
        bus.plug(3)
        readings, events = read_until(source, has("3"))
    assert told(events) == [("gpu_back", "3")]
    assert events[0].data == {"lost_s": 30.0}
    assert [reading.device for reading in readings] == [str(gpu) for gpu in range(8)]


def test_gpus_behind_one_that_was_unplugged_keep_their_numbers_when_nvml_renumbers_them(
    driver: StubDriver, tmp_path: Path
) -> None:
    bus, clock = Bus(tmp_path), FakeClock()
    for gpu in range(8):
        driver.set(gpu, temp_c=40 + gpu)
    with opened(live(), clock, bus.host) as source:
        driver.set(0, present=0)
        bus.unplug(0)
        clock.pass_time(1.0)
        read_until(source, lambda *_: source._starts == 2)
        readings, _ = read_until(source, has("7"))
    assert {reading.device: reading.fields["temp_c"] for reading in readings} == {
        str(gpu): 40.0 + gpu for gpu in range(1, 8)
    }


def test_a_new_gpu_is_found_and_takes_a_number_that_nobody_had(driver: StubDriver, tmp_path: Path) -> None:
    bus, clock = Bus(tmp_path), FakeClock()
    driver.set(2, present=0)  # the third slot is empty at first
    bus.unplug(2)
    with opened(live(), clock, bus.host) as source:
        assert [info.uuid for info in source.devices][2] == "GPU-00000003"
        driver.set(2, present=1)
        bus.plug(2)
        clock.pass_time(1.0)
        readings, events = read_until(source, has("7"))
        assert source.devices[7].uuid == "GPU-00000002"
    assert told(events) == [("gpu_found", "7")]
    assert events[0].text == "gpu7 found: NVIDIA H100 80GB HBM3, GPU-00000002"
    assert events[0].data == {"model": "H100-80GB-HBM3", "uuid": "GPU-00000002", "bus": "00000000:12:00.0"}


def test_a_driver_that_counts_new_gpus_itself_needs_no_list_of_the_kernel(driver: StubDriver) -> None:
    clock = FakeClock()
    driver.set(DRIVER, live=1)
    driver.set(7, present=0)
    with opened(NvidiaSettings(read_timeout_s=5.0, slow_interval_s=0.1), clock) as source:
        driver.set(7, present=1)
        clock.pass_time(1.0)
        _, events = read_until(source, has("7"))
    assert told(events) == [("gpu_found", "7")]


def test_gpus_that_come_to_a_node_without_any_are_found(driver: StubDriver, tmp_path: Path) -> None:
    bus, clock = Bus(tmp_path, count=0), FakeClock()
    driver.set("*", present=0)
    source = NvidiaSource(live(), bus.host, clock)
    assert source.open().text == "NVIDIA driver 570.86.15 finds no GPU: GPU source off until there is one"
    assert source.read() == ([], [])
    driver.set("*", present=1)
    bus.plug(0)
    clock.pass_time(1.0)
    _, events = read_until(source, has("7"))
    source.close()
    assert told(events) == [("gpu_found", str(gpu)) for gpu in range(8)]


def test_a_gpu_that_was_lost_from_the_start_is_matched_when_nvml_lists_it_elsewhere(
    driver: StubDriver, tmp_path: Path
) -> None:
    bus, clock = Bus(tmp_path), FakeClock()
    driver.set(7, lost=1)
    with opened(live(), clock, bus.host) as source:
        driver.set(7, lost=0)
        driver.set(0, present=0)
        bus.unplug(0)
        clock.pass_time(1.0)
        readings, _ = read_until(source, has("7"))
        assert [info.uuid for info in source.devices] == [f"GPU-{gpu:08x}" for gpu in range(8)]
    assert [reading.device for reading in readings] == [str(gpu) for gpu in range(1, 8)]


def test_nvml_is_not_shut_down_for_new_gpus_while_a_call_hangs(driver: StubDriver, tmp_path: Path) -> None:
    bus, clock = Bus(tmp_path), FakeClock()
    with opened(live(read_timeout_s=0.2), clock, bus.host) as source:
        driver.hang("nvmlDeviceGetTemperatureV", 1)
        source.read()
        bus.plug(8)
        for _ in range(20):
            clock.pass_time(0.1)
            source.read()
            time.sleep(0.02)
        assert driver.calls("nvmlShutdown", DRIVER) == 0
        driver.release()
        read_until(source, lambda *_: driver.calls("nvmlShutdown", DRIVER) == 1)


def test_a_lost_gpu_is_looked_up_at_the_next_tick_and_then_only_as_often_as_set(driver: StubDriver) -> None:
    clock = FakeClock()
    with opened(NvidiaSettings(read_timeout_s=5.0, retry_s=10.0), clock) as source:
        driver.set(3, lost=1)
        for _ in range(25):
            source.read()
            clock.pass_time(1.0)
    assert driver.calls("nvmlDeviceGetHandleByUUID", 3) == 3


def test_a_gpu_that_needs_a_reset_is_lost_with_that_reason(driver: StubDriver) -> None:
    with opened() as source:
        driver.error("nvmlDeviceGetFieldValues", 16, 0)
        _, events = source.read()
    assert [event.text for event in events] == [
        "gpu0 is lost: nvmlDeviceGetFieldValues: GPU requires restart"
    ]


def test_when_nvml_does_not_start_again_the_source_fails_and_comes_back(
    driver: StubDriver, tmp_path: Path
) -> None:
    bus, clock = Bus(tmp_path), FakeClock()
    with opened(live(retry_s=10.0), clock, bus.host) as source:
        source.read()
        driver.error("nvmlInitWithFlags", 9, DRIVER)
        bus.plug(8)
        clock.pass_time(1.0)
        _, events = read_until(source, lambda _, events: bool(events))
        assert told(events) == [("source_failed", "")]
        assert events[0].text == (
            "nvml gives nothing: NVIDIA's library is here but its kernel module is not loaded"
        )
        assert source.read() == ([], [])
        driver.error("nvmlInitWithFlags", 0, DRIVER)
        clock.pass_time(10.0)
        readings, events = read_until(source, has("7"))
    assert (len(readings), told(events)) == (8, [("source_back", "")])


def test_a_gpu_that_is_found_and_yet_lost_is_looked_up_no_more_often_than_set(driver: StubDriver) -> None:
    clock = FakeClock()
    with opened(clock=clock) as source:
        source.read()
        driver.error("nvmlDeviceGetUtilizationRates", RESET_REQUIRED, 3)  # though its look-up works
        before = driver.calls("nvmlDeviceGetHandleByUUID", 3) + driver.calls("nvmlDeviceGetName", 3)
        events: list[SourceEvent] = []
        for _ in range(int(PATIENT.retry_s)):
            clock.pass_time(1)
            events += source.read()[1]
        after = driver.calls("nvmlDeviceGetHandleByUUID", 3) + driver.calls("nvmlDeviceGetName", 3)
    assert told(events) == [("gpu_lost", "3")]
    assert after - before <= 4


def test_a_name_of_broken_bytes_costs_the_name_only(driver: StubDriver) -> None:
    driver.set(2, name="NVIDIA H100")
    driver.state.write_bytes(
        driver.state.read_bytes().replace(b"set 2 name NVIDIA H100", b"set 2 name NV\xff\xfe")
    )
    with opened() as source:
        readings, _ = source.read()
        names = [device.name for device in source.devices]
    assert len(readings) == 8
    assert names[2] == ""

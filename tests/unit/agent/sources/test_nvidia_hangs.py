"""NVIDIA GPUs whose driver does not return: the others go on, and events say which call hangs."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.nvml_stub.driver import STATE_VARIABLE, StubDriver
from tests.unit.agent.sources.gpus import (
    HASTY,
    fields_of,
    opened,
    read_until,
    told,
)
from thermogate.agent.sources.base import Reading, SourceEvent
from thermogate.agent.sources.nvidia import NvidiaSettings


def test_a_hanging_gpu_does_not_stop_the_others(driver: StubDriver) -> None:
    with opened(HASTY) as source:
        driver.hang("nvmlDeviceGetUtilizationRates", 5)
        began_s = time.monotonic()
        readings, events = source.read()
        took_s = time.monotonic() - began_s
    assert [reading.device for reading in readings] == ["0", "1", "2", "3", "4", "6", "7"]
    assert events == []
    assert took_s < 2.0


def test_a_hung_gpu_costs_the_next_ticks_neither_time_nor_threads(driver: StubDriver) -> None:
    with opened(HASTY) as source:
        driver.hang("nvmlDeviceGetUtilizationRates", 5)
        source.read()
        threads = threading.active_count()
        began_s = time.monotonic()
        counts = [len(source.read()[0]) for _ in range(10)]
        took_s = time.monotonic() - began_s
        assert threading.active_count() <= threads
    assert counts == [7] * 10
    assert took_s < 4.0  # a tick that waited would take 0.5 s


def test_a_driver_that_hangs_for_all_gpus_is_told_for_each_of_them(driver: StubDriver) -> None:
    clock = FakeClock()
    with opened(NvidiaSettings(read_timeout_s=0.05, open_timeout_s=2.0), clock) as source:
        driver.hang("nvmlDeviceGetTemperatureV")
        hung: set[str] = set()
        for _ in range(12):
            readings, events = source.read()
            hung |= {event.device for event in events if event.event == "driver_hung"}
            assert readings == []
            clock.pass_time(1)
    assert hung == {str(gpu) for gpu in range(8)}


def test_a_hung_call_is_an_event_that_names_it_once_and_is_not_called_again(driver: StubDriver) -> None:
    clock = FakeClock()
    with opened(HASTY, clock) as source:
        driver.hang("nvmlDeviceGetUtilizationRates", 5)
        said, calls = [], []
        for _ in range(6):
            said.append([(event.event, event.device) for event in source.read()[1]])
            calls.append(driver.calls("nvmlDeviceGetUtilizationRates", 5))
            clock.pass_time(1)
        assert set(calls[1:]) == {calls[-1]}  # the first read may come back before the call is under way
    assert said == [[], [], [], [("driver_hung", "5")], [], []]


def test_the_event_of_a_hung_driver_carries_call_and_time(driver: StubDriver) -> None:
    clock = FakeClock()
    with opened(HASTY, clock) as source:
        driver.hang("nvmlDeviceGetClockInfo:1", 0)
        source.read()
        clock.pass_time(3.5)
        (event,) = source.read()[1]
    assert event.text == "gpu0 has not answered for 4 s: its driver hangs in nvmlDeviceGetClockInfo(SM)"
    assert event.data == {"call": "nvmlDeviceGetClockInfo(SM)", "hung_s": 3.5}


def test_a_gpu_whose_call_returns_is_back_with_new_values_only(driver: StubDriver) -> None:
    clock = FakeClock()
    with opened(HASTY, clock) as source:
        driver.hang("nvmlDeviceGetTemperatureV", 2)  # asked after power: that value grows old
        source.read()
        clock.pass_time(10)
        source.read()
        driver.set(2, power_instant_mw=100_000)
        driver.release()
        readings: list[Reading] = []
        events: list[str] = []
        for _ in range(3):
            clock.pass_time(1)
            new, changes = source.read()
            readings += [reading for reading in new if reading.device == "2"]
            events += [f"{event.event} {event.data['hung_s']}" for event in changes]
            time.sleep(0.05)
    assert events in (["driver_back 11.0"], ["driver_back 12.0"])
    assert {reading.fields["power_w"] for reading in readings} == {100.0}


def test_an_answer_that_comes_too_late_is_thrown_away(driver: StubDriver) -> None:
    with opened(HASTY) as source:
        driver.delay("nvmlDeviceGetUtilizationRates", 0.8, 6)
        late, _ = source.read()
        time.sleep(0.8)
        driver.release()
        driver.set(6, temp_c=20)
        next_one, _ = source.read()
    assert fields_of(late, "6") == {}
    assert fields_of(next_one, "6")["temp_c"] == 20.0


def test_slow_calls_of_all_gpus_take_the_time_of_one(driver: StubDriver) -> None:
    with opened() as source:
        driver.delay("nvmlDeviceGetTemperatureV", 0.4)
        began_s = time.monotonic()
        readings, _ = source.read()
        took_s = time.monotonic() - began_s
    assert len(readings) == 8
    assert took_s < 2.4  # one after another they would take 3.2 s


def test_a_hung_gpu_holds_up_neither_close_nor_the_end_of_the_process(
    driver: StubDriver, nvml_library: Path
) -> None:
    driver.hang("nvmlDeviceGetTemperatureV", 1)
    script = """
from thermogate.agent.sources.host import HostSettings
from thermogate.agent.sources.nvidia import NvidiaSettings, NvidiaSource
from thermogate.core.clock import SystemClock
source = NvidiaSource(NvidiaSettings(read_timeout_s=0.5, open_timeout_s=0.5), HostSettings(), SystemClock())
print(source.open().text)
print(len(source.read()[0]))
source.close()
"""
    environ = {**os.environ, "LD_LIBRARY_PATH": str(nvml_library.parent), STATE_VARIABLE: str(driver.state)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=20, check=True
    )
    found, count = done.stdout.splitlines()
    assert "gpu1 does not answer (nvmlDeviceGetTemperatureV has not returned)" in found
    assert int(count) == 7


@pytest.mark.parametrize(
    "call",
    [
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetMarginTemperature",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetMemoryInfo",
    ],
)
def test_whatever_call_hangs_is_named_within_five_seconds_and_when_it_returns(
    driver: StubDriver, call: str
) -> None:
    clock = FakeClock()
    hasty = NvidiaSettings(read_timeout_s=0.3, slow_interval_s=1.0, processes_interval_s=1.0)
    with opened(hasty, clock) as source:
        driver.hang(call, 2)
        began_s = clock.steady_s()
        events: list[SourceEvent] = []
        while not events:
            readings, events = source.read()
            assert fields_of(readings, "2") == {}
            clock.pass_time(1.0)
        assert clock.steady_s() - 1.0 - began_s <= 5.0
        assert [(event.event, event.device, event.data["call"]) for event in events] == [
            ("driver_hung", "2", call)
        ]
        driver.release()
        readings, events = read_until(source, lambda readings, _: "power_w" in fields_of(readings, "2"))
    assert told(events) == [("driver_back", "2")]

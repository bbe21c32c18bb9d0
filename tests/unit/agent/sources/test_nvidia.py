"""NVIDIA GPUs through the real pynvml and a stub of the driver's library."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.nvml_stub.driver import DRIVER, STATE_VARIABLE, StubDriver
from thermogate.agent.sources.base import Reading
from thermogate.agent.sources.nvidia import NvidiaSettings, NvidiaSource
from thermogate.core.errors import SourceError

NOT_SUPPORTED, TIMEOUT, IS_LOST, UNKNOWN = 3, 10, 15, 999

PATIENT = NvidiaSettings(read_timeout_s=5.0)
HASTY = NvidiaSettings(read_timeout_s=0.5)


@contextlib.contextmanager
def opened(settings: NvidiaSettings = PATIENT, clock: FakeClock | None = None) -> Iterator[NvidiaSource]:
    source = NvidiaSource(settings, clock or FakeClock())
    source.open()
    try:
        yield source
    finally:
        source.close()


def fields_of(readings: list[Reading], device: str) -> dict[str, float | int]:
    return next((reading.fields for reading in readings if reading.device == device), {})


def test_every_sensor_is_read_in_si_units(driver: StubDriver) -> None:
    with opened() as source:
        readings, events = source.read()
    assert [reading.device for reading in readings] == [str(gpu) for gpu in range(8)]
    assert events == []
    assert readings[3] == Reading(
        "gpu",
        "3",
        {
            "power_w": 612.4,
            "energy_j": 123456.789,
            "temp_c": 63.0,
            "mem_temp_c": 77.0,
            "util_ratio": 0.98,
            "mem_util_ratio": 0.41,
            "mem_used_bytes": 76543210000,
            "mem_total_bytes": 85520809984,
            "sm_clock_hz": 1.98e9,
            "mem_clock_hz": 2.619e9,
            "power_limit_w": 700.0,
            "temp_limit_c": 87.0,
        },
    )


def test_a_fan_is_read_where_there_is_one(driver: StubDriver) -> None:
    driver.set(2, fan_pct=55)
    with opened() as source:
        readings, _ = source.read()
    assert [reading.fields.get("fan_ratio") for reading in readings[:4]] == [None, None, 0.55, None]


def test_devices_tell_their_model_and_their_own_limits(driver: StubDriver) -> None:
    driver.set(1, power_limit_mw=350_000)
    with opened() as source:
        first, second = source.devices[:2]
    assert (first.kind, first.device, first.model) == ("gpu", "0", "H100-80GB-HBM3")
    assert (first.name, first.uuid) == ("NVIDIA H100 80GB HBM3", "GPU-00000000")
    assert (first.rated_power_w, second.rated_power_w) == (700.0, 350.0)
    assert first.temp_limit_c == 87.0
    assert first.assumed == ()


def test_the_report_counts_gpus_by_model_and_names_the_driver(driver: StubDriver) -> None:
    driver.set(7, name="NVIDIA A100-SXM4-80GB")
    source = NvidiaSource(PATIENT, FakeClock())
    report = source.open()
    source.close()
    assert (report.source, report.found) == ("nvml", True)
    assert report.text == "7 x NVIDIA H100 80GB HBM3, 1 x NVIDIA A100-SXM4-80GB; NVIDIA driver 570.86.15"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (12, "no NVIDIA driver: GPU source off"),
        (9, "NVIDIA's library is here but its kernel module is not loaded: GPU source off"),
        (4, "no permission to open the NVIDIA driver's /dev/nvidiactl: GPU source off"),
        (18, "the NVIDIA driver was updated and its old kernel module is still loaded: GPU source off"),
        (999, "the NVIDIA driver does not start: Unknown Error: GPU source off"),
    ],
)
def test_a_driver_that_does_not_start_is_reported_with_its_cause(
    driver: StubDriver, code: int, text: str
) -> None:
    driver.error("nvmlInitWithFlags", code, DRIVER)
    source = NvidiaSource(PATIENT, FakeClock())
    report = source.open()
    assert (report.found, report.text) == (False, text)
    assert source.devices == ()
    assert source.read() == ([], [])
    source.close()


def test_a_driver_without_gpus_is_reported(driver: StubDriver) -> None:
    driver.set(DRIVER, count=0)
    report = NvidiaSource(PATIENT, FakeClock()).open()
    assert (report.found, report.text) == (
        False,
        "NVIDIA driver 570.86.15 finds no GPU: GPU source off",
    )


def test_a_driver_that_hangs_in_its_start_does_not_hold_up_the_agent(driver: StubDriver) -> None:
    driver.hang("nvmlInitWithFlags", DRIVER)
    source = NvidiaSource(NvidiaSettings(open_timeout_s=0.05), FakeClock())
    report = source.open()
    source.close()
    assert (report.found, report.text) == (
        False,
        "the NVIDIA driver did not start within 0.05 s: GPU source off",
    )


def test_a_call_that_is_not_supported_is_asked_once_for_each_gpu_and_left_alone(driver: StubDriver) -> None:
    driver.error("nvmlDeviceGetMemoryInfo", NOT_SUPPORTED, 1)
    with opened() as source:
        for _ in range(3):
            readings, _ = source.read()
    assert "mem_used_bytes" not in fields_of(readings, "1")
    assert "mem_used_bytes" in fields_of(readings, "2")
    assert driver.calls("nvmlDeviceGetMemoryInfo", 1) == 1
    assert driver.calls("nvmlDeviceGetMemoryInfo", 2) == 4
    assert [driver.calls("nvmlDeviceGetFanSpeed", gpu) for gpu in range(8)] == [1] * 8


def test_temperature_falls_back_on_the_deprecated_call(driver: StubDriver) -> None:
    driver.error("nvmlDeviceGetTemperatureV", NOT_SUPPORTED)
    with opened() as source:
        readings, _ = source.read()
        source.read()
    assert fields_of(readings, "0")["temp_c"] == 63.0
    assert driver.calls("nvmlDeviceGetTemperatureV", 0) == 1


def test_a_failing_temperature_does_not_fall_back_on_another_sensor(driver: StubDriver) -> None:
    with opened() as source:
        driver.error("nvmlDeviceGetTemperatureV", UNKNOWN)
        readings, _ = source.read()
    assert "temp_c" not in fields_of(readings, "0")
    assert driver.calls("nvmlDeviceGetTemperature", 0) == 0


@pytest.mark.parametrize("code", [TIMEOUT, UNKNOWN])
def test_a_failed_call_leaves_its_field_out_of_this_tick_only(driver: StubDriver, code: int) -> None:
    with opened() as source:
        driver.error("nvmlDeviceGetPowerUsage", code, 4)
        failed, _ = source.read()
        driver.error("nvmlDeviceGetPowerUsage", 0, 4)
        again, _ = source.read()
    assert "power_w" not in fields_of(failed, "4")
    assert fields_of(failed, "4")["temp_c"] == 63.0
    assert fields_of(again, "4")["power_w"] == 612.4


@pytest.mark.parametrize(
    ("missing", "limit_c"),
    [
        ((), 87.0),
        (("slowdown_c",), 63 + 25 + 2.0),
        (("slowdown_c", "margin_c"), 83.0),
        (("slowdown_c", "slowdown_tlimit_c"), 83.0),
        (("slowdown_c", "margin_c", "gpu_max_c"), None),
    ],
)
def test_the_limit_is_the_slowdown_threshold_else_from_the_margin_else_the_maximum(
    driver: StubDriver, missing: tuple[str, ...], limit_c: float | None
) -> None:
    driver.set("*", margin_c=25, slowdown_tlimit_c=-2)
    driver.unset("*", *missing)
    with opened() as source:
        readings, _ = source.read()
        assert source.devices[0].temp_limit_c == limit_c
    assert fields_of(readings, "0").get("temp_limit_c") == limit_c


def test_a_limit_that_could_not_be_read_at_first_is_read_later(driver: StubDriver) -> None:
    driver.error("nvmlDeviceGetTemperatureThreshold:1", TIMEOUT, 0)
    with opened() as source:
        before = source.devices[0].temp_limit_c
        driver.error("nvmlDeviceGetTemperatureThreshold:1", 0, 0)
        source.read()
        assert (before, source.devices[0].temp_limit_c) == (None, 87.0)


def test_a_threshold_of_zero_is_no_threshold(driver: StubDriver) -> None:
    driver.set("*", slowdown_c=0)
    with opened() as source:
        assert source.devices[0].temp_limit_c == 83.0


def test_a_lost_gpu_is_an_event_and_the_others_go_on(driver: StubDriver) -> None:
    with opened() as source:
        driver.set(3, lost=1)
        readings, events = source.read()
        _, again = source.read()
    assert [reading.device for reading in readings] == ["0", "1", "2", "4", "5", "6", "7"]
    assert [(event.event, event.kind, event.device) for event in events] == [("gpu_lost", "gpu", "3")]
    assert events[0].text == "gpu3 is lost: nvmlDeviceGetPowerUsage: GPU is lost"
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
    driver.set(5, lost=1)
    source = NvidiaSource(PATIENT, FakeClock())
    report = source.open()
    assert "gpu5 does not answer (nvmlDeviceGetHandleByIndex: GPU is lost)" in report.text
    _, events = source.read()
    assert [(event.event, event.device) for event in events] == [("gpu_lost", "5")]
    assert source.devices[5].model == "unknown"
    driver.set(5, lost=0)
    _, events = source.read()
    assert [event.event for event in events] == ["gpu_back"]
    assert source.devices[5].model == "H100-80GB-HBM3"
    source.close()


def test_nothing_from_any_gpu_is_a_source_error(driver: StubDriver) -> None:
    with opened() as source:
        for number in range(1, 3):
            driver.error(f"nvmlDeviceGetClockInfo:{number}", UNKNOWN)
        for call in ("PowerUsage", "TotalEnergyConsumption", "TemperatureV", "UtilizationRates"):
            driver.error(f"nvmlDeviceGet{call}", UNKNOWN)
        for call in ("MemoryInfo", "FieldValues", "EnforcedPowerLimit"):
            driver.error(f"nvmlDeviceGet{call}", UNKNOWN)
        with pytest.raises(SourceError, match="nvmlDeviceGetEnforcedPowerLimit: Unknown Error"):
            source.read()


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
    assert took_s < 1.0


def test_a_driver_that_hangs_for_all_gpus_is_told_for_each_of_them(driver: StubDriver) -> None:
    clock = FakeClock()
    with opened(NvidiaSettings(read_timeout_s=0.05, open_timeout_s=2.0), clock) as source:
        driver.hang("nvmlDeviceGetPowerUsage")
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
        before = driver.calls("nvmlDeviceGetUtilizationRates", 5)
        driver.hang("nvmlDeviceGetUtilizationRates", 5)
        said = []
        for _ in range(6):
            said.append([(event.event, event.device) for event in source.read()[1]])
            clock.pass_time(1)
        assert driver.calls("nvmlDeviceGetUtilizationRates", 5) == before + 1
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
        driver.hang("nvmlDeviceGetFieldValues", 2)  # asked after power: that value grows old
        source.read()
        clock.pass_time(10)
        source.read()
        driver.set(2, power_mw=100_000)
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
        driver.delay("nvmlDeviceGetFieldValues", 0.8, 6)
        late, _ = source.read()
        time.sleep(0.8)
        driver.release()
        driver.set(6, temp_c=20)
        next_one, _ = source.read()
    assert fields_of(late, "6") == {}
    assert fields_of(next_one, "6")["temp_c"] == 20.0


def test_slow_calls_of_all_gpus_take_the_time_of_one(driver: StubDriver) -> None:
    with opened() as source:
        driver.delay("nvmlDeviceGetPowerUsage", 0.1)
        began_s = time.monotonic()
        readings, _ = source.read()
        took_s = time.monotonic() - began_s
    assert len(readings) == 8
    assert took_s < 0.6


def test_a_hung_gpu_holds_up_neither_close_nor_the_end_of_the_process(
    driver: StubDriver, nvml_library: Path
) -> None:
    driver.hang("nvmlDeviceGetPowerUsage", 1)
    script = """
from thermogate.agent.sources.nvidia import NvidiaSettings, NvidiaSource
from thermogate.core.clock import SystemClock
source = NvidiaSource(NvidiaSettings(read_timeout_s=0.5, open_timeout_s=0.5), SystemClock())
print(source.open().text)
print(len(source.read()[0]))
source.close()
"""
    environ = {**os.environ, "LD_LIBRARY_PATH": str(nvml_library.parent), STATE_VARIABLE: str(driver.state)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=20, check=True
    )
    found, count = done.stdout.splitlines()
    assert "gpu1 does not answer (nvmlDeviceGetPowerUsage has not returned)" in found
    assert int(count) == 7

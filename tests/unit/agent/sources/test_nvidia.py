"""NVIDIA GPUs through the real pynvml and a stub of the driver's library."""

import ctypes
from pathlib import Path

import pynvml
import pytest

from tests.fakes import FakeClock
from tests.nvml_stub.driver import StubDriver, build
from tests.unit.agent.sources.gpus import (
    FUNCTION_NOT_FOUND,
    HOST,
    NOT_SUPPORTED,
    PATIENT,
    TIMEOUT,
    UNKNOWN,
    fields_of,
    opened,
)
from thermogate.agent.sources.base import Reading
from thermogate.agent.sources.nvidia import NvidiaSettings, NvidiaSource
from thermogate.core.errors import SourceError
from thermogate.core.schema import CLOCK_EVENTS


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
            "temp_margin_c": 24.0,
            "mem_temp_c": 77.0,
            "util_ratio": 0.98,
            "mem_util_ratio": 0.41,
            "mem_used_bytes": 76543210000,
            "mem_total_bytes": 85520809984,
            "sm_clock_hz": 1.98e9,
            "mem_clock_hz": 2.619e9,
            "power_limit_w": 700.0,
            "temp_limit_c": 87.0,
            "perf_state": 0,
            "ecc_corrected_count": 2,
            "ecc_uncorrected_count": 0,
            "throttled": 0,
            **dict.fromkeys(CLOCK_EVENTS, 0),
        },
        pids=(),
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
    assert (first.temp_limit_c, first.temp_shutdown_c) == (87.0, 92.0)
    assert (first.bus, second.bus) == ("00000000:10:00.0", "00000000:11:00.0")
    assert first.assumed == ()


def test_the_report_counts_gpus_by_model_and_names_the_driver(driver: StubDriver) -> None:
    driver.set(7, name="NVIDIA A100-SXM4-80GB")
    driver.error("nvmlDeviceGetMarginTemperature", NOT_SUPPORTED, 7)
    source = NvidiaSource(PATIENT, HOST, FakeClock())
    report = source.open()
    source.close()
    assert (report.source, report.found) == ("nvml", True)
    assert report.text == (
        "7 x NVIDIA H100 80GB HBM3 (power instant; without fan),"
        " 1 x NVIDIA A100-SXM4-80GB (power instant; without margin, fan); NVIDIA driver 570.86.15"
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
        driver.error("nvmlDeviceGetUtilizationRates", code, 4)
        failed, _ = source.read()
        driver.error("nvmlDeviceGetUtilizationRates", 0, 4)
        again, _ = source.read()
    assert "util_ratio" not in fields_of(failed, "4")
    assert fields_of(failed, "4")["temp_c"] == 63.0
    assert fields_of(again, "4")["util_ratio"] == 0.98


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


def test_nothing_from_any_gpu_is_a_source_error(driver: StubDriver) -> None:
    with opened() as source:
        for number in range(1, 3):
            driver.error(f"nvmlDeviceGetClockInfo:{number}", UNKNOWN)
        for call in ("TemperatureV", "MarginTemperature", "UtilizationRates", "EnforcedPowerLimit"):
            driver.error(f"nvmlDeviceGet{call}", UNKNOWN)
        for call in ("MemoryInfo", "FieldValues", "CurrentClocksEventReasons", "PerformanceState"):
            driver.error(f"nvmlDeviceGet{call}", UNKNOWN)
        with pytest.raises(SourceError, match=r"nvmlDeviceGet.*: Unknown Error"):
            source.read()


def test_power_of_the_instant_is_taken_where_the_driver_has_it(driver: StubDriver) -> None:
    with opened() as source:
        readings, _ = source.read()
        assert source.devices[0].power_kind == "instant"
    assert fields_of(readings, "0")["power_w"] == 612.4
    assert driver.calls("nvmlDeviceGetPowerUsage", 0) == 0


@pytest.mark.parametrize(("capability", "kind"), [(80, "instant"), (86, "average"), (90, "average")])
def test_else_power_is_of_the_instant_up_to_ga100_and_an_average_from_then_on(
    driver: StubDriver, capability: int, kind: str
) -> None:
    driver.set("*", compute_capability=capability)
    driver.unset("*", "power_instant_mw")
    with opened() as source:
        readings, _ = source.read()
        assert source.devices[0].power_kind == kind
    assert fields_of(readings, "0")["power_w"] == 598.0


def test_a_driver_without_field_values_is_asked_for_power_and_energy_by_their_own_calls(
    driver: StubDriver,
) -> None:
    driver.error("nvmlDeviceGetFieldValues", FUNCTION_NOT_FOUND)
    with opened() as source:
        readings, _ = source.read()
    fields = fields_of(readings, "0")
    assert (fields["power_w"], fields["energy_j"]) == (598.0, 123456.789)
    assert "mem_temp_c" not in fields
    assert (
        driver.calls("nvmlDeviceGetFieldValues", 0) == 2
    )  # once for what is read always, once for what is slow


def test_functions_that_the_library_is_too_old_to_have_are_left_out_or_replaced(
    driver: StubDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = (
        "nvmlDeviceGetMarginTemperature",
        "nvmlDeviceGetTemperatureV",
        "nvmlDeviceGetCurrentClocksEventReasons",
    )
    folder = tmp_path / "old"
    folder.mkdir()
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(build(folder, without=new))))
    driver.set(0, reasons=0x40)
    with opened() as source:
        readings, _ = source.read()
    fields = fields_of(readings, "0")
    assert (fields["temp_c"], fields["clock_event_hw_thermal"], fields["power_w"]) == (63.0, 1, 612.4)
    assert "temp_margin_c" not in fields


@pytest.mark.parametrize(
    ("reasons", "named", "throttled"),
    [
        (0x1, [], 0),  # idle
        (0x4, ["clock_event_sw_power_cap"], 0),
        (0x2 | 0x10, ["clock_event_sync_boost", "clock_event_app_clocks"], 0),
        (0x20, ["clock_event_sw_thermal"], 1),
        (0x8 | 0x40, ["clock_event_hw_thermal", "clock_event_hw_slowdown"], 1),
        (0x8 | 0x80, ["clock_event_hw_power_brake", "clock_event_hw_slowdown"], 1),
    ],
)
def test_clock_event_reasons_are_named_and_heat_and_hardware_limits_are_throttling(
    driver: StubDriver, reasons: int, named: list[str], throttled: int
) -> None:
    driver.set(0, reasons=reasons)
    with opened() as source:
        readings, _ = source.read()
    fields = fields_of(readings, "0")
    assert [name for name in CLOCK_EVENTS if fields[name]] == named
    assert fields["throttled"] == throttled


def test_reasons_that_a_gpu_cannot_tell_are_left_out(driver: StubDriver) -> None:
    driver.set(0, supported_reasons=0x4 | 0x2)
    with opened() as source:
        readings, _ = source.read()
    fields = fields_of(readings, "0")
    assert {name for name in (*CLOCK_EVENTS, "throttled") if name in fields} == {
        "clock_event_sw_power_cap",
        "clock_event_app_clocks",
    }


def test_an_unknown_performance_state_is_left_out(driver: StubDriver) -> None:
    driver.set(0, perf_state=32)
    with opened() as source:
        readings, _ = source.read()
    assert "perf_state" not in fields_of(readings, "0")
    assert fields_of(readings, "1")["perf_state"] == 0


def test_ecc_is_read_at_the_slow_interval_and_is_absent_in_between(driver: StubDriver) -> None:
    clock = FakeClock()
    read: list[bool] = []
    with opened(NvidiaSettings(read_timeout_s=5.0, slow_interval_s=3.0), clock) as source:
        for _ in range(7):
            readings, _ = source.read()
            read.append("ecc_corrected_count" in fields_of(readings, "0"))
            clock.pass_time(1.0)
    assert read == [True, False, False, True, False, False, True]


def test_processes_are_asked_at_their_interval_and_none_is_not_unknown(driver: StubDriver) -> None:
    clock = FakeClock()
    driver.process(0, 4242)
    driver.process(0, 77, "g")
    driver.process(1, 4242)
    said: list[object] = []
    with opened(clock=clock) as source:
        for _ in range(6):
            readings, _ = source.read()
            said.append([reading.pids for reading in readings[:3]])
            clock.pass_time(1.0)
        driver.end_processes()
        clock.pass_time(4.0)
        readings, _ = source.read()
    assert said[0] == said[5] == [(77, 4242), (4242,), ()]
    assert said[1:5] == [[None, None, None]] * 4
    assert readings[0].pids == ()


def test_processes_that_cannot_be_told_now_are_unknown_not_none(driver: StubDriver) -> None:
    driver.process(0, 4242)
    with opened() as source:
        driver.error("nvmlDeviceGetComputeRunningProcesses", UNKNOWN, 0)
        readings, _ = source.read()
    assert (readings[0].pids, readings[1].pids) == (None, ())


def test_a_frugal_source_keeps_what_rle_safety_and_throttling_need(driver: StubDriver) -> None:
    driver.set("*", fan_pct=40)
    with opened() as source:
        source.frugal = True
        readings, _ = source.read()
        source.frugal = False
        after, _ = source.read()
    assert readings[0].pids is not None
    assert readings[0].fields.keys() == {
        "power_w",
        "energy_j",
        "temp_c",
        "mem_temp_c",
        "temp_margin_c",
        "util_ratio",
        "mem_util_ratio",
        "power_limit_w",
        "temp_limit_c",
        "throttled",
        *CLOCK_EVENTS,
    }
    assert {"fan_ratio", "mem_used_bytes", "sm_clock_hz", "perf_state"} <= after[0].fields.keys()

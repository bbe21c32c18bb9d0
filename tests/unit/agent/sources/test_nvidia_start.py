"""NVIDIA drivers that are not there at the start, or not yet."""

import pynvml
import pytest

from tests.fakes import FakeClock
from tests.nvml_stub.driver import DRIVER, StubDriver
from tests.unit.agent.sources.gpus import (
    HOST,
    PATIENT,
    opened,
    read_until,
    told,
)
from thermogate.agent.sources.base import SourceEvent
from thermogate.agent.sources.nvidia import NvidiaSettings, NvidiaSource


@pytest.mark.parametrize(
    ("code", "cause", "cure"),
    [
        (12, "no NVIDIA driver", "install one if this node has NVIDIA GPUs"),
        (9, "NVIDIA's library is here but its kernel module is not loaded", "run modprobe nvidia"),
        (
            4,
            "no permission to open the NVIDIA driver's /dev/nvidiactl",
            "let the agent's user read and write /dev/nvidia*",
        ),
        (
            18,
            "the NVIDIA driver was updated and its old kernel module is still loaded",
            "reboot, or load the module again and restart the agent",
        ),
        (999, "the NVIDIA driver does not start: Unknown Error", "see the kernel's log for NVRM"),
    ],
)
def test_a_driver_that_does_not_start_is_reported_with_cause_and_cure(
    driver: StubDriver, code: int, cause: str, cure: str
) -> None:
    driver.error("nvmlInitWithFlags", code, DRIVER)
    source = NvidiaSource(PATIENT, HOST, FakeClock())
    report = source.open()
    assert not report.found
    assert report.text == f"{cause}: GPU source off ({cure}; tried again every 30 s)"
    assert source.devices == ()
    assert source.read() == ([], [])
    source.close()


def test_a_node_without_the_library_is_reported(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", absent)
    source = NvidiaSource(PATIENT, HOST, FakeClock())
    assert source.open().text.startswith("no NVIDIA driver: GPU source off")
    source.close()


def test_a_driver_that_is_loaded_later_is_found_at_the_next_try(driver: StubDriver) -> None:
    clock = FakeClock()
    driver.error("nvmlInitWithFlags", 9, DRIVER)
    with opened(clock=clock) as source:
        driver.error("nvmlInitWithFlags", 0, DRIVER)
        clock.pass_time(PATIENT.retry_s - 1)
        assert source.read() == ([], [])
        clock.pass_time(1.0)
        readings, events = read_until(source, lambda readings, _: len(readings) == 8)
        assert len(source.devices) == 8
    assert told(events) == [("source_back", ""), *(("gpu_found", str(gpu)) for gpu in range(8))]
    assert events[-1].report.found
    assert "8 x NVIDIA H100" in events[-1].report.text
    assert events[0].text == "nvml works now: NVIDIA driver 570.86.15"
    assert readings[0].pids == ()


def test_a_driver_that_is_not_there_is_tried_no_more_often_than_set(driver: StubDriver) -> None:
    clock = FakeClock()
    driver.error("nvmlInitWithFlags", 9, DRIVER)
    with opened(NvidiaSettings(read_timeout_s=5.0, retry_s=10.0), clock) as source:
        for _ in range(25):
            source.read()
            clock.pass_time(1.0)
    assert driver.calls("nvmlInitWithFlags", DRIVER) == 3


def test_a_driver_that_hangs_in_its_start_does_not_hold_up_the_agent_and_is_told_until_it_starts(
    driver: StubDriver,
) -> None:
    clock = FakeClock()
    driver.hang("nvmlInitWithFlags", DRIVER)
    source = NvidiaSource(NvidiaSettings(open_timeout_s=0.05), HOST, clock)
    report = source.open()
    assert (report.found, report.text) == (
        False,
        "the NVIDIA driver did not start within 0.05 s: GPU source off until it does",
    )
    said = []
    for _ in range(5):
        said += source.read()[1]
        clock.pass_time(1.0)
    assert [event.text for event in said] == [
        "nvml has not answered for 3 s: its driver hangs in nvmlInitWithFlags"
    ]
    driver.release()
    _, events = read_until(source, lambda readings, _: len(readings) == 8)
    source.close()
    assert told(events)[:2] == [("driver_back", ""), ("source_back", "")]
    assert events[0].text == "nvml answers again after 5 s in nvmlInitWithFlags"


def test_a_count_that_hangs_stops_no_gpu(driver: StubDriver) -> None:
    clock = FakeClock()
    settings = NvidiaSettings(read_timeout_s=5.0, slow_interval_s=1.0)
    with opened(settings, clock) as source:
        source.read()
        driver.hang("nvmlDeviceGetCount", DRIVER)
        said: list[SourceEvent] = []
        for _ in range(6):
            clock.pass_time(1.0)
            readings, events = source.read()
            said += events
            assert len(readings) == 8
    assert [(event.event, event.data["call"]) for event in said] == [("driver_hung", "nvmlDeviceGetCount")]

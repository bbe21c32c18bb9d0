"""Devices read against a deadline, without any vendor's library."""

import threading
import time

import pytest

from tests.fakes import FakeClock
from tests.unit.agent.sources.gpus import told
from thermogate.agent.sources.base import Reading
from thermogate.agent.sources.watch import DeviceLostError, Silence, Watch, sweep
from thermogate.agent.sources.worker import Crew
from thermogate.core.errors import SourceError
from thermogate.core.model import DeviceInfo


class FakeProbe:
    """A device that answers, fails, or waits until it is let go."""

    def __init__(self, device: str) -> None:
        self.info = DeviceInfo(kind="gpu", device=device, model="fake")
        self.doing = "fakeRead"
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()
        self.readers: list[int] = []

    def read(self) -> list[Reading]:
        self.readers.append(threading.get_ident())
        self.go.wait(30)
        if self.error is not None:
            raise self.error
        return [Reading("gpu", self.info.device, {"temp_c": 50.0})]


def watched(count: int, clock: FakeClock) -> tuple[list[FakeProbe], list[Watch], Crew]:
    probes = [FakeProbe(str(number)) for number in range(count)]
    return probes, [Watch(probe, clock, 3.0) for probe in probes], Crew("test")


def test_devices_in_good_health_are_read_by_one_thread() -> None:
    probes, watches, crew = watched(8, FakeClock())
    for _ in range(5):
        readings, events = sweep(watches, crew, 5.0)
        assert (len(readings), events) == (8, [])
    crew.stop()
    assert len({reader for probe in probes for reader in probe.readers}) == 1


def test_a_sweep_without_devices_is_empty_at_once() -> None:
    assert sweep([], Crew("test"), 30.0) == ([], [])


def test_several_devices_may_hang_and_each_costs_only_itself() -> None:
    probes, watches, crew = watched(8, FakeClock())
    hung = [probes[index] for index in (0, 3, 7)]
    for probe in hung:
        probe.go.clear()
    readings, _ = sweep(watches, crew, 1.0)
    again, _ = sweep(watches, crew, 5.0)
    for probe in hung:
        probe.go.set()
    crew.stop()
    assert [reading.device for reading in readings] == ["1", "2", "4", "5", "6"]
    assert [reading.device for reading in again] == ["1", "2", "4", "5", "6"]
    assert [len(probe.readers) for probe in hung] == [1, 1, 1]


def test_devices_that_no_time_was_left_for_are_neither_busy_nor_hung() -> None:
    clock = FakeClock()
    probes, watches, crew = watched(3, clock)
    probes[0].go.clear()
    for _ in range(8):
        _, events = sweep(watches, crew, 0.0)
        assert events == []
        clock.pass_time(1.0)
    probes[0].go.set()
    readings, events = sweep(watches, crew, 5.0)
    crew.stop()
    assert (len(readings), events) == (3, [])


def test_a_device_that_fails_is_not_lost_and_one_that_is_lost_comes_back_once() -> None:
    clock = FakeClock()
    (probe,), (watch,), crew = (*watched(1, clock)[:2], Crew("test"))
    probe.error = SourceError("no answer now")
    assert sweep([watch], crew, 5.0) == ([], [])
    assert (watch.error, watch.lost) == ("no answer now", False)
    probe.error = DeviceLostError("gone")
    assert told(sweep([watch], crew, 5.0)[1]) == [("gpu_lost", "0")]
    assert sweep([watch], crew, 5.0) == ([], [])
    clock.pass_time(7.0)
    probe.error = None
    readings, (event,) = sweep([watch], crew, 5.0)
    crew.stop()
    assert (len(readings), event.event, event.data) == (1, "gpu_back", {"lost_s": 7.0})
    assert watch.error == ""


def test_a_bug_in_a_probe_is_raised_to_the_reader() -> None:
    (probe,), (watch,), crew = (*watched(1, FakeClock())[:2], Crew("test"))
    probe.error = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        sweep([watch], crew, 5.0)
    crew.stop()


def test_a_device_that_answers_too_late_is_back_and_that_answer_belongs_to_no_tick() -> None:
    clock = FakeClock()
    (probe,), (watch,), crew = (*watched(1, clock)[:2], Crew("test"))
    probe.go.clear()
    assert sweep([watch], crew, 0.05) == ([], [])
    clock.pass_time(4.0)
    assert told(sweep([watch], crew, 0.05)[1]) == [("driver_hung", "0")]
    probe.go.set()
    deadline_s = time.monotonic() + 20
    while watch.busy and time.monotonic() < deadline_s:
        time.sleep(0.01)
    readings, (event,) = sweep([watch], crew, 5.0)
    crew.stop()
    assert (len(readings), len(probe.readers)) == (1, 2)
    assert (event.event, event.data) == ("driver_back", {"call": "fakeRead", "hung_s": 4.0})


def test_silence_is_told_once_and_its_end_once() -> None:
    silence = Silence("nvml", 3.0)
    silence.begin(10.0)
    assert silence.check(12.9, "nvmlShutdown") == []
    silence.begin(12.9)
    assert told(silence.check(13.0, "nvmlShutdown")) == [("driver_hung", "")]
    assert silence.check(14.0, "nvmlShutdown") == []
    (event,) = silence.end(20.0)
    assert event.text == "nvml answers again after 10 s in nvmlShutdown"
    assert silence.end(21.0) == []


def test_silence_that_was_not_too_long_is_not_told() -> None:
    silence = Silence("nvml", 3.0)
    silence.begin(10.0)
    assert silence.check(12.0, "nvmlShutdown") == []
    assert silence.end(12.5) == []
    silence.begin(100.0)
    assert silence.check(101.0, "nvmlShutdown") == []


def test_a_device_that_answers_after_its_tick_is_told_as_late_and_not_as_hung() -> None:
    clock = FakeClock()
    (probe,), watches, crew = watched(1, clock)
    events: list[str] = []
    for _ in range(5):
        probe.go.clear()
        readings, told_now = sweep(watches, crew, 0.05)
        assert readings == []
        events += [f"{event.event} {event.kind}{event.device}: {event.text}" for event in told_now]
        probe.go.set()
        while watches[0].busy:
            time.sleep(0.001)
        clock.pass_time(1.0)
    readings, told_now = sweep(watches, crew, 30.0)
    crew.stop()
    events += [f"{event.event}: {event.text}" for event in told_now]
    assert len(readings) == 1
    assert events == [
        "source_failed gpu0: gpu0 answers later than a tick waits for it: it has no samples",
        "source_back: gpu0 answers in time again",
    ]

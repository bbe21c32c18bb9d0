import asyncio
import threading

import pytest

from tests.fakes import FakeClock, settle
from thermogate.agent.config import SamplerSettings
from thermogate.agent.sampler import Sampler
from thermogate.agent.sources.base import Reading, SourceEvent
from thermogate.core.errors import SourceError
from thermogate.core.model import DeviceInfo, SourceReport


class Thermometer:
    """A source that counts its readings and can be told to fail or to hang."""

    def __init__(self, name="thermometer"):
        self.name = name
        self.devices = (DeviceInfo(kind="gpu", device="0", model="X"),)
        self.reads = 0
        self.error = ""
        self.events = []
        self.release = threading.Event()
        self.release.set()
        self.opening = threading.Event()
        self.opening.set()
        self.opened = False
        self.frugal = False
        self.found = True
        self.interval_s = 0.0

    def open(self):
        self.opening.wait()
        self.opened = True
        return SourceReport(self.name, self.found, "one device")

    def read(self):
        self.release.wait()
        self.reads += 1
        if self.error:
            raise SourceError(self.error)
        events, self.events = self.events, []
        return [Reading("gpu", "0", {"temp_c": float(self.reads)})], events

    def close(self):
        self.closed = True


@pytest.fixture
def source():
    return Thermometer()


async def ticking(clock, *sources, period_s=1.0, **settings):
    sampler = Sampler("n17", sources, period_s=period_s, clock=clock, settings=SamplerSettings(**settings))
    await sampler.open()
    return sampler, sampler.ticks()


async def eventually(condition):
    """Threads of sources need real time."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def next_tick(ticks, clock, seconds=0.0):
    task = asyncio.ensure_future(anext(ticks))
    await settle()
    if seconds:
        clock.pass_time(seconds)
    return await asyncio.wait_for(task, 10)


def counts(sampler):
    counters = sampler.counters()
    return counters["ticks_count"], counters["late_count"], counters["skipped_count"]


async def test_ticks_stand_on_the_grid_even_when_each_reading_takes_time(source):
    clock = FakeClock()
    _, ticks = await ticking(clock, source)
    stamps = [(await next_tick(ticks, clock)).elapsed_s]
    for _ in range(5):
        clock.pass_time(0.03)  # what the reading and the rest of the tick took
        stamps.append((await next_tick(ticks, clock, 0.97)).elapsed_s)
    assert stamps == pytest.approx([1000, 1001, 1002, 1003, 1004, 1005])


async def test_late_tick_is_counted_and_missed_ones_are_skipped_and_the_grid_is_kept(source):
    clock = FakeClock()
    sampler, ticks = await ticking(clock, source)
    await next_tick(ticks, clock)
    clock.pass_time(1.25)
    await next_tick(ticks, clock)
    assert counts(sampler) == (2, 1, 0)
    clock.pass_time(4.0)  # now 5.25 s after the start: ticks 2, 3 and 4 are missed, 5 is late
    await next_tick(ticks, clock)
    assert counts(sampler) == (3, 2, 3)
    tick = await next_tick(ticks, clock, 0.75)
    assert tick.elapsed_s == pytest.approx(1006)


async def test_a_wall_clock_that_jumps_moves_stamps_but_not_the_grid(source):
    clock = FakeClock()
    _, ticks = await ticking(clock, source)
    first = await next_tick(ticks, clock)
    clock.jump_utc(-3600)
    second = await next_tick(ticks, clock, 1.0)
    assert second.elapsed_s - first.elapsed_s == pytest.approx(1.0)
    assert second.time_ns - first.time_ns == -3599 * 10**9
    (event,) = second.events
    assert (event.event, event.data["jump_s"]) == ("clock_jumped", pytest.approx(-3600))
    assert "set back by 3600.0 s" in event.text


async def test_a_clock_that_is_slewed_is_not_reported(source):
    clock = FakeClock()
    _, ticks = await ticking(clock, source)
    await next_tick(ticks, clock)
    for _ in range(50):
        clock.jump_utc(0.0005)
        assert (await next_tick(ticks, clock, 1.0)).events == ()


async def test_a_source_that_hangs_is_absent_and_not_asked_again_while_others_go_on(source):
    clock = FakeClock()
    hung = Thermometer("hung")
    hung.release.clear()
    sampler = Sampler("n17", [hung, source], period_s=0.0625, clock=clock)
    await sampler.open()
    ticks = sampler.ticks()
    for count in range(1, 4):
        tick = await next_tick(ticks, clock, 0.0625 if count > 1 else 0)
        assert [reading.fields["temp_c"] for reading in tick.readings] == [float(count)]
    assert hung.reads == 0
    hung.release.set()
    await eventually(lambda: hung.reads == 1)
    await sampler.close()


async def test_an_answer_that_comes_after_its_tick_is_thrown_away_but_not_its_events(source):
    clock = FakeClock()
    sampler, ticks = await ticking(clock, source, period_s=0.0625)
    await next_tick(ticks, clock)
    source.release.clear()
    source.events = [SourceEvent("gpu_lost", "gpu0: fallen off the bus", "gpu", "0")]
    assert (await next_tick(ticks, clock, 0.0625)).readings == ()
    source.release.set()
    await eventually(lambda: source.reads == 2)
    await settle()
    tick = await next_tick(ticks, clock, 0.0625)
    assert [event.event for event in tick.events] == ["gpu_lost"]
    assert [reading.fields["temp_c"] for reading in tick.readings] == [3.0]
    await sampler.close()


async def test_a_source_that_hangs_and_comes_back_is_told_with_how_long(source):
    clock = FakeClock()
    sampler, ticks = await ticking(clock, source, period_s=0.0625)
    await next_tick(ticks, clock)
    source.release.clear()
    told = [(await next_tick(ticks, clock, seconds)).events for seconds in (0.0625, 3.0, 3.0)]
    source.release.set()
    await eventually(lambda: source.reads == 2)
    await settle()
    told.append((await next_tick(ticks, clock, 1.0)).events)
    assert [[event.text for event in events] for events in told] == [
        [],
        ["thermometer has not answered for 3 s"],
        [],
        ["thermometer answers again after 7 s"],
    ]
    await sampler.close()


async def test_a_source_that_hangs_in_opening_is_used_once_it_opens(source):
    clock = FakeClock()
    slow = Thermometer("slow")
    slow.opening.clear()
    sampler, ticks = await ticking(clock, slow, source, open_timeout_s=0.05)
    assert [report.found for report in sampler.reports()] == [False, True]
    assert len((await next_tick(ticks, clock)).readings) == 1
    slow.opening.set()
    await eventually(lambda: slow.opened)
    await settle()
    assert len((await next_tick(ticks, clock, 1.0)).readings) == 2
    assert [report.found for report in sampler.reports()] == [True, True]
    await sampler.close()


async def test_a_source_that_finds_more_has_a_new_report(source):
    clock = FakeClock()
    sampler, ticks = await ticking(clock, source)
    report = SourceReport("thermometer", True, "two devices")
    source.events = [SourceEvent("gpu_found", "gpu1 found", "gpu", "1", report=report)]
    await next_tick(ticks, clock)
    assert sampler.reports() == (report,)


async def test_a_source_that_has_found_nothing_is_asked_now_and_then_until_it_has(source):
    clock = FakeClock()
    source.found = False
    _, ticks = await ticking(clock, source)
    await next_tick(ticks, clock)
    for _ in range(10):
        await next_tick(ticks, clock, 1.0)
    assert source.reads == 3
    report = SourceReport("thermometer", True, "one device")
    source.events = [SourceEvent("gpu_found", "gpu0 found", "gpu", "0", report=report)]
    for _ in range(10):
        await next_tick(ticks, clock, 1.0)
    assert source.reads == 3 + 6


async def test_a_source_is_asked_as_often_as_it_is_worth(source):
    clock = FakeClock()
    source.interval_s = 3.0
    _, ticks = await ticking(clock, source)
    read = [bool((await next_tick(ticks, clock)).readings)]
    for late_s in (0.0, 0.02, 0.0, 0.0, 0.02, 0.0, 0.0):
        clock.pass_time(late_s)
        read.append(bool((await next_tick(ticks, clock, 1.0 - late_s)).readings))
    assert read == [True, False, False, True, False, False, True, False]


async def test_frugal_reaches_every_source(source):
    sampler, _ = await ticking(FakeClock(), source)
    sampler.economize(frugal=True)
    assert source.frugal
    sampler.economize(frugal=False)
    assert not source.frugal


async def test_a_failing_source_is_told_once_and_its_return_once(source):
    clock = FakeClock()
    _, ticks = await ticking(clock, source)
    told = []
    for error in ("", "no answer", "no answer", "", ""):
        source.error = error
        tick = await next_tick(ticks, clock, 1.0 if source.reads else 0)
        told += [(event.event, event.text) for event in tick.events]
        assert bool(tick.readings) == (not error)
    assert told == [
        ("source_failed", "thermometer gives nothing: no answer"),
        ("source_back", "thermometer works again"),
    ]


async def test_an_event_of_a_source_is_stamped_with_its_tick(source):
    clock = FakeClock()
    _, ticks = await ticking(clock, source)
    source.events = [SourceEvent("gpu_lost", "gpu0: fallen off the bus", "gpu", "0")]
    tick = await next_tick(ticks, clock)
    (event,) = tick.events
    assert (event.node, event.event, event.device, event.time_ns) == ("n17", "gpu_lost", "0", tick.time_ns)

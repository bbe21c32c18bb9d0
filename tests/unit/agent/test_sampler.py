import asyncio
import threading

import pytest

from tests.fakes import FakeClock, settle
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

    def open(self):
        return SourceReport(self.name, True, "one device")

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


async def ticking(clock, *sources, ticks=None):
    sampler = Sampler("n17", sources, period_s=1.0, clock=clock)
    await sampler.open()
    return sampler, sampler.ticks()


async def next_tick(ticks, clock, seconds=0.0):
    task = asyncio.ensure_future(anext(ticks))
    await settle()
    if seconds:
        clock.pass_time(seconds)
    return await asyncio.wait_for(task, 10)


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
    assert sampler.counters() == {"ticks_count": 2, "late_count": 1, "skipped_count": 0}
    clock.pass_time(4.0)  # now 5.25 s after the start: ticks 2, 3 and 4 are missed, 5 is late
    await next_tick(ticks, clock)
    assert sampler.counters() == {"ticks_count": 3, "late_count": 2, "skipped_count": 3}
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
    await asyncio.sleep(0.05)
    assert hung.reads == 1
    await sampler.close()


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

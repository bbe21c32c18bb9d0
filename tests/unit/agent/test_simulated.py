import asyncio

import pytest

from tests.fakes import FakeClock
from thermogate.agent import recording
from thermogate.agent.config import RleSettings
from thermogate.agent.simulated import Fleet, traces_of
from thermogate.agent.simulated_feed import Jump, JumpingClock, SimulatedFeed
from thermogate.agent.simulated_journal import Journal, read
from thermogate.core.errors import UnavailableError
from thermogate.core.model import DeviceInfo
from thermogate.core.wire import check_telemetry, format_header, parse_points

ROWS = "timestamp,device,util_pct,temp_c,power_w\n" + "".join(
    f"2025-10-29T00:00:{second:02}Z,gpu,{50 + second},{60 + second},{100 + second}\n"
    f"2025-10-29T00:00:{second:02}Z,cpu,{second},,\n"
    for second in range(20)
)
GPU = DeviceInfo(kind="gpu", device="0", model="H100", rated_power_w=200.0, temp_limit_c=83.0)
CPU = DeviceInfo(kind="cpu", device="0", model="Xeon", temp_limit_c=90.0)


@pytest.fixture
def fleet(tmp_path):
    file = tmp_path / "session.csv"
    file.write_text(ROWS)
    traces = tuple(traces_of(recording.read(file), (GPU, CPU), RleSettings()))
    return Fleet(prefix="sim", nodes=3, gpus=2, period_s=1.0, traces=traces)


async def ticks_of(feed, clock, count):
    """The first ticks of a feed."""
    seen, ticks = [], feed.ticks()

    async def take():
        async for tick in ticks:
            seen.append(tick)
            if len(seen) == count:
                return

    task = asyncio.ensure_future(take())
    while not task.done():
        await clock.advance(0.05)
    await ticks.aclose()
    return seen


def points_of(tick):
    return parse_points(tick.lines.encode())


async def test_every_line_is_sound_and_marked_as_simulated(fleet, tmp_path):
    clock = FakeClock()
    with Journal(tmp_path / "journal") as journal:
        feed = SimulatedFeed(fleet, 1, journal, clock)
        (tick,) = await ticks_of(feed, clock, 1)
    assert check_telemetry("sim-0002", format_header("sim-0002", "ab", 1) + tick.lines.encode())
    points = points_of(tick)
    assert [(p.measurement, p.device, p.model) for p in points] == [
        ("gpu", "0", "H100"),
        ("gpu", "1", "H100"),
        ("cpu", "0", "Xeon"),
    ]
    assert {p.origin for p in points} == {"simulated"} == {feed.origin}
    assert feed.samples == 3


async def test_values_are_those_of_the_recording_a_row_a_tick_and_rle_is_with_them(fleet, tmp_path):
    clock = FakeClock()
    with Journal(tmp_path / "journal") as journal:
        ticks = await ticks_of(SimulatedFeed(fleet, 0, journal, clock), clock, 25)
    gpu0 = [points_of(tick)[0].fields for tick in ticks]
    assert [f["temp_c"] for f in gpu0] == [60.0 + n % 20 for n in range(25)]
    assert [f["power_w"] for f in gpu0] == [100.0 + n % 20 for n in range(25)]
    assert "rle" in gpu0[15]
    assert gpu0[0] == gpu0[20]


async def test_devices_play_different_rows_at_the_same_time(fleet, tmp_path):
    clock = FakeClock()
    temps = set()
    for index in range(3):
        with Journal(tmp_path / str(index)) as journal:
            (tick,) = await ticks_of(SimulatedFeed(fleet, index, journal, clock), clock, 1)
        temps |= {(index, p.device, p.fields["temp_c"]) for p in points_of(tick)[:2]}
    assert len({temp for *_, temp in temps}) == len(temps) == 6


async def test_a_tick_is_in_the_journal_with_its_stamp_before_it_is_given_out(fleet, tmp_path):
    clock = FakeClock()
    with Journal(tmp_path / "journal") as journal:
        ticks = await ticks_of(SimulatedFeed(fleet, 0, journal, clock), clock, 3)
        noted = list(read(tmp_path / "journal"))
    assert [(n.tick, n.time_ns) for n in noted] == [(i, tick.time_ns) for i, tick in enumerate(ticks)]


async def test_a_late_tick_is_skipped_and_the_grid_is_kept(fleet, tmp_path):
    clock = FakeClock()
    with Journal(tmp_path / "journal") as journal:
        feed = SimulatedFeed(fleet, 0, journal, clock)
        ticks = feed.ticks()
        first = await anext(ticks)
        clock.pass_time(2.5)
        late = await anext(ticks)
        third = asyncio.ensure_future(anext(ticks))
        await clock.advance(0.5)
        assert [(t.time_ns - first.time_ns) / 1e9 for t in (late, await third)] == [2.5, 3.0]
        await ticks.aclose()
    assert feed.skipped == 1
    assert [n.tick for n in read(tmp_path / "journal")] == [0, 1, 2]


async def test_a_feed_that_is_told_to_end_gives_out_no_more(fleet, tmp_path):
    clock = FakeClock()
    with Journal(tmp_path / "journal") as journal:
        feed = SimulatedFeed(fleet, 0, journal, clock)
        seen = []

        async def take():
            seen.extend([tick async for tick in feed.ticks()])

        task = asyncio.ensure_future(take())
        await clock.advance(1.5)
        feed.end()
        await clock.advance(2)
        assert task.done()
        assert len(seen) == 2


def test_a_clock_that_is_set_moves_stamps_and_no_interval():
    clock = FakeClock()
    jumping = JumpingClock(clock, (Jump(10.0, 3600.0), Jump(20.0, -7200.0)))
    start_ns, start_s = clock.utc_ns(), clock.steady_s()
    seen = []
    for _ in range(3):
        seen.append(((jumping.utc_ns() - start_ns) / 1e9, jumping.steady_s() - start_s))
        clock.pass_time(10)
    assert seen == [(0, 0), (3610, 10), (-3580, 20)]


def test_of_a_process_that_was_killed_only_the_last_tick_is_uncertain(tmp_path):
    path = tmp_path / "journal"
    killed = Journal(path)
    killed.__enter__()
    for stamp in (10, 20, 30):
        killed.note(stamp)
    assert [n.certain for n in read(path)] == [True, True, False]
    with Journal(path) as journal:  # it is started again, and ends well
        assert journal.ticks == 3
        assert journal.note(40) == 3
    assert [(n.tick, n.time_ns, n.certain) for n in read(path)] == [
        (0, 10, True),
        (1, 20, True),
        (2, 30, False),
        (3, 40, True),
    ]


def test_half_an_entry_is_cut_off(tmp_path):
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.note(10)
    with path.open("ab") as file:
        file.write(b"12345")
    assert [n.time_ns for n in read(path)] == [10]
    with Journal(path) as journal:
        journal.note(20)
    assert [(n.tick, n.time_ns) for n in read(path)] == [(0, 10), (1, 20)]


def test_a_journal_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot write"), Journal(tmp_path / "file" / "journal"):
        pass

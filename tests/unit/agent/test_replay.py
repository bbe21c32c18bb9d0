import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes import FakeClock
from thermogate.agent import recording
from thermogate.agent.replay import Replay

ROWS = """timestamp,device,util_pct,temp_c,power_w
2025-10-29T00:00:00.000Z,gpu,10,50,100
2025-10-29T00:00:00.000Z,cpu,20,,
2025-10-29T00:00:01.250Z,gpu,11,51,101
2025-10-29T00:00:02.000Z,gpu,12,52,102
2025-10-29T00:00:02.000Z,cpu,22,,
2025-10-29T00:00:07.500Z,gpu,13,53,103
2025-10-29T00:00:08.500Z,gpu,14,54,104
"""
OFFSETS_S = [0.0, 1.25, 2.0, 7.5, 8.5]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "session.csv"
    file.write_text(ROWS)
    return file


def replay(path, clock, *, speed=1.0, loop=False):
    progress = path.parent / "progress" / "r1.json"
    return Replay("r1", recording.read(path), (), speed=speed, loop=loop, progress_file=progress, clock=clock)


async def play(feed, clock, *, count=None):
    """The ticks of a feed as (stamp, elapsed, readings), time passing as it asks for."""
    ticks, seen = feed.ticks(), []

    async def take():
        async for tick in ticks:
            seen.append((tick.time_ns, tick.elapsed_s, tick.readings))
            if len(seen) == count:
                return

    task = asyncio.ensure_future(take())
    while not task.done():
        await clock.advance(0.25)
        await asyncio.sleep(0.001)
    await task
    await ticks.aclose()
    return seen


@pytest.mark.parametrize("speed", [1.0, 2.0, 0.5])
async def test_rows_are_stamped_with_their_own_spacing_at_the_speed(path, speed):
    clock = FakeClock()
    start_ns = clock.utc_ns()
    seen = await play(replay(path, clock, speed=speed), clock)
    assert [(ns - start_ns) / 1e9 for ns, _, _ in seen] == pytest.approx(
        [s / speed for s in OFFSETS_S], abs=0.26
    )
    first_ns = seen[0][0]
    assert [(ns - first_ns) / 1e9 for ns, _, _ in seen] == [s / speed for s in OFFSETS_S]


async def test_the_intervals_that_rle_sees_are_the_recorded_ones_at_any_speed(path):
    for speed in (1.0, 20.0):
        clock = FakeClock()
        seen = await play(replay(path, clock, speed=speed), clock)
        await replay(path, clock).close()
        assert [elapsed for _, elapsed, _ in seen] == OFFSETS_S


async def test_devices_of_one_instant_come_together_and_absent_values_are_absent(path):
    clock = FakeClock()
    seen = await play(replay(path, clock), clock, count=1)
    ((_, _, readings),) = seen
    assert [(r.kind, r.device, r.fields) for r in readings] == [
        ("gpu", "0", {"util_ratio": 0.1, "temp_c": 50.0, "power_w": 100.0}),
        ("cpu", "0", {"util_ratio": 0.2}),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 5), max_size=4), outage_s=st.floats(0.5, 1e6))
def test_however_often_it_is_cut_off_every_row_has_one_stamp(path, cuts, outage_s):
    async def all_plays():
        clock, stamps = FakeClock(), {}
        await replay(path, clock).close()
        for count in (*cuts, None):
            for ns, elapsed, readings in await play(replay(path, clock), clock, count=count):
                known = stamps.setdefault(elapsed, (ns, readings))
                assert known == (ns, readings)  # sent again, it is the same point
            clock.pass_time(outage_s)
        return stamps

    stamps = asyncio.run(all_plays())
    assert sorted(stamps) == OFFSETS_S
    in_order = [stamps[elapsed][0] for elapsed in OFFSETS_S]
    assert in_order == sorted(set(in_order))


async def test_what_was_not_played_before_a_crash_plays_from_now_on_at_its_own_spacing(path):
    clock = FakeClock()
    await play(replay(path, clock), clock, count=2)
    clock.pass_time(3600)
    restarted_ns = clock.utc_ns()
    seen = await play(replay(path, clock), clock)
    assert [elapsed for _, elapsed, _ in seen] == OFFSETS_S
    assert seen[1][0] < restarted_ns <= seen[2][0]
    assert seen[3][0] - seen[2][0] == round(5.5e9)


async def test_a_stop_on_purpose_lets_the_next_play_begin_afresh(path):
    clock = FakeClock()
    first = replay(path, clock)
    before = await play(first, clock, count=3)
    await first.close()
    clock.pass_time(100)
    again = await play(replay(path, clock), clock)
    assert again[0][0] >= before[-1][0] + 100 * 10**9


async def test_another_recording_or_speed_does_not_go_on_from_the_progress_of_this_one(path):
    clock = FakeClock()
    await play(replay(path, clock), clock, count=3)
    clock.pass_time(100)
    now_ns = clock.utc_ns()
    assert (await play(replay(path, clock, speed=2.0), clock, count=1))[0][0] >= now_ns
    path.write_text(ROWS.replace("100", "99"))
    assert (await play(replay(path, clock, speed=2.0), clock, count=1))[0][0] >= now_ns


async def test_a_damaged_progress_file_is_a_fresh_play(path):
    clock = FakeClock()
    feed = replay(path, clock)
    await play(feed, clock, count=3)
    feed._progress_file.write_bytes(b"{")
    assert len(await play(replay(path, clock), clock)) == 5


async def test_with_loop_it_begins_again_with_new_stamps(path):
    clock = FakeClock()
    seen = await play(replay(path, clock, loop=True), clock, count=12)
    assert [elapsed for _, elapsed, _ in seen] == [*OFFSETS_S, *OFFSETS_S, *OFFSETS_S[:2]]
    stamps = [ns for ns, _, _ in seen]
    assert stamps == sorted(set(stamps))


async def test_a_wall_clock_that_jumps_does_not_hurry_or_stall_the_play(path):
    clock = FakeClock()
    feed = replay(path, clock).ticks()
    await anext(feed)
    clock.jump_utc(-86_400)
    task = asyncio.ensure_future(anext(feed))
    await clock.advance(1.0)
    assert not task.done()
    await clock.advance(0.5)
    await asyncio.sleep(0.01)
    assert task.done()
    await feed.aclose()


async def test_a_replay_says_that_it_is_one(path):
    path.write_text(ROWS + "2025-10-29T00:00:09Z,gpu,x,1,1\n")
    feed = replay(path, FakeClock(), speed=4)
    (report,) = feed.reports()
    assert report.text.startswith(
        "REPLAY of session.csv at 4x: 5 ticks, 1 bad rows skipped, the first in line 9: util_pct"
    )
    assert feed.origin == "replay"

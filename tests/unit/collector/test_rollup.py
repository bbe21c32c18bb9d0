"""When windows are rolled up: soon after their end, again when samples come late, and after a restart."""

import asyncio
import contextlib
import logging
import resource
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from tests.contract.making import message
from tests.fakes import FakeClock
from thermogate.collector.config import RollupSettings
from thermogate.collector.counters import Counters
from thermogate.collector.rollup import Roller
from thermogate.collector.rollup_hand import roll_up_again
from thermogate.collector.rollup_journal import Journal
from thermogate.collector.store.base import Batch
from thermogate.collector.store.resolution import STEP_NS, Kept, Resolution, Span, Window, merged
from thermogate.core.clock import NS
from thermogate.core.errors import ConfigError, StoreError
from thermogate.core.wire import Point

MINUTE_NS, HOUR_NS = STEP_NS["1m"], STEP_NS["1h"]
DAY_NS = 24 * HOUR_NS
BEGIN_NS = 20_000 * DAY_NS + 30 * MINUTE_NS
"""Half past midnight."""
KEPT = Kept(5 * HOUR_NS, 10 * DAY_NS, 100 * DAY_NS)
SETTINGS = RollupSettings(after_s=15, every_s=10)


class FakeRollups:
    """Keeps what it was asked for; raises `fail` while that is set."""

    def __init__(self) -> None:
        self.asked: list[tuple[Resolution, Window]] = []
        self.spans: dict[Resolution, tuple[Span, ...]] = {}
        self.fail: StoreError | None = None

    async def roll_up(self, resolution: Resolution, windows: Sequence[Window]) -> None:
        await asyncio.sleep(0)
        if self.fail is not None:
            raise self.fail
        self.asked += [(resolution, window) for window in windows]

    async def cover(self, resolution: Resolution, start_ns: int, end_ns: int) -> None:
        self.spans[resolution] = merged([*self.spans.get(resolution, ()), (start_ns, end_ns)])

    async def covered(self) -> Mapping[Resolution, tuple[Span, ...]]:
        return self.spans

    def take(self) -> list[tuple[Resolution, int, int, tuple[str, ...] | None]]:
        """What was asked for since the last call: minutes from BEGIN_NS and how many, nodes."""
        asked, self.asked = self.asked, []
        return [
            (
                resolution,
                (window.start_ns - BEGIN_NS) // MINUTE_NS,
                (window.end_ns - window.start_ns) // STEP_NS[resolution],
                window.nodes,
            )
            for resolution, window in asked
        ]


class Rig:
    """A roller on a clock that is moved by hand."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(utc_ns=BEGIN_NS)
        self.store = FakeRollups()
        self.counters = Counters()
        self.folder = folder
        self.store.spans = dict.fromkeys(STEP_NS, ((BEGIN_NS - DAY_NS, BEGIN_NS - 30 * MINUTE_NS),))
        self.store.spans["1m"] = ((BEGIN_NS - DAY_NS, BEGIN_NS),)

    @contextlib.asynccontextmanager
    async def rolling(self, *, stopped: bool = True, **more: str) -> AsyncIterator[Roller]:
        """Without `stopped` it ends as by kill -9: it writes nothing at its end."""
        settings = msgspec.structs.replace(SETTINGS, **more)
        roller = Roller(self.store, Journal(self.folder), settings, KEPT, self.counters, self.clock)
        await roller.open()
        task = asyncio.create_task(roller.run())
        yield roller
        if not stopped:
            self.folder = self.folder.rename(self.folder.with_name(self.folder.name + "-dead"))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def pass_time(self, seconds: float) -> None:
        """Each time the roller has done what there was to do, in a thread too, and sleeps."""
        for _ in range(round(seconds / 10)):
            await self.clock.advance(10)
            async with asyncio.timeout(20):
                while not self.clock._sleepers:
                    await asyncio.sleep(0.001)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "rollup")


def batch(*stamps_s: float, node: str = "n1") -> Batch:
    """Samples of a node these seconds after BEGIN_NS."""
    points = [Point("gpu", node, "0", "", "", {"temp_c": 1.0}, BEGIN_NS + round(s * NS)) for s in stamps_s]
    return Batch(telemetry=tuple(message(point) for point in points))


async def test_minute_is_rolled_up_once_soon_after_its_end_and_then_covered(rig: Rig) -> None:
    async with rig.rolling() as roller:
        await rig.pass_time(60)
        roller.stored(batch(61, 70))
        roller.stored(batch(62, node="n2"))
        rig.store.take()
        await rig.pass_time(60)
        assert ("1m", 1, 1, ("n1", "n2")) not in rig.store.take()
        await rig.pass_time(30)
        assert rig.store.take() == [("1m", 1, 1, ("n1", "n2"))]
        assert rig.store.spans["1m"][-1][1] == BEGIN_NS + 2 * MINUTE_NS
        await rig.pass_time(300)
        assert rig.store.take() == []


async def test_hour_follows_its_minutes(rig: Rig) -> None:
    async with rig.rolling() as roller:
        for minute in range(90):
            roller.stored(batch(60 * minute + 20))
            await rig.pass_time(60)
        await rig.pass_time(60)
        hours = [asked for asked in rig.store.take() if asked[0] == "1h"]
        assert ("1h", 30, 1, ("n1",)) in hours
        assert rig.store.spans["1h"][-1][1] == BEGIN_NS + 90 * MINUTE_NS


async def test_late_samples_have_their_minute_those_after_it_and_its_hour_made_anew(rig: Rig) -> None:
    async with rig.rolling() as roller:
        await rig.pass_time(1200)
        rig.store.take()
        roller.stored(batch(130, node="n7"))
        await rig.pass_time(10)
        assert rig.store.take() == [], "more of the backlog may follow"
        await rig.pass_time(20)
        assert rig.store.take() == [("1m", 2, 6, ("n7",))]
        await rig.pass_time(3600)
        assert {asked[:3] for asked in rig.store.take()} >= {("1h", -30, 1)}


async def test_minute_into_which_a_backlog_still_drains_is_waited_for(rig: Rig) -> None:
    async with rig.rolling() as roller:
        await rig.pass_time(1200)
        rig.store.take()
        for second in range(10):
            roller.stored(batch(120 + second))
            await rig.pass_time(10)
        assert len(rig.store.take()) <= 1
        await rig.pass_time(30)
        assert ("1m", 2, 6, ("n1",)) in rig.store.take()


async def test_store_that_fails_is_asked_again_and_said_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with rig.rolling() as roller:
        await rig.pass_time(600)
        roller.stored(batch(600, 60))
        rig.store.take()
        rig.store.fail = StoreError("down")
        await rig.pass_time(600)
        assert rig.counters.rollup_errors > 10
        assert rig.counters.rollup_waiting >= 1
        rig.store.fail = None
        await rig.pass_time(100)
        asked = rig.store.take()
        assert ("1m", 10, 1, ("n1",)) in asked
        assert ("1m", 1, 6, ("n1",)) in asked
        assert rig.counters.rollup_waiting == 1, "the hour, which has not ended"
    texts = [record.getMessage() for record in caplog.records if "roll" in record.getMessage()]
    assert len(texts) == 2
    assert "down" in texts[0]


@pytest.mark.parametrize("stopped", [True, False])
async def test_late_samples_are_remembered_over_a_restart(rig: Rig, stopped: bool) -> None:
    async with rig.rolling(stopped=stopped) as roller:
        await rig.pass_time(1200)
        roller.stored(batch(130, node="n7"))
        rig.store.fail = StoreError("down")
    rig.store.fail = None
    rig.store.take()
    async with rig.rolling() as roller:
        await rig.pass_time(30)
    assert ("1m", 2, 6, ("n7",)) in rig.store.take()


@pytest.mark.parametrize("stopped", [True, False])
async def test_minutes_since_the_last_snapshot_are_made_of_all_nodes_after_a_restart(
    rig: Rig, stopped: bool
) -> None:
    async with rig.rolling(stopped=stopped) as roller:
        await rig.pass_time(630)
        roller.stored(batch(601, 620))
    rig.store.take()
    rig.clock.pass_time(7200)
    async with rig.rolling() as roller:
        await rig.pass_time(30)
    minutes = [asked for asked in rig.store.take() if asked[0] == "1m"]
    assert any(first <= 10 < first + count and nodes is None for _, first, count, nodes in minutes)
    assert rig.store.spans["1m"][-1][1] >= BEGIN_NS + 130 * MINUTE_NS


async def test_what_was_stored_before_is_rolled_up_as_far_back_as_there_are_samples(rig: Rig) -> None:
    rig.store.spans = {}
    async with rig.rolling():
        await rig.pass_time(300)
    minutes = [(first, first + count) for name, first, count, nodes in rig.store.take() if name == "1m"]
    oldest = min(first for first, _ in minutes)
    assert -5 * 60 < oldest <= -3 * 60, "the oldest hours are about to go"
    assert rig.store.spans["1m"] == ((BEGIN_NS + oldest * MINUTE_NS, rig.store.spans["1m"][0][1]),)
    assert rig.store.spans["1h"][0][0] >= BEGIN_NS + oldest * MINUTE_NS


async def test_disk_that_takes_no_note_is_said_once_and_windows_are_made_all_the_same(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.folder.write_text("a file where the folder should be")
    async with rig.rolling() as roller:
        await rig.pass_time(1200)
        roller.stored(batch(130, node="n7"))
        await rig.pass_time(30)
    assert ("1m", 2, 6, ("n7",)) in rig.store.take()
    assert len([r for r in caplog.records if "noted in memory only" in r.getMessage()]) == 1


async def test_damaged_snapshot_and_notes_cost_only_themselves(rig: Rig) -> None:
    rig.folder.mkdir()
    (rig.folder / "state.json").write_text("{")
    noted = BEGIN_NS - 20 * MINUTE_NS
    (rig.folder / "notes-000000007").write_bytes(b"%d n7\nrubbish\n%d n" % (noted, noted))
    async with rig.rolling():
        await rig.pass_time(30)
    assert ("1m", -20, 6, ("n7",)) in rig.store.take()


async def test_notes_are_gone_once_a_snapshot_has_what_they_say(rig: Rig) -> None:
    async with rig.rolling() as roller:
        await rig.pass_time(1200)
        for minute in range(15):
            roller.stored(batch(60 * minute, node=f"n{minute}"))
        await rig.pass_time(60)
        notes = list(rig.folder.glob("notes-*"))
        assert len(notes) == 1
        assert notes[0].stat().st_size == 0


async def test_one_of_several_collectors_makes_minutes_of_all_and_the_others_what_is_late(rig: Rig) -> None:
    async with rig.rolling(fresh="all"):
        await rig.pass_time(60)
        rig.store.take()
        await rig.pass_time(90)
        assert rig.store.take() == [("1m", 0, 1, None), ("1m", 1, 1, None)]


async def test_collector_that_leaves_minutes_to_another_makes_late_ones_only(rig: Rig) -> None:
    async with rig.rolling(fresh="none") as roller:
        await rig.pass_time(600)
        roller.stored(batch(601, 602, 605))
        await rig.pass_time(60)  # 0.5 s more than the other needs to see what is stored
        roller.stored(batch(659, node="n2"))
        await rig.pass_time(10)
        roller.stored(batch(658, node="n3"))
        await rig.pass_time(600)
        assert rig.store.take() == [("1m", 10, 1, ("n3",))]
        await rig.pass_time(3600)
        assert rig.store.take() == [("1h", -30, 1, ("n3",))]
    assert rig.store.spans["1m"] == ((BEGIN_NS - DAY_NS, BEGIN_NS),), (
        "what is covered is for the other to say"
    )


async def test_time_is_made_anew_by_hand_an_hour_at_a_time_and_no_window_that_has_not_ended() -> None:
    store, now_ns = FakeRollups(), BEGIN_NS + 5 * MINUTE_NS + 30 * NS
    made = [one async for one in roll_up_again(store, BEGIN_NS - 80 * MINUTE_NS, now_ns, KEPT, now_ns)]
    assert store.take() == [("1m", -90, 60, None), ("1m", -30, 35, None), ("1h", -90, 1, None)]
    assert store.spans["1m"] == ((BEGIN_NS - 90 * MINUTE_NS, BEGIN_NS + 5 * MINUTE_NS),)
    assert [resolution for resolution, _ in made] == ["1m", "1m", "1h"]


async def test_time_whose_samples_are_gone_is_not_made_anew_of_nothing() -> None:
    store = FakeRollups()
    with pytest.raises(ConfigError, match="raw_days"):
        async for _ in roll_up_again(store, BEGIN_NS - 2 * DAY_NS, BEGIN_NS - DAY_NS, KEPT, BEGIN_NS):
            pass
    assert store.take() == []


async def test_note_that_a_full_disk_has_cut_spoils_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rollup")
    journal.open()
    journal.note([(BEGIN_NS, b"n1")])
    one = b"%d n2\n" % BEGIN_NS
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * len(one) - 3, limits[1]))
    try:
        journal.note([(BEGIN_NS, b"n2")])
        journal.note([(BEGIN_NS, b"n3")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.note([(BEGIN_NS, b"n4")])
    journal.close()
    _, notes = Journal(tmp_path / "rollup").open()
    assert {(BEGIN_NS, b"n1"), (BEGIN_NS, b"n4")} <= set(notes)
    assert {node for _, node in notes} <= {b"n1", b"n4", b"n"}, "a cut name may be there: it has no samples"


@pytest.mark.parametrize("rubbish", [b"\0" * 4096, b"\xff\xfe{", b"[1]", b""])
async def test_blocks_that_a_power_failure_left_cost_only_themselves(rig: Rig, rubbish: bytes) -> None:
    rig.folder.mkdir()
    (rig.folder / "state.json").write_bytes(rubbish)
    noted = BEGIN_NS - 20 * MINUTE_NS
    (rig.folder / "notes-000000007").write_bytes(
        b"\0\0\0%d n1\n%d n\xff2\n%d n3\n%d n7\n" % (noted, noted, noted + 1, noted)
    )
    (rig.folder / "notes-7.bak").write_bytes(b"of a person")
    async with rig.rolling():
        await rig.pass_time(30)
    assert ("1m", -20, 6, ("n7",)) in rig.store.take()


@pytest.mark.parametrize("fresh", ["own", "all"])
async def test_clock_that_was_ahead_for_a_while_delays_no_minute_for_ever(rig: Rig, fresh: str) -> None:
    async with rig.rolling(fresh=fresh) as roller:
        await rig.pass_time(60)
        rig.clock.jump_utc(30 * 86_400)
        await rig.pass_time(30)
        rig.clock.jump_utc(-30 * 86_400)
        await rig.pass_time(30)
        rig.store.take()
        roller.stored(batch(310))
        await rig.pass_time(360)
    assert any(name == "1m" and first <= 5 < first + count for name, first, count, _ in rig.store.take())


async def test_clock_that_jumps_by_decades_makes_no_more_windows_than_are_kept(rig: Rig) -> None:
    async with rig.rolling(fresh="all"):
        await rig.pass_time(60)
        rig.store.take()
        rig.clock.jump_utc(30 * 365 * 86_400)
        await rig.pass_time(10)
    assert sum(count for name, _, count, _ in rig.store.take() if name == "1m") <= 5 * 60


class OldestRollups(FakeRollups):
    """Knows its oldest sample."""

    def __init__(self, stamp_ns: int | None) -> None:
        super().__init__()
        self.stamp_ns = stamp_ns

    async def oldest(self) -> int | None:
        return self.stamp_ns


@pytest.mark.parametrize("ago_s", [None, 100 * 60])
async def test_time_before_the_oldest_sample_is_stepped_over(rig: Rig, ago_s: int | None) -> None:
    rig.store = OldestRollups(None if ago_s is None else BEGIN_NS - ago_s * NS)
    async with rig.rolling() as roller:
        await rig.pass_time(300)
        made = [first for name, first, _, _ in rig.store.take() if name == "1m"]
        assert all(first >= (-150 if ago_s else 0) for first in made)
        assert (ago_s is None) or min(made) <= -100
        assert len(rig.store.spans["1m"]) == 1
        assert rig.store.spans["1m"][0][0] <= BEGIN_NS - 180 * MINUTE_NS
        roller.stored(batch(-170 * 60, node="n7"))
        await rig.pass_time(60)
    assert ("1m", -170, 6, ("n7",)) in rig.store.take()

"""Windows of the embedded store: files of older versions, retention, and what is older than the samples."""

from pathlib import Path

from tests.contract.making import GPU0, NOW_NS, stored, write
from tests.contract.test_rollups import BEGIN_NS, HOUR_NS, _embedded_rows, run_of
from tests.fakes import FakeClock
from thermogate.collector.config import EmbeddedSettings, RetentionSettings
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.collector.store.resolution import RESOLUTIONS, ROLLED_KINDS, Window, rolled_name
from thermogate.core.clock import NS, Clock, SystemClock
from thermogate.core.query import DeviceTime

DAY_NS = 24 * HOUR_NS


def opened(folder: Path, clock: Clock | None = None, *, read_only: bool = False) -> EmbeddedStore:
    retention = RetentionSettings(raw_days=1, minute_days=3, hour_days=10)
    settings = EmbeddedSettings(threads=1)
    return EmbeddedStore(folder, settings, clock or SystemClock(), retention=retention, read_only=read_only)


async def made(folder: Path) -> None:
    """Three hours of samples, rolled up and covered."""
    async with opened(folder) as store:
        await write(store, *run_of(range(0, 10_000, 20)))
        for resolution in RESOLUTIONS:
            await store.roll_up(resolution, [Window(BEGIN_NS, BEGIN_NS + 3 * HOUR_NS)])
            await store.cover(resolution, BEGIN_NS, BEGIN_NS + 3 * HOUR_NS)


async def test_file_of_an_older_version_is_read_and_gets_its_tables(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await write(store, *run_of(range(100)))
        with store._database.transaction() as cursor:
            for table in ("covered", *(rolled_name(k, r) for k in ROLLED_KINDS for r in RESOLUTIONS)):
                cursor.execute(f"drop table {table}")
    asked = {"start_ns": BEGIN_NS, "end_ns": BEGIN_NS + HOUR_NS}
    old = {"start_ns": 0, "end_ns": BEGIN_NS}
    async with opened(tmp_path, read_only=True) as store:
        assert await store.covered() == {}
        assert await store.top("gpu", "temp_c", **asked, limit=1)
        assert await store.top("gpu", "temp_c", **old, limit=1) == []
        assert await store.series(GPU0, ("temp_c", "energy_j"), **old, step_ns=60 * NS) == []
        assert await store.usage([DeviceTime(GPU0, 0, BEGIN_NS)]) == [None]
    async with opened(tmp_path) as store:
        await store.roll_up("1m", [Window(BEGIN_NS, BEGIN_NS + HOUR_NS)])
        assert len(_embedded_rows(store, "gpu_1m")) == 2


async def test_each_resolution_is_kept_as_long_as_is_set(tmp_path: Path) -> None:
    await made(tmp_path)
    for days, minutes, hours in ((0.5, True, True), (2, True, True), (5, False, True), (20, False, False)):
        clock = FakeClock(utc_ns=NOW_NS + round(days * DAY_NS))
        async with opened(tmp_path, clock) as store:
            assert bool(await stored(store)) == (days < 1)
            assert bool(_embedded_rows(store, "gpu_1m")) == minutes
            assert bool(_embedded_rows(store, "gpu_1h")) == hours


async def test_what_is_older_than_the_samples_is_answered_from_windows(tmp_path: Path) -> None:
    await made(tmp_path)
    start_ns, end_ns = BEGIN_NS + 90 * NS, BEGIN_NS + 2 * HOUR_NS + 90 * NS
    async with opened(tmp_path) as store:
        (want,) = await store.series(GPU0, ("temp_c",), start_ns=BEGIN_NS, end_ns=end_ns, step_ns=60 * NS)
        usage = (await store.usage([DeviceTime(GPU0, BEGIN_NS, BEGIN_NS + 2 * HOUR_NS)]))[0]
        top = await store.top("gpu", "temp_c", start_ns=BEGIN_NS, end_ns=end_ns, limit=1, by="max")
    async with opened(tmp_path, FakeClock(utc_ns=NOW_NS + 2 * DAY_NS)) as store:
        (found,) = await store.series(GPU0, ("temp_c",), start_ns=start_ns, end_ns=end_ns, step_ns=10 * NS)
        assert [point.count for point in found.points][:60] == [3] * 60, (
            "a minute each, though 10 s were asked"
        )
        assert found.points[0].time_ns == BEGIN_NS + 60 * NS
        assert {point.time_ns for point in found.points} <= {point.time_ns for point in want.points}
        assert await store.top("gpu", "temp_c", start_ns=start_ns, end_ns=end_ns, limit=1, by="max") == top
        old = (await store.usage([DeviceTime(GPU0, BEGIN_NS, BEGIN_NS + 2 * HOUR_NS)]))[0]
        assert old is not None
        assert usage is not None
        assert old.sample_count == usage.sample_count
        assert old.first_ns == usage.first_ns
        assert old.energy_j == usage.energy_j, "the first sample of all has no step before it"

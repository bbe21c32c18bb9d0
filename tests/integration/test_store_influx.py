"""InfluxDB 1.x as it is: what it refuses, how it fails and what survives. See also tests/contract."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.contract.making import GPU0, NOW_NS, decision, event, message, sample, status, stored, write
from thermogate.collector.config import InfluxSettings, RetentionSettings
from thermogate.collector.store.base import Batch
from thermogate.collector.store.influx import InfluxStore
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_setup import setup
from thermogate.collector.store.resolution import STEP_NS, Window, floor
from thermogate.collector.store.setting_up import Wish
from thermogate.core.clock import NS, SystemClock
from thermogate.core.errors import RejectedError, StoreError
from thermogate.core.query import Device, DeviceTime

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.influxdb(tmp_path_factory.mktemp("influx")) as running:
        yield running


def influx(url: str, database: str, *, raw_days: float = 30) -> InfluxStore:
    retention = RetentionSettings(raw_days=raw_days)
    return InfluxStore(InfluxSettings(url=url, database=database), SystemClock(), retention=retention)


async def test_version_of_the_server_is_told(url: str) -> None:
    async with influx(url, "version") as store:
        assert store.description.startswith("InfluxDB 1.")
        assert store.description.endswith(f" at {url}, version")


async def test_line_that_does_not_fit_its_field_is_refused_and_the_others_are_stored(url: str) -> None:
    async with influx(url, "conflict") as store:
        await write(store, sample(3, temp_c=60))
        bad = message(sample(2)).replace(b"temp_c=60.0", b"temp_c=60i")
        with pytest.raises(RejectedError, match="field type conflict") as caught:
            await store.write(Batch(telemetry=(message(sample(1)), bad, message(sample(0)))))
        assert caught.value.stored
        assert [(NOW_NS - point.time_ns) // NS for point in await stored(store)] == [3, 1, 0]


async def test_sample_past_the_retention_is_refused_and_the_others_are_stored(url: str) -> None:
    async with influx(url, "short", raw_days=1) as store:
        with pytest.raises(RejectedError, match="beyond retention policy") as caught:
            await write(store, sample(3 * 86_400), sample(0))
        assert caught.value.stored
        assert [point.time_ns for point in await stored(store)] == [NOW_NS]


async def test_database_that_was_dropped_is_made_again(url: str) -> None:
    async with influx(url, "dropped") as store, influx(url, "other") as other:
        await write(store, sample(1))
        await other._http.query('DROP DATABASE "dropped"')
        with pytest.raises(StoreError, match="database not found"):
            await write(store, sample(0))
        await write(store, sample(0))
        assert len(await stored(store)) == 1


async def test_what_was_written_survives_kill_9_of_the_server(tmp_path: Path) -> None:
    port = servers.free_port()
    with servers.influxdb(tmp_path, port=port) as url:  # which kills it at the end
        store = influx(url, "killed")
        async with store:
            await write(store, *(sample(age) for age in range(100)))
            await store.write(Batch(events=(event(),)))
    with servers.influxdb(tmp_path, port=port):
        async with store:
            assert len(await stored(store)) == 100
            assert await store.events(start_ns=0, end_ns=2**62) == [event()]


async def test_server_that_is_down_is_waited_for(tmp_path: Path) -> None:
    port = servers.free_port()
    async with influx(f"http://127.0.0.1:{port}", "later") as store:
        with pytest.raises(StoreError, match=f"http://127.0.0.1:{port} does not answer: "):
            await write(store, sample())
        with pytest.raises(StoreError, match="does not answer"):
            await store.latest()
        with servers.influxdb(tmp_path, port=port):
            await write(store, sample())
            assert len(await store.latest()) == 1
            assert store.description.startswith("InfluxDB 1.")


async def set_up(url: str, database: str, wish: Wish, **days: float) -> dict[str, str]:
    """What was done to each thing."""
    async with InfluxHttp(InfluxSettings(url=url, database=database)) as http:
        steps = [step async for step in setup(http, RetentionSettings(**days), wish)]
    return {step.what.partition(",")[0]: step.did for step in steps}


async def test_setup_makes_what_is_missing_once_and_changes_retention(url: str) -> None:
    new = {"database set up": "made", "retention policy 1m": "made", "retention policy 1h": "made"}
    assert await set_up(url, "set up", Wish(dry_run=True)) == new
    assert await set_up(url, "set up", Wish()) == new
    there = dict.fromkeys((*new, "retention policy autogen"), "there")
    assert await set_up(url, "set up", Wish()) == there
    shorter = {"minute_days": 2.0, "hour_days": 3000.0}
    assert await set_up(url, "set up", Wish(), **shorter) == there | {
        "retention policy 1m": "left",
        "retention policy 1h": "changed",
    }
    assert (await set_up(url, "set up", Wish(shrink=True), **shorter))["retention policy 1m"] == "changed"
    assert set((await set_up(url, "set up", Wish(), **shorter)).values()) == {"there"}


async def test_newest_of_what_another_collector_wrote_is_found(url: str) -> None:
    async with influx(url, "shared") as first, influx(url, "shared") as second:
        await write(first, sample(2, "n1"), sample(1, "n2"))
        await first.write(Batch(statuses=(status("n1"),), decisions=(decision(1),)))
        await write(second, sample(0, "n3"))
        assert {point.node for point in await second.latest()} == {"n1", "n2", "n3"}
        assert [one.node for one in await second.statuses()] == ["n1"]
        assert [one.seq for one in await second.gates()] == [1]


async def test_line_whose_numbers_are_no_json_is_the_newest_all_the_same(url: str) -> None:
    async with influx(url, "zeros") as store:
        odd = message(sample(0, temp_c=60)).replace(b"temp_c=60.0", b"temp_c=007.5,perf_state=00i")
        await store.write(Batch(telemetry=(odd,)))
        assert [point.fields for point in await store.latest()] == [{"temp_c": 7.5, "perf_state": 0}]


async def test_second_line_of_a_stamp_adds_to_the_newest_sample(url: str) -> None:
    async with influx(url, "twice") as store:
        await write(store, sample(0, temp_c=60), sample(0, power_w=300), sample(0, temp_c=60))
        assert [point.fields for point in await store.latest()] == [{"temp_c": 60, "power_w": 300}]


async def test_top_ranks_many_devices_exactly_from_windows_and_samples(url: str) -> None:
    """More devices than candidates, so that the server has to pick the right ones."""
    begin_ns = floor(NOW_NS, STEP_NS["1h"]) - 2 * STEP_NS["1h"]
    age_s = (NOW_NS - begin_ns) / NS
    async with influx(url, "many") as store:
        for node in range(30):
            ages = [(age_s - second, second) for second in range(0, 600, 15)]
            await write(
                store,
                *(
                    sample(age, f"n{node:02}", str(d), temp_c=20 + (7 * node + 3 * d) % 100 + second / 600)
                    for d in range(8)
                    for age, second in ages
                ),
            )
        span = {"start_ns": begin_ns + 47 * NS, "end_ns": begin_ns + 571 * NS}
        plain = [await store.top("gpu", "temp_c", **span, limit=5, largest=large) for large in (True, False)]
        await store.roll_up("1m", [Window(begin_ns, begin_ns + 600 * NS)])
        await store.cover("1m", begin_ns, begin_ns + 480 * NS)
        for large, before in zip((True, False), plain, strict=True):
            found = await store.top("gpu", "temp_c", **span, limit=5, largest=large)
            assert [one.value for one in found] == pytest.approx([one.value for one in before])
            assert [one.device for one in found] == [one.device for one in before]


async def test_no_right_to_make_retention_policies_leaves_answers_from_samples(url: str) -> None:
    async with influx(url, "bare") as store:
        await write(store, sample(5, temp_c=60))
        for policy in ("1m", "1h"):
            await store._http.query(f'DROP RETENTION POLICY "{policy}" ON "bare"')
        with pytest.raises(StoreError, match=r"retention policy not found.*run: thermogate collector setup"):
            await store.cover("1m", 0, STEP_NS["1m"])
    async with influx(url, "bare") as store:
        top = await store.top("gpu", "temp_c", start_ns=NOW_NS - 60 * NS, end_ns=NOW_NS, limit=3)
        assert [one.value for one in top] == [60]


async def test_old_times_are_asked_of_samples_where_there_are_no_rollups(url: str) -> None:
    async with influx(url, "old") as store:
        await write(store, sample(5, temp_c=60))
        await store._http.query('DROP RETENTION POLICY "1h" ON "old"')
        span = {"start_ns": NOW_NS - 90 * 86_400 * NS, "end_ns": NOW_NS}
        [series] = await store.series(GPU0, ("temp_c",), step_ns=60 * NS, **span)
        assert [point.mean for point in series.points] == [60]
        assert [one.value for one in await store.top("gpu", "temp_c", limit=3, **span)] == [60]
        [usage] = await store.usage([DeviceTime(GPU0, **span)])
        assert usage is not None
        assert usage.sample_count == 1


async def test_ranking_of_all_devices_is_that_of_a_few_and_more(url: str) -> None:
    async with influx(url, "all") as store:
        await write(
            store, *(sample(age, device=str(d), temp_c=50 + d + age) for d in range(9) for age in (0, 1))
        )
        span = {"start_ns": NOW_NS - 60 * NS, "end_ns": NOW_NS + NS}
        everything = await store.top("gpu", "temp_c", limit=1000, **span)
        assert [one.value for one in everything] == [58.5 - d for d in range(9)]
        assert await store.top("gpu", "temp_c", limit=4, **span) == everything[:4]


async def test_retention_policies_that_were_dropped_are_made_again(url: str) -> None:
    async with influx(url, "policies") as store:
        await write(store, sample(3))
        span = floor(NOW_NS, 60 * NS) - 60 * NS, floor(NOW_NS, 60 * NS)
        await store._http.query('DROP RETENTION POLICY "1m" ON "policies"')
        with pytest.raises(StoreError, match="1m"):
            await store.roll_up("1m", [Window(*span)])
        await store.roll_up("1m", [Window(*span)])
        await store.cover("1m", *span)
        assert await store.covered() == {"1m": (span,)}


async def test_what_was_covered_is_a_row_a_day_and_known_to_other_collectors(url: str) -> None:
    hour_ns, day_ns = STEP_NS["1h"], 24 * STEP_NS["1h"]
    begin_ns = floor(NOW_NS, day_ns) - 4 * day_ns + 5 * hour_ns
    async with influx(url, "covered") as store, influx(url, "covered") as other:
        for hour in range(72):
            await store.cover("1m", begin_ns + hour * hour_ns, begin_ns + (hour + 1) * hour_ns)
        assert await other.covered() == {"1m": ((begin_ns, begin_ns + 72 * hour_ns),)}
        [rows] = await store._http.query(
            f'SELECT max("windows") FROM "1m"."rolled_up" WHERE time >= {begin_ns} '
            "GROUP BY time(1m) fill(none)"
        )
        assert len(rows.values) == 4


async def test_nodes_are_ranked_too_though_they_have_no_device(url: str) -> None:
    async with influx(url, "nodes") as store:
        readings = [sample(1, f"n{n}", kind="node", device="", model="", power_w=5000 + n) for n in range(3)]
        await write(store, *readings)
        span = {"start_ns": NOW_NS - 60 * NS, "end_ns": NOW_NS}
        ranked = await store.top("node", "power_w", limit=2, **span)
        assert [(one.device, one.value) for one in ranked] == [
            (Device("n2", "node", ""), 5002),
            (Device("n1", "node", ""), 5001),
        ]


async def test_device_that_is_newer_than_the_last_window_is_ranked(url: str) -> None:
    begin_ns = floor(NOW_NS, STEP_NS["1m"]) - STEP_NS["1h"]
    async with influx(url, "newcomer") as store:
        ages = range(60, 3600, 30)
        await write(store, *(sample(age, device=str(d), temp_c=50 + d) for d in range(3) for age in ages))
        await store.roll_up("1m", [Window(begin_ns, NOW_NS - 60 * NS)])
        await store.cover("1m", begin_ns, NOW_NS - 60 * NS)
        await write(store, sample(5, device="7", temp_c=90))
        span = {"start_ns": begin_ns, "end_ns": NOW_NS}
        ranked = await store.top("gpu", "temp_c", limit=2, **span)
        assert [(one.device.device, one.value) for one in ranked] == [("7", 90), ("2", 52)]
        ranked = await store.top("gpu", "temp_c", limit=2, largest=False, **span)
        assert [(one.device.device, one.value) for one in ranked] == [("0", 50), ("1", 51)]

"""What every store that rolls up does with windows, whichever it is."""

import itertools
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests import servers
from tests.contract.making import GPU0, NOW_NS, sample, stored, write
from tests.contract.rolled import Rows, rolled, seen
from thermogate.collector.config import EmbeddedSettings, InfluxSettings, RollupSettings
from thermogate.collector.store.base import RollsUp, Store
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.collector.store.influx import InfluxStore
from thermogate.collector.store.resolution import RESOLUTIONS, STEP_NS, Resolution, Window, floor, rolled_name
from thermogate.core.clock import NS, SystemClock
from thermogate.core.query import Device, DeviceTime, Ranked, Usage
from thermogate.core.wire import Point

HOUR_NS = STEP_NS["1h"]
BEGIN_NS = floor(NOW_NS, HOUR_NS) - 3 * HOUR_NS
"""The begin of an hour, three to four hours ago."""
_NUMBER = itertools.count()
_FIELDS = RollupSettings().fields


class Rolling(Store, RollsUp, Protocol):
    """A store that rolls up."""


Make = Callable[..., Rolling]


@pytest.fixture(scope="module")
def influx_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.influxdb(tmp_path_factory.mktemp("influx")) as url:
        yield url


@pytest.fixture(params=["embedded", "influx"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """The same store, to be opened, each time with other fields to roll up."""
    if request.param == "embedded":
        return lambda *fields: EmbeddedStore(
            tmp_path, EmbeddedSettings(threads=1), SystemClock(), rolled=fields
        )
    url = request.getfixturevalue("influx_url")
    settings = InfluxSettings(url=url, database=f'rolled "{next(_NUMBER)}"')
    return lambda *fields: InfluxStore(settings, SystemClock(), rolled=fields)


@pytest.fixture
async def store(make: Make) -> AsyncIterator[Rolling]:
    async with make(*_FIELDS) as opened:
        yield opened


async def windows_of(store: Rolling, kind: str, resolution: Resolution) -> Rows:
    """Every stored window of a kind."""
    name = rolled_name(kind, resolution)
    if isinstance(store, EmbeddedStore):
        return _embedded_rows(store, name)
    assert isinstance(store, InfluxStore)
    return await _influx_rows(store, name)


def _embedded_rows(store: EmbeddedStore, table: str) -> Rows:
    own = ("time_ns", "node", "device", "sample_count", "first_ns", "last_ns")
    with store._database.cursor() as cursor:
        cursor.execute(f"select * from {table}")
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    assert len({(row["node"], row["device"], row["time_ns"]) for row in rows}) == len(rows)
    return {
        (row["node"], row["device"], row["time_ns"]): {
            name: value for name, value in row.items() if name not in own and value is not None
        }
        for row in rows
    }


async def _influx_rows(store: InfluxStore, name: str) -> Rows:
    found: Rows = {}
    policy = name.rpartition("_")[2]
    answer = await store._http.query(f'SELECT * FROM "{policy}"."{name}" GROUP BY "node", "device"')
    for series in answer:
        for time_ns, *values in series.values:
            row = dict(zip(series.columns[1:], values, strict=True))
            key = (series.tags["node"], series.tags.get("device", ""), time_ns)
            found[key] = {field: float(value) for field, value in row.items() if value is not None}
    return found


async def roll_up(store: Rolling, *, hours: float = 3, nodes: tuple[str, ...] | None = None) -> None:
    """Everything from BEGIN_NS on, to minutes and to hours."""
    for resolution in RESOLUTIONS:
        window = Window(BEGIN_NS, BEGIN_NS + round(hours * HOUR_NS), nodes)
        await store.roll_up(resolution, [window])


def at(second: float, node: str = "n1", device: str = "0", **fields: Any) -> Point:
    """A sample this long after BEGIN_NS."""
    return sample((NOW_NS - BEGIN_NS) / NS - second, node, device, **fields)


def run_of(seconds: range, node: str = "n1", device: str = "0", *, seed: int = 1) -> list[Point]:
    """Samples with gauges that wander, a counter that grows and flags that come and go."""
    chance = random.Random(seed)
    energy_j, points = 1000.0, []
    for second in seconds:
        energy_j += chance.uniform(200, 700)
        collapse, throttled = float(second % 97 < 20), float(chance.random() < 0.1)
        fields = {"temp_c": chance.uniform(40, 90), "power_w": chance.uniform(100, 700), "energy_j": energy_j}
        fields |= {"collapse": collapse, "throttled": throttled, "rle": chance.random()}
        points.append(at(second, node, device, **fields))
    return points


async def check(
    store: Rolling, points: list[Point], kind: str = "gpu", of: Collection[str] = _FIELDS
) -> None:
    for resolution in RESOLUTIONS:
        found, wanted = await windows_of(store, kind, resolution), rolled(points, resolution, of)
        assert found.keys() == wanted.keys()
        for key, row in seen(wanted).items():
            assert seen({key: found[key]})[key] == pytest.approx(row, rel=1e-9), (resolution, key)


async def test_windows_hold_what_the_samples_come_to(store: Rolling) -> None:
    points = [*run_of(range(100, 400)), *run_of(range(3500, 3800)), *run_of(range(30, 200), device="1")]
    points += run_of(range(50, 100), node="n2")
    await write(store, *points)
    await roll_up(store)
    await check(store, points)


async def test_window_with_one_sample_and_fields_that_are_sometimes_absent(store: Rolling) -> None:
    points = [
        at(30, temp_c=60),
        at(70, energy_j=100),
        at(75, temp_c=61, power_w=300),
        at(80, energy_j=150, temp_c=62),
        at(130, power_w=310, throttled=1),
        at(131, mem_used_bytes=85899345920),
    ]
    await write(store, *points)
    await roll_up(store)
    await check(store, points)


async def test_growths_of_consecutive_windows_add_up(store: Rolling) -> None:
    points = [at(second, energy_j=7.0 * second) for second in range(10, 400)]
    await write(store, *points)
    await roll_up(store)
    await check(store, points)
    minutes = await windows_of(store, "gpu", "1m")
    assert sum(row.get("energy_j_growth", 0) for row in minutes.values()) == 7.0 * 389


async def test_counter_that_begins_anew_counts_nothing_for_that_step(store: Rolling) -> None:
    points = [at(second, energy_j=(second % 50) * 10) for second in range(200)]
    await write(store, *points)
    await roll_up(store)
    await check(store, points)


async def test_step_over_a_long_gap_counts_nothing(store: Rolling) -> None:
    points = [at(second, energy_j=10 * second, power_w=100) for second in (50, 55, 340, 641, 642)]
    await write(store, *points)
    await roll_up(store)
    await check(store, points)


async def test_energy_is_computed_from_power_only_where_no_counter_tells(store: Rolling) -> None:
    points = [at(second, power_w=200 + second, device="0") for second in range(0, 100, 5)]
    points += [at(second, power_w=300, energy_j=300 * second, device="1") for second in range(100)]
    points += [at(second, power_w=500, device="2") for second in (10, 65, 130, 200)]
    await write(store, *points)
    await roll_up(store)
    await check(store, points)
    assert any("energy_power_j" in row for row in (await windows_of(store, "gpu", "1m")).values())


async def test_cpu_and_node_are_rolled_up(store: Rolling) -> None:
    cpus = [at(s, kind="cpu", power_w=80 + s, dram_energy_j=2.0 * s, energy_j=3.0 * s) for s in range(100)]
    nodes = [at(s, kind="node", device="", model="", power_w=900 + s) for s in range(100)]
    await write(store, *cpus, *nodes, at(5, kind="agent", device="", model="", cpu_s=1.0))
    await roll_up(store)
    await check(store, cpus, "cpu")
    await check(store, nodes, "node")


async def test_rolling_up_again_changes_nothing(store: Rolling) -> None:
    points = run_of(range(100, 300))
    await write(store, *points)
    await roll_up(store)
    await roll_up(store)
    await roll_up(store, nodes=("n1",))
    await check(store, points)


async def test_late_samples_are_in_the_windows_when_these_are_rolled_up_again(store: Rolling) -> None:
    points = run_of(range(400))
    await write(store, *points[200:])
    await roll_up(store)
    await write(store, *points[:200])
    await store.roll_up("1m", [Window(BEGIN_NS, BEGIN_NS + 540 * NS, ("n1",))])
    await store.roll_up("1h", [Window(BEGIN_NS, BEGIN_NS + HOUR_NS, ("n1",))])
    await check(store, points)


async def test_only_the_nodes_asked_for_need_be_rolled_up(store: Rolling) -> None:
    first, second = run_of(range(100)), run_of(range(100), node="n.2")
    await write(store, *first, *second, *run_of(range(100), node="nx2"))
    await roll_up(store, nodes=("n.2",))
    found = await windows_of(store, "gpu", "1m")
    assert {key: row for key, row in found.items() if key[0] == "n.2"}.keys() == rolled(
        second, "1m", _FIELDS
    ).keys()
    await roll_up(store, nodes=("n1", "nx2"))
    assert {key[0] for key in await windows_of(store, "gpu", "1m")} == {"n1", "n.2", "nx2"}


async def test_covered_times_are_kept_and_joined(store: Rolling) -> None:
    assert await store.covered() == {}
    await store.cover("1m", BEGIN_NS, BEGIN_NS + HOUR_NS)
    await store.cover("1m", BEGIN_NS + 2 * HOUR_NS, BEGIN_NS + 3 * HOUR_NS)
    await store.cover("1h", BEGIN_NS, BEGIN_NS + HOUR_NS)
    await store.cover("1m", BEGIN_NS + HOUR_NS, BEGIN_NS + 2 * HOUR_NS)
    assert await store.covered() == {
        "1m": ((BEGIN_NS, BEGIN_NS + 3 * HOUR_NS),),
        "1h": ((BEGIN_NS, BEGIN_NS + HOUR_NS),),
    }


async def _answers(store: Rolling, start_ns: int, end_ns: int) -> tuple[Any, ...]:
    fields = ("temp_c", "power_w", "energy_j", "collapse")
    series = [
        await store.series(GPU0, fields, start_ns=start_ns, end_ns=end_ns, step_ns=step_s * NS)
        for step_s in (10, 60, 3600)
    ]
    top = [
        await store.top("gpu", "temp_c", start_ns=start_ns, end_ns=end_ns, limit=5, by=by)
        for by in ("mean", "min", "max")
    ]
    return (
        *(
            (one.field, [(p.time_ns, pytest.approx(p.mean), p.min, p.max, p.count) for p in one.points])
            for some in series
            for one in some
        ),
        [[(one.device, pytest.approx(one.value)) for one in some] for some in top],
    )


async def test_answers_are_the_same_from_windows_and_samples_together(store: Rolling) -> None:
    """Over the borders of what has been rolled up, and where the range begins and ends inside windows."""
    points = [*run_of(range(50, 4000)), *run_of(range(3000, 7500), device="1", seed=2)]
    await write(store, *points)
    spans = [(0, 7200), (77, 7133), (3600, 7200), (100, 130), (60, 3660)]
    asked = [(BEGIN_NS + start_s * NS, BEGIN_NS + end_s * NS) for start_s, end_s in spans]
    plain = [await _answers(store, *span) for span in asked]
    await roll_up(store)
    await store.cover("1m", BEGIN_NS + 120 * NS, BEGIN_NS + 6600 * NS)
    await store.cover("1h", BEGIN_NS, BEGIN_NS + HOUR_NS)
    for span, before in zip(asked, plain, strict=True):
        assert await _answers(store, *span) == before


async def test_largest_minimum_may_be_far_from_the_largest_in_every_part(store: Rolling) -> None:
    points = [at(10, device=str(i), temp_c=90.0 if i < 50 else 1.0) for i in range(100)]
    points += [at(70, device=str(i), temp_c=1.0 if i < 50 else 90.0) for i in range(100)]
    points += [at(10, node="n2", temp_c=50.0), at(70, node="n2", temp_c=51.0)]
    await write(store, *points)
    await _roll_up_and_cover(store, "1m", 0, 60)
    span = {"start_ns": BEGIN_NS, "end_ns": BEGIN_NS + 120 * NS}
    assert await store.top("gpu", "temp_c", **span, limit=1, by="min") == [
        Ranked(Device("n2", "gpu", "0"), 50.0)
    ]
    assert await store.top("gpu", "temp_c", **span, limit=1, by="max", largest=False) == [
        Ranked(Device("n2", "gpu", "0"), 51.0)
    ]


@pytest.mark.parametrize("hot_count", [30, 60])
async def test_maximum_before_the_range_is_not_ranked(store: Rolling, hot_count: int) -> None:
    """Though the window in which the range begins has it, for more devices than are asked for at once."""
    hot = [at(5, device=str(i), temp_c=95.0 - i / 100) for i in range(hot_count)]
    points = [*hot, *(at(55, device=str(99 - i), temp_c=40.0 + i) for i in range(35)), at(130, temp_c=41.0)]
    await write(store, *points)
    await _roll_up_and_cover(store, "1m", 0, 120)
    found = await store.top(
        *("gpu", "temp_c"), start_ns=BEGIN_NS + 30 * NS, end_ns=BEGIN_NS + 140 * NS, limit=3, by="max"
    )
    assert [(one.device.device, one.value) for one in found] == [("65", 74.0), ("66", 73.0), ("67", 72.0)]


def near(usage: Usage | None) -> dict[str, Any]:
    assert usage is not None
    return {name: pytest.approx(getattr(usage, name)) for name in usage.__struct_fields__}


async def test_usage_is_the_same_from_windows_and_samples_together(store: Rolling) -> None:
    points = [*run_of(range(50, 4000)), *run_of(range(3000, 7500), device="1", seed=2)]
    await write(store, *points)
    spans = [(0, 7200), (77, 7133), (3600, 7200), (100, 130), (60, 3660), (8000, 9000)]
    times = [
        DeviceTime(Device("n1", "gpu", device), BEGIN_NS + start_s * NS, BEGIN_NS + end_s * NS)
        for start_s, end_s in spans
        for device in ("0", "1")
    ]
    plain = await store.usage(times)
    await roll_up(store)
    await store.cover("1m", BEGIN_NS + 120 * NS, BEGIN_NS + 6600 * NS)
    await store.cover("1h", BEGIN_NS, BEGIN_NS + HOUR_NS)
    for time, before, after in zip(times, plain, await store.usage(times), strict=True):
        if before is None:
            assert after is None
        else:
            assert {name: getattr(after, name) for name in before.__struct_fields__} == near(before), time


async def test_windows_are_not_samples(store: Rolling) -> None:
    points = run_of(range(100))
    await write(store, *points)
    await roll_up(store)
    assert len(await stored(store)) == len(points)
    assert [point.measurement for point in await store.latest()] == ["gpu"]


def _times(*spans: tuple[int, int]) -> list[DeviceTime]:
    return [DeviceTime(GPU0, BEGIN_NS + start_s * NS, BEGIN_NS + end_s * NS) for start_s, end_s in spans]


async def test_windows_hold_the_fields_that_are_set_and_no_others(make: Make) -> None:
    points = run_of(range(100, 400))
    async with make("power_w", "collapse") as store:
        await write(store, *points)
        await roll_up(store)
        await check(store, points, of=("power_w", "collapse"))


async def test_answers_stay_the_same_when_the_fields_to_roll_up_change(make: Make) -> None:
    """Minutes and hours rolled up with three sets of fields, the change in the middle of an hour."""
    points = run_of(range(50, 9000, 3))
    spans = [(77, 8933), (3600, 7200)]
    sets = (("temp_c", "rle"), ("power_w", "temp_c", "energy_j"), _FIELDS)
    async with make(*_FIELDS) as store:
        await write(store, *points)
        asked = [(BEGIN_NS + start_s * NS, BEGIN_NS + end_s * NS) for start_s, end_s in spans]
        plain = [await _answers(store, *span) for span in asked]
        usages = await store.usage(_times(*spans))
    for fields, (first_s, last_s) in zip(sets, ((0, 2400), (2400, 6000), (6000, 9000)), strict=True):
        async with make(*fields) as store:
            await _roll_up_and_cover(store, "1m", first_s, last_s)
            for hour in range(first_s // 3600, last_s // 3600):
                await _roll_up_and_cover(store, "1h", hour * 3600, hour * 3600 + 3600)
            for span, before in zip(asked, plain, strict=True):
                assert await _answers(store, *span) == before
            for before_usage, after in zip(usages, await store.usage(_times(*spans)), strict=True):
                assert after is not None
                assert {name: getattr(after, name) for name in after.__struct_fields__} == near(before_usage)


async def _roll_up_and_cover(store: Rolling, resolution: Resolution, first_s: int, last_s: int) -> None:
    span = BEGIN_NS + first_s * NS, BEGIN_NS + last_s * NS
    await store.roll_up(resolution, [Window(*span)])
    await store.cover(resolution, *span)


async def test_late_samples_are_in_windows_that_were_made_with_other_fields(make: Make) -> None:
    points = run_of(range(3600))
    async with make("temp_c", "collapse") as store:
        await write(store, *points[::2])
        await _roll_up_and_cover(store, "1m", 0, 3600)
        await _roll_up_and_cover(store, "1h", 0, 3600)
    async with make("power_w") as store:
        await write(store, *points[1::2])
        await roll_up(store, nodes=("n1",))
        await check(store, points, of=("temp_c", "collapse", "power_w"))


async def test_only_what_has_all_fields_of_the_settings_is_covered(make: Make) -> None:
    async with make("temp_c", "power_w") as store:
        await store.cover("1m", BEGIN_NS, BEGIN_NS + HOUR_NS)
    async with make("temp_c") as store:
        assert await store.covered() == {"1m": ((BEGIN_NS, BEGIN_NS + HOUR_NS),)}
    async with make("temp_c", "rle") as store:
        assert await store.covered() == {}
        await store.cover("1m", BEGIN_NS + HOUR_NS // 2, BEGIN_NS + 2 * HOUR_NS)
        await store.cover("1h", BEGIN_NS, BEGIN_NS + 2 * HOUR_NS)
        assert await store.covered() == {
            "1m": ((BEGIN_NS + HOUR_NS // 2, BEGIN_NS + 2 * HOUR_NS),),
            "1h": ((BEGIN_NS + HOUR_NS, BEGIN_NS + 2 * HOUR_NS),),
        }


async def test_what_was_covered_before_fields_could_be_set_has_every_field(make: Make) -> None:
    async with make("temp_c") as store:
        if isinstance(store, EmbeddedStore):
            with store._database.transaction() as cursor:
                cursor.execute("alter table covered drop column fields")
                cursor.execute("insert into covered values ('1m', ?, ?)", [BEGIN_NS, BEGIN_NS + HOUR_NS])
        else:
            await store._http.write(b"rolled_up windows=60 %d\n" % (BEGIN_NS + 60), "1m")
    async with make("temp_c", "sm_clock_hz") as store:
        await store.cover("1m", BEGIN_NS + HOUR_NS, BEGIN_NS + 2 * HOUR_NS)
        assert await store.covered() == {"1m": ((BEGIN_NS, BEGIN_NS + 2 * HOUR_NS),)}
    async with make("temp_c", "sm_clock_hz") as store:
        assert await store.covered() == {"1m": ((BEGIN_NS, BEGIN_NS + 2 * HOUR_NS),)}

"""What every store that rolls up does with windows, whichever it is."""

import itertools
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests import servers
from tests.contract.making import GPU0, NOW_NS, sample, stored, write
from tests.contract.rolled import Rows, rolled, seen
from thermogate.collector.config import EmbeddedSettings, InfluxSettings
from thermogate.collector.store.base import RollsUp, Store
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.collector.store.influx import InfluxStore
from thermogate.collector.store.resolution import RESOLUTIONS, STEP_NS, Resolution, Window, floor, rolled_name
from thermogate.core.clock import NS, SystemClock
from thermogate.core.query import Device, DeviceTime, Usage
from thermogate.core.wire import Point

HOUR_NS = STEP_NS["1h"]
BEGIN_NS = floor(NOW_NS, HOUR_NS) - 3 * HOUR_NS
"""The begin of an hour, three to four hours ago."""
_NUMBER = itertools.count()


class Rolling(Store, RollsUp, Protocol):
    """A store that rolls up."""


@pytest.fixture(scope="module")
def influx_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.influxdb(tmp_path_factory.mktemp("influx")) as url:
        yield url


@pytest.fixture(params=["embedded", "influx"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rolling]:
    opened: Rolling
    if request.param == "embedded":
        opened = EmbeddedStore(tmp_path, EmbeddedSettings(threads=1), SystemClock())
    else:
        url = request.getfixturevalue("influx_url")
        settings = InfluxSettings(url=url, database=f'rolled "{next(_NUMBER)}"')
        opened = InfluxStore(settings, SystemClock())
    async with opened:
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


async def check(store: Rolling, points: list[Point], kind: str = "gpu") -> None:
    for resolution in RESOLUTIONS:
        found, wanted = await windows_of(store, kind, resolution), rolled(points, resolution)
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
    assert {key: row for key, row in found.items() if key[0] == "n.2"}.keys() == rolled(second, "1m").keys()
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

"""What every store does, whichever it is."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.contract.making import GPU0, NOW_NS, decision, event, message, sample, status, stored, write
from tests.contract.memory_store import MemoryStore
from tests.contract.seen_at_once import SeenAtOnce
from thermogate.collector.config import EmbeddedSettings, InfluxSettings, VictoriaSettings
from thermogate.collector.store.base import Batch, Store
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.collector.store.influx import InfluxStore
from thermogate.core.clock import NS, SystemClock
from thermogate.core.errors import RejectedError
from thermogate.core.query import Device, DeviceTime, Ranked, SeriesPoint, Usage

Open = Callable[[], Store]
_NUMBER = itertools.count()


@pytest.fixture(scope="module")
def influx_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.influxdb(tmp_path_factory.mktemp("influx")) as url:
        yield url


@pytest.fixture(scope="module")
def victoria_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.victoria(tmp_path_factory.mktemp("victoria")) as url:
        yield url


@pytest.fixture(params=["memory", "embedded", "influx", "victoria"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the store of one test; each time it has the same content."""
    if request.param == "embedded":
        return lambda: EmbeddedStore(tmp_path, EmbeddedSettings(threads=1), SystemClock())
    if request.param == "influx":
        url = request.getfixturevalue("influx_url")
        settings = InfluxSettings(url=url, database=f'test "{next(_NUMBER)}"')
        return lambda: InfluxStore(settings, SystemClock())
    if request.param == "victoria":
        url = request.getfixturevalue("victoria_url")
        ours = VictoriaSettings(url=url, database=f'test "{next(_NUMBER)}"')
        return lambda: SeenAtOnce(ours, SystemClock())
    memory = MemoryStore(SystemClock())
    return lambda: memory


@pytest.fixture
async def store(open_store: Open) -> AsyncIterator[Store]:
    async with open_store() as opened:
        yield opened


async def series(
    store: Store,
    *fields: str,
    device: Device = GPU0,
    age_s: float = 60,
    until_s: float = -1,
    step_s: float = 10,
) -> dict[str, list[SeriesPoint]]:
    """Points by field; times are ages before NOW_NS."""
    answer = await store.series(
        device,
        fields,
        start_ns=NOW_NS - round(age_s * NS),
        end_ns=NOW_NS - round(until_s * NS),
        step_ns=round(step_s * NS),
    )
    assert all(one.device == device for one in answer)
    return {one.field: list(one.points) for one in answer}


async def test_empty_store_answers_every_question_with_nothing(store: Store) -> None:
    span = {"start_ns": 0, "end_ns": 2**62}
    assert await store.latest() == []
    assert await series(store, "temp_c") == {}
    assert await store.top("gpu", "temp_c", **span, limit=5) == []
    assert await store.events(**span) == []
    assert await store.gates() == []
    assert await store.decisions(**span) == []
    assert await store.statuses() == []
    assert await stored(store) == []


async def test_description_is_for_a_person(store: Store) -> None:
    assert store.description


# latest


async def test_latest_is_the_newest_sample_of_every_device_and_agent(store: Store) -> None:
    newest = [
        sample(0, device="0"),
        sample(1, device="1"),
        sample(0, kind="cpu", power_w=80.5),
        sample(0, node="n2"),
        sample(0, kind="agent", device="", model="", cpu_s=1.5),
    ]
    await write(store, sample(3, device="0"), sample(2, device="1"), *newest)
    assert sorted(await store.latest(), key=repr) == sorted(newest, key=repr)


async def test_signals_are_kept_beside_the_samples_that_they_are_computed_from(open_store: Open) -> None:
    device = Device("n1", "signal", "gpu0")
    signal = sample(5, kind="signal", device="gpu0", model="", overload=0.4, volatility=1.5)
    older = sample(15, kind="signal", device="gpu0", model="", overload=0.2, incoherence=0.1)
    async with open_store() as store:
        await write(store, sample(5), older, signal)
        found = await series(store, "overload", "incoherence", device=device)
        assert [point.mean for point in found["overload"]] == [0.2, 0.4]
        assert [point.mean for point in found["incoherence"]] == [0.1]
        ranked = await store.top("signal", "overload", start_ns=0, end_ns=2**62, limit=5, by="max")
        assert ranked == [Ranked(device, 0.4)]
        assert signal in await store.latest()
        assert await stored(store) == [sample(5)]
    async with open_store() as store:
        assert signal in await store.latest()
        assert await stored(store) == [sample(5)]


async def test_late_sample_does_not_replace_a_newer_latest(store: Store) -> None:
    await write(store, sample(1, temp_c=70))
    await write(store, sample(30, temp_c=50))
    assert [point.fields for point in await store.latest()] == [{"temp_c": 70}]
    assert [point.fields["temp_c"] for point in await stored(store)] == [50, 70]


async def test_latest_forgets_a_device_that_was_silent_for_a_day(store: Store) -> None:
    await write(store, sample(86_400 + 120), sample(86_400 - 3600, device="1"))
    assert [point.device for point in await store.latest()] == ["1"]
    assert len(await stored(store)) == 2


# what was written is what comes back


async def test_every_tag_and_field_comes_back(store: Store) -> None:
    points = [
        sample(2, device="0", origin="replay", power_w=612.4, temp_c=63, mem_used_bytes=85899345920),
        sample(1, device="0", origin="replay", power_w=-0.5, rle=1e-05, collapse=0),
        sample(0, device="0", model="", origin="simulated", energy_j=1234567890.125, collapse=1),
    ]
    await write(store, *points)
    assert await stored(store) == points
    assert await store.latest() == points[-1:]


async def test_absent_field_is_absent_and_not_zero(store: Store) -> None:
    await write(store, sample(1, temp_c=60, power_w=300), sample(0, temp_c=61))
    assert (await store.latest())[0].fields == {"temp_c": 61}
    assert [point.fields for point in await stored(store)] == [
        {"temp_c": 60, "power_w": 300},
        {"temp_c": 61},
    ]
    assert [
        point.count for point in (await series(store, "power_w", step_s=3600, age_s=3600))["power_w"]
    ] == [1]


async def test_field_that_this_version_does_not_know_is_kept(store: Store) -> None:
    await write(store, sample(1, temp_c=60))
    await write(store, sample(0, temp_c=61, hotspot_temp_c=75.5))
    assert [point.fields for point in await stored(store)] == [
        {"temp_c": 60},
        {"temp_c": 61, "hotspot_temp_c": 75.5},
    ]
    assert (await series(store, "hotspot_temp_c"))["hotspot_temp_c"][0].mean == 75.5


async def test_everything_is_there_after_closing_and_opening(open_store: Open) -> None:
    points = [sample(2), sample(1), sample(0, device="1", origin="replay", collapse=1)]
    batch = Batch(events=(event(),), decisions=(decision(1),), statuses=(status(),))
    async with open_store() as store:
        await write(store, *points)
        await store.write(batch)
    async with open_store() as store:
        assert await stored(store) == points
        assert sorted(await store.latest(), key=repr) == sorted(points[1:], key=repr)
        assert await store.events(start_ns=0, end_ns=2**62) == list(batch.events)
        assert await store.gates() == list(batch.decisions)
        assert await store.statuses() == list(batch.statuses)


# once, and whole


async def test_batch_written_twice_is_stored_once(open_store: Open) -> None:
    batch = Batch(
        telemetry=(message(sample(1), sample(0)), message(sample(0, node="n2"))),
        events=(event(), event(event="gpu_lost")),
        decisions=(decision(1), decision(2, target="n2")),
        statuses=(status(),),
    )
    async with open_store() as store:
        await store.write(batch)
        await store.write(batch)
    async with open_store() as store:  # the memory of what was stored is gone
        await store.write(batch)
        assert len(await stored(store)) == 3
        assert len(await store.events(start_ns=0, end_ns=2**62)) == 2
        assert len(await store.decisions(start_ns=0, end_ns=2**62)) == 2
        assert len(await store.statuses()) == 1


async def test_sample_that_is_twice_in_a_batch_is_stored_once(store: Store) -> None:
    await write(store, sample(0), sample(0), sample(5), sample(5))
    assert [point.time_ns for point in await stored(store)] == [NOW_NS - 5 * NS, NOW_NS]


async def test_backlog_that_overlaps_what_is_stored_fills_the_gaps_only(store: Store) -> None:
    await write(store, *(sample(age) for age in range(40, 0, -2)))
    await write(store, sample(0), *(sample(age) for age in range(40, 0, -1)))
    assert [point.time_ns for point in await stored(store)] == [
        NOW_NS - age * NS for age in range(40, -1, -1)
    ]


async def test_empty_batch_is_written(store: Store) -> None:
    await store.write(Batch())
    assert await stored(store) == []


async def test_stamp_that_no_clock_shows_is_rejected_for_good(store: Store) -> None:
    bad = message(sample()).replace(str(NOW_NS).encode(), b"9" * 19)
    with pytest.raises(RejectedError):
        await store.write(Batch(telemetry=(bad,)))
    assert await stored(store) == []


# series


async def test_series_reduces_each_step_to_mean_min_max_and_count(store: Store) -> None:
    await write(store, *(sample(age, temp_c=100 - age) for age in range(20, 0, -1)))
    assert (await series(store, "temp_c"))["temp_c"] == [
        SeriesPoint(NOW_NS - 20 * NS, 84.5, 80, 89, 10),
        SeriesPoint(NOW_NS - 10 * NS, 94.5, 90, 99, 10),
    ]


async def test_series_steps_stand_on_multiples_of_the_step_wherever_the_range_begins(store: Store) -> None:
    await write(store, sample(17), sample(13), sample(3))
    assert [p.time_ns for p in (await series(store, "temp_c", age_s=17))["temp_c"]] == [
        NOW_NS - 20 * NS,
        NOW_NS - 10 * NS,
    ]


async def test_series_leaves_out_steps_without_samples(store: Store) -> None:
    await write(store, sample(45), sample(5))
    assert [p.time_ns for p in (await series(store, "temp_c"))["temp_c"]] == [
        NOW_NS - 50 * NS,
        NOW_NS - 10 * NS,
    ]


async def test_series_range_includes_its_start_and_not_its_end(store: Store) -> None:
    await write(store, sample(30), sample(20), sample(10))
    found = await series(store, "temp_c", age_s=30, until_s=10)
    assert [p.time_ns for p in found["temp_c"]] == [NOW_NS - 30 * NS, NOW_NS - 20 * NS]


async def test_series_gives_each_field_that_has_samples_in_the_order_asked(store: Store) -> None:
    await write(store, sample(15, temp_c=60), sample(5, temp_c=62, power_w=300))
    found = await series(store, "power_w", "nothing_w", "temp_c", "fan_ratio")
    assert list(found) == ["power_w", "temp_c"]
    assert [(p.time_ns, p.count) for p in found["power_w"]] == [(NOW_NS - 10 * NS, 1)]
    assert [p.mean for p in found["temp_c"]] == [60, 62]


async def test_series_is_of_one_device_only(store: Store) -> None:
    others = [sample(5, device="1"), sample(5, node="n2"), sample(5, kind="cpu"), sample(5, device="00")]
    await write(store, sample(5, temp_c=1), *others)
    assert [p.max for p in (await series(store, "temp_c"))["temp_c"]] == [1]
    assert await series(store, "temp_c", device=Device("n' OR 'a'='a", "gpu", "0")) == {}


async def test_series_of_an_agent_has_no_device_number(store: Store) -> None:
    await write(store, sample(5, kind="agent", device="", model="", rss_bytes=26_000_000))
    found = await series(store, "rss_bytes", device=Device("n1", "agent", ""))
    assert found["rss_bytes"] == [SeriesPoint(NOW_NS - 10 * NS, 26e6, 26e6, 26e6, 1)]


async def test_series_and_samples_of_the_node_as_a_whole_have_no_device_number(store: Store) -> None:
    node = sample(5, kind="node", device="", model="", power_w=5400, mem_available_bytes=1 << 40)
    await write(store, node, sample(5, power_w=700), sample(5, node="n2", kind="node", device="", power_w=1))
    found = await series(store, "power_w", "mem_available_bytes", device=Device("n1", "node", ""))
    assert [p.mean for p in found["power_w"]] == [5400]
    assert [p.max for p in found["mem_available_bytes"]] == [float(1 << 40)]
    assert await stored(store, node="n1", device="node") == [node]


# top


async def test_top_ranks_devices_by_the_reduction_asked(store: Store) -> None:
    for device, temps in {"0": (50, 90), "1": (60, 70), "2": (80, 81)}.items():
        await write(store, *(sample(age, device=device, temp_c=t) for age, t in enumerate(temps)))
    await write(store, sample(0, kind="cpu", temp_c=99), sample(0, device="3", power_w=700))
    span = {"start_ns": NOW_NS - 60 * NS, "end_ns": NOW_NS + NS}

    async def ranking(**how: object) -> list[tuple[str, float]]:
        ranked = await store.top("gpu", "temp_c", **{**span, "limit": 10, **how})  # type: ignore[arg-type]
        assert all(isinstance(one, Ranked) and one.device.kind == "gpu" for one in ranked)
        return [(one.device.device, one.value) for one in ranked]

    assert await ranking() == [("2", 80.5), ("0", 70), ("1", 65)]
    assert await ranking(by="max") == [("0", 90), ("2", 81), ("1", 70)]
    assert await ranking(by="min", largest=False) == [("0", 50), ("1", 60), ("2", 80)]
    assert await ranking(limit=1) == [("2", 80.5)]
    assert await ranking(end_ns=NOW_NS) == [("0", 90), ("2", 81), ("1", 70)]


# usage


def over(age_s: float, until_s: float = -1, device: Device = GPU0) -> DeviceTime:
    return DeviceTime(device, NOW_NS - round(age_s * NS), NOW_NS - round(until_s * NS))


async def test_usage_sums_up_the_samples_of_a_time(store: Store) -> None:
    temps = {4: 60, 3: 70, 2: 80, 1: 70, 0: 50}
    energies = {4: 1000.5, 3: 1500.5, 1: 2600.5, 0: 3000.0}
    for age, temp_c in temps.items():
        fields = {"temp_c": temp_c, "power_w": 100 + age, "collapse": age in (3, 2, 0), "throttled": age == 2}
        more = {"energy_j": energies[age]} if age in energies else {}
        await write(store, sample(age, **fields, **more, **({"rle": age / 10} if age else {})))
    await write(store, sample(5, temp_c=99), sample(2, device="1", temp_c=99))
    [usage] = await store.usage([over(4)])
    assert usage is not None
    assert usage.rle == pytest.approx(0.25)
    assert usage == Usage(
        first_ns=NOW_NS - 4 * NS,
        last_ns=NOW_NS,
        sample_count=5,
        power_w=102,
        temp_c=66,
        temp_max_c=80,
        rle=usage.rle,
        rle_count=4,
        collapse_ratio=0.6,
        collapse_count=2,
        throttled_ratio=0.2,
        energy_j=1999.5,
        energy_s=4,
    )


async def test_usage_counts_a_collapse_that_lasted_already_and_one_that_spans_a_gap_once(
    store: Store,
) -> None:
    await write(store, *(sample(age, temp_c=60, **{"collapse": 1} if age != 2 else {}) for age in range(5)))
    [usage] = await store.usage([over(3)])
    assert usage is not None
    assert (usage.collapse_count, usage.collapse_ratio) == (1, 1)


async def test_usage_leaves_out_where_the_energy_counter_began_anew(store: Store) -> None:
    energies = [900_000.0, 900_400.0, 900_700.0, 12.0, 412.0, 812.0]
    await write(store, *(sample(5 - n, energy_j=energy) for n, energy in enumerate(energies)))
    [usage] = await store.usage([over(5)])
    assert usage is not None
    assert (usage.energy_j, usage.energy_s) == (1500, 5)


async def test_usage_of_what_was_not_measured_is_absent(store: Store) -> None:
    await write(store, sample(1, energy_j=5, util_ratio=1), sample(0, util_ratio=1))
    assert await store.usage([over(1)]) == [
        Usage(first_ns=NOW_NS - NS, last_ns=NOW_NS, sample_count=2),
    ]


async def test_usage_answers_in_the_order_asked_and_with_none_where_there_is_nothing(store: Store) -> None:
    await write(
        store, *(sample(age, node, device) for node in "ab" for device in "01" for age in range(10)),
        sample(0, "a", kind="cpu"),
    )  # fmt: skip
    asked = [
        over(4, 2, Device("b", "gpu", "1")),
        over(4, 2, Device("c", "gpu", "0")),
        over(2, -1, Device("a", "cpu", "0")),
        over(8, 0, Device("a", "gpu", "0")),
        over(4, 2, Device("b", "gpu", "1")),
        over(100, 50, Device("a", "gpu", "1")),
        over(1, -1, Device("a' OR 'a'='a", "gpu", "1")),
    ]
    found = await store.usage(asked)
    assert [usage and usage.sample_count for usage in found] == [2, None, 1, 8, 2, None, None]
    assert await store.usage([]) == []
    assert len(await store.usage(asked * 20)) == 140


# events, decisions, statuses


async def test_events_can_be_of_some_kinds_only(store: Store) -> None:
    events = [event(20), event(10, event="job_began"), event(5, event="job_ended"), event(0, event="xid")]
    await store.write(Batch(events=tuple(events)))
    span = {"start_ns": 0, "end_ns": NOW_NS + NS}
    assert await store.events(**span, kinds=("job_began", "job_ended")) == [events[2], events[1]]
    assert await store.events(**span, kinds=("xid",), node="n1", limit=1) == [events[3]]
    assert await store.events(**span, kinds=("gpu_lost",)) == []


async def test_events_come_newest_first_within_range_node_and_limit(store: Store) -> None:
    events = [event(30), event(20, node="n2"), event(10), event(0, device="", device_kind="")]
    await store.write(Batch(events=tuple(events)))
    span = {"start_ns": NOW_NS - 30 * NS, "end_ns": NOW_NS + 1}
    assert await store.events(**span) == events[::-1]
    assert await store.events(**span, node="n2") == [events[1]]
    assert await store.events(**span, without=("n2", "n3")) == [events[3], events[2], events[0]]
    assert await store.events(**span, node="n2", without=("n2",)) == []
    assert await store.events(**span, limit=2) == [events[3], events[2]]
    assert await store.events(start_ns=NOW_NS - 20 * NS, end_ns=NOW_NS) == [events[2], events[1]]


async def test_events_of_one_instant_on_several_devices_are_all_kept(store: Store) -> None:
    events = (event(device="0"), event(device="1"), event(device="0", event="gpu_lost"))
    await store.write(Batch(events=events))
    assert {(e.device, e.event) for e in await store.events(start_ns=0, end_ns=2**62)} == {
        (e.device, e.event) for e in events
    }


async def test_texts_come_back_as_they_were(store: Store) -> None:
    text = 'GPU 0 "fell off"\n the \\ bus, node=n1 \N{DEGREE SIGN} \x00 \u2028 \'; DROP'
    odd = event(text=text, data={"reason": text, "temp_c": 91.5}, device="0,a=b c\nd")
    await store.write(Batch(events=(odd,), decisions=(decision(1, why=text),), statuses=(status(text=text),)))
    assert await store.events(start_ns=0, end_ns=2**62) == [odd]
    assert (await store.gates())[0].why == text
    assert (await store.statuses())[0].text == text


async def test_gates_are_the_newest_decision_of_each_target_in_order(store: Store) -> None:
    old, new, job, late = (
        decision(1, 50),
        decision(3, 10),
        decision(4, 9000, target="j1", kind="job"),
        decision(2, 20),
    )
    await store.write(Batch(decisions=(old, new, job)))
    await store.write(Batch(decisions=(late,)))
    assert await store.gates() == [job, new]


async def test_decisions_come_newest_first_within_range_target_and_limit(store: Store) -> None:
    made = [decision(1, 30), decision(2, 20, target="n2"), decision(3, 10)]
    await store.write(Batch(decisions=tuple(made)))
    span = {"start_ns": NOW_NS - 30 * NS, "end_ns": NOW_NS}
    assert await store.decisions(**span) == made[::-1]
    assert await store.decisions(**span, target="n2") == [made[1]]
    assert await store.decisions(**span, limit=1) == [made[2]]
    assert await store.decisions(start_ns=NOW_NS - 20 * NS, end_ns=NOW_NS - 10 * NS) == [made[1]]


async def test_status_written_last_is_the_newest_even_when_a_last_will_has_an_old_stamp(store: Store) -> None:
    will = status("n1", 600, online=False)
    await store.write(Batch(statuses=(status("n2"), status("n1", 500))))
    await store.write(Batch(statuses=(status("n1", 5), will)))
    assert await store.statuses() == [will, status("n2")]


# samples


async def test_samples_are_ordered_by_measurement_node_device_and_time(store: Store) -> None:
    points = [
        sample(age, node, device, kind=kind)
        for kind, node, device, age in itertools.product(
            ("cpu", "gpu"), ("a", "b"), ("0", "1", "10"), (2, 1, 0)
        )
    ]
    agent = sample(0, "b", "", kind="agent", model="")
    await write(store, *points[::-1], agent)
    assert await stored(store) == [agent, *points]


async def test_samples_can_be_of_one_node_one_device_or_one_range(store: Store) -> None:
    points = [sample(age, node, device) for node in "ab" for device in ("1", "10") for age in (2, 1, 0)]
    await write(store, *points, sample(0, "a", kind="cpu", device="1"))
    assert await stored(store, node="a", device="gpu1") == points[:3]
    assert await stored(store, device="gpu10") == points[3:6] + points[9:]
    assert await stored(store, node="b", start_ns=NOW_NS - NS, end_ns=NOW_NS) == [points[7], points[10]]
    assert await stored(store, device="tpu0") == []
    assert await stored(store, node="c") == []
    assert await stored(store, node="a' OR 'a'='a") == []


async def test_samples_come_in_chunks_and_complete(store: Store) -> None:
    ages = range(12_000, 0, -1)
    await store.write(
        Batch(
            telemetry=tuple(message(*(sample(a) for a in ages[i : i + 400])) for i in range(0, 12_000, 400))
        )
    )
    assert [point.time_ns for point in await stored(store)] == [NOW_NS - age * NS for age in ages]


async def test_reading_of_samples_can_be_given_up_half_way(store: Store) -> None:
    await write(store, sample(0), sample(0, device="1"))
    async for _ in store.samples(start_ns=0, end_ns=2**62):
        break
    await write(store, sample(0, device="2"))
    assert len(await stored(store)) == 3


_ODD_NAMES = (
    "",
    "temp_",
    "temp_.*",
    "temp_c)",
    "x|temp_c)",
    "time",
    "node",
    "device",
    'a"b',
    "a\\b",
    "a\nb",
    "a'b",
    "*",
)


async def test_field_that_cannot_be_is_nowhere(store: Store) -> None:
    await write(store, sample(5, temp_c=60, temp_limit_c=90), sample(4, temp_c=61, temp_limit_c=90))
    assert await series(store, *_ODD_NAMES) == {}
    for name in _ODD_NAMES:
        span = {"start_ns": NOW_NS - 60 * NS, "end_ns": NOW_NS}
        assert await store.top("gpu", name, **span, limit=3) == [], name


async def test_name_that_means_something_elsewhere_is_one_name(store: Store) -> None:
    """To a regular expression, a question or a line."""
    nodes = ("...", "n.1", "n-1", "_", "-", ".a")
    await write(store, *(sample(5, node, temp_c=50.0 + i) for i, node in enumerate(nodes)), sample(5, "nx1"))
    for i, node in enumerate(nodes):
        found = await series(store, "temp_c", device=Device(node, "gpu", "0"))
        assert [point.mean for point in found["temp_c"]] == [50.0 + i]
        assert [point.node for point in await stored(store, node=node)] == [node]
    for nobody in (".*", "n.*", "n'1", 'n"1', "n\\1", "n1\n", ""):
        assert await series(store, "temp_c", device=Device(nobody, "gpu", "0")) == {}
        assert await stored(store, node=nobody) == []


async def test_range_of_nothing_has_no_answer(store: Store) -> None:
    await write(store, sample(5))
    for start_ns, end_ns in ((NOW_NS, NOW_NS), (NOW_NS, NOW_NS - 7200 * NS)):
        span = {"start_ns": start_ns, "end_ns": end_ns}
        assert await store.top("gpu", "temp_c", **span, limit=3) == []
        assert await store.series(GPU0, ("temp_c", "energy_j"), **span, step_ns=60 * NS) == []
        assert await stored(store, **span) == []
        assert await store.usage([DeviceTime(GPU0, start_ns, end_ns)]) == [None]
        assert await store.events(**span) == []
        assert await store.decisions(**span) == []

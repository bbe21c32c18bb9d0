import csv
import io
from pathlib import Path

import pytest

from tests.fake_query import FakeQuery, recorded
from tests.fakes import FakeClock
from thermogate.core import __version__
from thermogate.core.clock import NS
from thermogate.core.errors import ConfigError
from thermogate.core.model import Status
from thermogate.core.query import Device
from thermogate.core.schema import INTEGER_FIELDS, MEASUREMENTS
from thermogate.core.wire import Point
from thermogate.dashboard.answers import Answers, parse_device
from thermogate.dashboard.settings import DashboardSettings
from thermogate.dashboard.times import parse_time

NOW = 1_763_712_000 * NS
SESSION = Path(__file__).parents[2] / "recordings" / "rle_sessions" / "headroom_training_1.csv"
GPU = Device("n1", "gpu", "0")


def over(query, **about):
    return Answers(query, FakeClock(NOW), DashboardSettings(), **about)


class StepQuery(FakeQuery):
    """Remembers which step it was asked for."""

    step_ns = 0

    async def series(self, device, fields, *, start_ns, end_ns, step_ns):
        self.step_ns = step_ns
        return []


@pytest.mark.parametrize(
    ("range_s", "step_s"),
    [(1, 1), (300, 1), (600, 1), (601, 2), (900, 2), (3600, 10), (21_600, 60), (604_800, 1800)],
)
async def test_the_step_gives_about_600_points_or_fewer(range_s, step_s):
    query = StepQuery()
    await over(query).series(GPU, ("temp_c",), NOW - range_s * NS, NOW)
    assert query.step_ns == step_s * NS
    assert range_s / step_s <= 600


async def test_a_step_that_is_asked_for_is_kept_unless_it_would_fill_the_memory():
    query = StepQuery()
    await over(query).series(GPU, ("temp_c",), NOW - 60 * NS, NOW, 7 * NS)
    assert query.step_ns == 7 * NS
    with pytest.raises(ConfigError, match="step: expected 5 s or more"):
        await over(query).series(GPU, ("temp_c",), NOW - 86_400 * NS, NOW, NS)


async def test_series_of_a_recording_have_its_values():
    query = FakeQuery(recorded(SESSION, node="n1", end_ns=NOW))
    temp, collapse = await over(query).series(GPU, ("temp_c", "collapse"), NOW - 60 * NS, NOW)
    assert 50 <= len(temp.points) <= 60
    assert {point.max for point in collapse.points} <= {0.0, 1.0}
    assert all(50 < point.mean < 65 for point in temp.points)


async def test_a_field_that_a_kind_does_not_have_is_refused_by_name():
    with pytest.raises(ConfigError, match="gpu has no 'tmp_c': expected one of power_w"):
        await over(FakeQuery()).series(GPU, ("tmp_c",), 0, NOW)
    with pytest.raises(ConfigError, match="cpu has no 'sm_clock_hz'"):
        await over(FakeQuery()).top("cpu", "sm_clock_hz", 0, NOW)


async def test_a_range_that_ends_before_it_begins_is_refused():
    with pytest.raises(ConfigError, match="from: expected a time before"):
        await over(FakeQuery()).events(NOW, NOW)


async def test_top_ranks_both_ways():
    query = FakeQuery(
        Point("gpu", node, "0", "", "", {"temp_c": temp}, NOW - NS)
        for node, temp in (("a", 50.0), ("b", 70.0))
    )
    warmest = await over(query).top("gpu", "temp_c", 0, NOW, 1)
    coolest = await over(query).top("gpu", "temp_c", 0, NOW, 1, largest=False)
    assert (warmest[0].device.node, coolest[0].device.node) == ("b", "a")


async def test_nodes_are_sorted_as_people_count():
    query = FakeQuery()
    query.status = {node: Status(node=node, online=True, time_ns=NOW) for node in ("n10", "n2")}
    assert [status.node for status in await over(query).nodes()] == ["n2", "n10"]


def test_info_says_what_runs_with_the_counters_of_now():
    counters = {"stored": 1}
    answers = over(FakeQuery(), broker_url="mqtt://h:1883", store="embedded", counters=lambda: dict(counters))
    counters["stored"] = 2
    info = answers.info()
    assert (info.version, info.now_ns, info.started_ns) == (__version__, NOW, NOW)
    assert (info.broker_url, info.store, info.counters) == ("mqtt://h:1883", "embedded", {"stored": 2})


@pytest.mark.parametrize("text", ["0", "gpu", "agent", "gpu 0", "GPU0", "", "tpu0", "node0", "nodes"])
def test_a_device_is_a_kind_and_a_number(text):
    with pytest.raises(ConfigError, match="not a kind and a number, such as gpu0"):
        parse_device("n1", text)
    assert parse_device("n1", "cpu0") == Device("n1", "cpu", "0")
    assert parse_device("n1", "gpuamd0") == Device("n1", "gpu", "amd0")


def test_the_node_as_a_whole_is_asked_for_without_a_number():
    assert parse_device("n1", "node") == Device("n1", "node", "")


async def test_the_power_of_a_node_is_a_series_like_any_other():
    query = FakeQuery([Point("node", "n1", "", "", "", {"power_w": 5400.0}, NOW)])
    device = parse_device("n1", "node")
    (series,) = await over(query).series(device, ("power_w",), NOW - NS, NOW + NS, NS)
    assert [point.mean for point in series.points] == [5400.0]
    with pytest.raises(ConfigError, match="node has no 'temp_c'"):
        await over(query).series(device, ("temp_c",), NOW - NS, NOW + NS, NS)


async def exported(query, **options):
    text = "".join([piece async for piece in over(query).export(**options)])
    assert text.endswith("\n")
    return list(csv.DictReader(io.StringIO(text)))


async def test_an_export_has_a_row_a_sample_and_a_column_a_field():
    points = recorded(SESSION, node="n1", end_ns=NOW)
    rows = await exported(FakeQuery(points))
    assert len(rows) == len(points) == 180
    assert list(rows[0])[:6] == ["time", "node", "kind", "device", "model", "origin"]
    fields = {f.name for kind in ("gpu", "cpu", "node") for f in MEASUREMENTS[kind].fields}
    assert set(rows[0]) == fields | set(list(rows[0])[:6])
    for row, point in zip(rows, points, strict=True):
        assert parse_time(row["time"], 0) == point.time_ns
        assert row["origin"] == "replay"
        cells = {name: float(row[name]) for name in fields if row[name]}
        assert cells == point.fields


async def test_integers_have_no_point_and_what_is_absent_is_empty():
    point = Point("gpu", "n1", "0", "", "", {"collapse": 0.0, "temp_c": 63.0, "mem_used_bytes": 8e9}, NOW)
    (row,) = await exported(FakeQuery([point]))
    assert (row["collapse"], row["mem_used_bytes"], row["temp_c"], row["power_w"]) == (
        "0",
        "8000000000",
        "63.0",
        "",
    )
    assert {"collapse", "mem_used_bytes"} <= INTEGER_FIELDS


async def test_an_export_of_nothing_is_a_header():
    assert await exported(FakeQuery()) == []


async def test_an_export_is_filtered_by_node_device_and_time():
    query = FakeQuery(
        Point(kind, node, device, "", "", {"temp_c": 50.0}, NOW + second * NS)
        for node in ("n1", "n2")
        for kind, device in (("gpu", "0"), ("gpu", "1"), ("cpu", "0"))
        for second in range(3)
    )
    assert len(await exported(query)) == 18
    assert len(await exported(query, node="n1")) == 9
    rows = await exported(query, node="n1", device="gpu1", start_ns=NOW + NS, end_ns=NOW + 2 * NS)
    assert [(r["node"], r["kind"], r["device"], r["time"]) for r in rows] == [
        ("n1", "gpu", "1", "2025-11-21T08:00:01.000000000Z")
    ]


async def test_nodes_are_exported_beside_their_devices():
    query = FakeQuery([Point("node", "n1", "", "", "", {"power_w": 5400.0}, NOW)])
    rows = await exported(query)
    assert [(row["kind"], row["device"], row["power_w"]) for row in rows] == [("node", "", "5400.0")]
    assert await exported(query, device="node") == rows


async def test_agents_are_exported_only_when_asked_for():
    query = FakeQuery([Point("agent", "n1", "", "", "", {"ticks_count": 5.0}, NOW)])
    assert await exported(query) == []
    (row,) = await exported(query, agent=True)
    assert (row["kind"], row["device"], row["ticks_count"]) == ("agent", "", "5")


async def test_an_export_of_something_that_is_no_device_is_refused_at_once():
    with pytest.raises(ConfigError, match="device: '0'"):
        over(FakeQuery()).export(device="0")

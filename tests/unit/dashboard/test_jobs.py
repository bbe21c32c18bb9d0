"""What jobs did, joined from events and samples that a fake and a real store hold."""

import asyncio
import json
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.fake_query import FakeQuery
from tests.fakes import FakeClock
from tests.unit.dashboard.serving import serving
from thermogate.cli.jobs import text_of
from thermogate.cli.main import main
from thermogate.collector.config import EmbeddedSettings
from thermogate.collector.store.base import Batch
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.core.clock import NS, SystemClock
from thermogate.core.errors import ConfigError
from thermogate.core.model import Event, Status
from thermogate.core.wire import Point, format_header, format_line
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.jobs import JobAnswer
from thermogate.dashboard.settings import DashboardSettings

NOW = 1_763_712_000 * NS
HOUR = 3600


def at(age_s):
    return NOW - round(age_s * NS)


def began(age_s, job="slurm:1", node="n1", device="0", user="alice", slot=0):
    manager, _, job_id = job.partition(":")
    data = {"job": job, "manager": manager, "job_id": job_id, "user": user}
    return Event(
        node=node,
        event="job_began",
        time_ns=at(age_s) + slot,
        text="",
        device_kind="gpu",
        device=device,
        data=data,
    )


def ended(age_s, begin, lasted_s=None, slot=0):
    length_s = (at(age_s) + slot - begin.time_ns) / NS
    more = {"began_ns": str(begin.time_ns), "lasted_s": length_s if lasted_s is None else lasted_s}
    return msgspec.structs.replace(
        begin, event="job_ended", time_ns=at(age_s) + slot, data={**begin.data, **more}
    )


def afresh(age_s, node="n1"):
    return Event(node=node, event="job_ended", time_ns=at(age_s), text="", data={"job": "all"})


def samples(first_age_s, last_age_s, node="n1", device="0", step_s=1, **fields):
    """Samples of one device; a field may be a function of the seconds since its first sample."""
    ages = range(first_age_s, last_age_s - 1, -step_s)
    return [
        Point(
            "gpu",
            node,
            device,
            "H100",
            "",
            {
                name: float(value(first_age_s - age) if callable(value) else value)
                for name, value in fields.items()
            },
            at(age),
        )
        for age in ages
    ]


def status(node="n1", *, online=True, period_s=1.0):
    return Status(node=node, online=online, time_ns=NOW, period_s=period_s)


def holding(events=(), points=(), statuses=None):
    query = FakeQuery(points)
    query.event_list = list(events)
    query.status = {one.node: one for one in statuses or [status()]}
    return query


async def answer(query, start_s=24 * HOUR, end_s=0, settings=None, **options):
    return await Answers(query, FakeClock(NOW), settings or DashboardSettings()).jobs(
        at(start_s), at(end_s), **options
    )


async def jobs(query, *args, **options):
    found = await answer(query, *args, **options)
    assert found.left_out == ()
    return list(found.rows)


LOAD = {"temp_c": 60, "power_w": 300, "rle": 0.5, "collapse": 0, "throttled": 0}


async def test_ended_job_has_its_time_energy_and_health():
    begin = began(100)
    points = samples(
        120,
        30,
        power_w=500,
        energy_j=lambda s: 1000 + 500 * s,
        temp_c=lambda s: 50 + s / 10,
        rle=0.4,
        collapse=lambda s: 30 <= s < 40,
        throttled=lambda s: s >= 60,
    )
    (row,) = await jobs(holding([begin, ended(50, begin)], points))
    assert (row.job, row.manager, row.job_id, row.user) == ("slurm:1", "slurm", "1", "alice")
    assert (row.state, row.began_ns, row.ended_ns) == ("ended", at(100), at(50))
    assert (row.nodes, row.devices, row.device_s) == (("n1",), ("n1/gpu0",), 50)
    assert (row.energy_j, row.energy_from) == (25_000, "counter")
    assert (row.power_w, row.rle) == (500, pytest.approx(0.4))
    assert row.temp_max_c == 57
    assert row.temp_c == pytest.approx(54.5)
    assert row.collapse_count == 1
    assert row.collapse_s == pytest.approx(10, rel=0.05)
    assert row.throttled_s == pytest.approx(11, rel=0.05)
    assert (row.shared_ratio, row.measured_ratio) == (0, 1)


async def test_running_job_counts_up_to_now_and_one_of_an_offline_node_up_to_its_last_sample():
    points = samples(100, 0, **LOAD) + samples(100, 40, "n2", **LOAD)
    query = holding([began(100), began(90, "slurm:2", "n2")], points, [status(), status("n2", online=False)])
    unknown, running = await jobs(query)
    assert (running.state, running.ended_ns, running.until_ns, running.device_s) == (
        "running",
        None,
        NOW,
        100,
    )
    assert (unknown.state, unknown.ended_ns, unknown.until_ns, unknown.device_s) == (
        "unknown",
        None,
        at(40),
        50,
    )
    assert running.energy_j == 30_000
    assert (unknown.energy_j, unknown.energy_from) == (15_000, "power")


async def test_job_on_many_devices_is_one_row_or_one_for_each():
    places = [(node, device) for node in ("n1", "n2", "n10") for device in ("0", "1")]
    begins = [began(100, node=node, device=device) for node, device in places]
    points = [p for node, device in places for p in samples(100, 0, node, device, **LOAD)]
    query = holding(
        [*begins, *(ended(0, begin) for begin in begins)], points, [status(n) for n in ("n1", "n2", "n10")]
    )
    (row,) = await jobs(query, end_s=-1)
    assert row.nodes == ("n1", "n2", "n10")
    assert row.devices[:3] == ("n1/gpu0", "n1/gpu1", "n2/gpu0")
    assert (row.device_s, row.energy_j) == (600, 180_000)
    each = await jobs(query, end_s=-1, by="device")
    assert sorted(one.devices for one in each) == sorted((device,) for device in row.devices)
    assert sum(one.energy_j for one in each) == row.energy_j
    (part,) = await jobs(query, end_s=-1, node="n10")
    assert part.devices == ("n10/gpu0", "n10/gpu1")


async def test_jobs_that_share_a_device_count_it_in_full_and_say_so():
    first, second = began(100), began(60, "slurm:2", slot=1)
    events = [first, second, ended(40, first), ended(20, second, slot=1)]
    two, one = await jobs(holding(events, samples(100, 0, **LOAD)), user="alice")
    assert one.shared_ratio == pytest.approx(20 / 60)
    assert two.shared_ratio == pytest.approx(20 / 40)
    assert (one.energy_j, two.energy_j) == (18_000, 12_000)
    (alone,) = await jobs(holding(events, samples(100, 0, **LOAD)), job="slurm:2")
    assert alone.shared_ratio == two.shared_ratio


async def test_counter_that_began_anew_keeps_the_energy_before_and_after():
    begin = began(100)
    points = samples(100, 0, energy_j=lambda s: 1e9 + 300 * s if s < 50 else 300 * (s - 50), power_w=300)
    (row,) = await jobs(holding([begin, ended(0, begin)], points), end_s=-1)
    assert (row.energy_j, row.energy_from) == (300 * 99, "counter")


async def test_energy_is_power_times_time_where_the_counter_is_not_there_for_the_whole_span():
    begin = began(100)
    points = samples(100, 51, power_w=200) + samples(50, 0, power_w=200, energy_j=lambda s: 200 * s)
    (row,) = await jobs(holding([begin, ended(0, begin)], points), end_s=-1)
    assert (row.energy_j, row.energy_from) == (20_000, "power")


async def test_samples_that_are_missing_show_in_the_measured_share():
    begin = began(100)
    points = samples(100, 51, **LOAD) + samples(9, 0, **LOAD)
    (row,) = await jobs(holding([begin, ended(0, begin)], points), end_s=-1)
    assert row.measured_ratio == pytest.approx(0.6)
    (slow,) = await jobs(
        holding([begin, ended(0, begin)], samples(100, 0, step_s=10, **LOAD), [status(period_s=10)]), end_s=-1
    )
    assert slow.measured_ratio == 1


async def test_job_without_samples_has_a_row_without_values():
    begin = began(100)
    (row,) = await jobs(holding([begin, ended(50, begin)]))
    assert (row.device_s, row.measured_ratio) == (50, 0)
    assert row.energy_j is row.rle is row.collapse_count is row.throttled_s is row.temp_c is None


async def test_length_is_the_agents_own_when_the_clock_was_set_meanwhile():
    begin = began(7300)
    (row,) = await jobs(holding([begin, ended(100, begin, lasted_s=60.0)], samples(7300, 7240, **LOAD)))
    assert row.device_s == 60
    assert row.energy_j == 18_000


@pytest.mark.parametrize(
    ("start_s", "end_s", "found"),
    [(50, 0, True), (200, 100, True), (201, 101, False), (49, 0, False), (80, 70, True), (500, 80, True)],
)
async def test_job_is_found_when_it_was_on_a_device_at_some_time_of_the_range(start_s, end_s, found):
    begin = began(100)
    query = holding([begin, ended(50, begin)])
    assert bool(await jobs(query, start_s, end_s - 0.5)) is found


async def test_job_that_began_long_before_the_range_is_found_within_the_look_back():
    query = holding([began(20 * 24 * HOUR)], samples(100, 0, **LOAD))
    (row,) = await jobs(query)
    assert (row.state, row.device_s) == ("running", 20 * 24 * HOUR)
    assert await jobs(query, settings=DashboardSettings(job_look_back_days=10)) == []
    (clipped,) = await jobs(query, start_s=50, clip=True)
    assert (clipped.device_s, clipped.energy_j) == (50, 15_000)


async def test_end_whose_beginning_was_lost_still_gives_the_span():
    (row,) = await jobs(holding([ended(50, began(100))], samples(100, 0, **LOAD)))
    assert (row.state, row.began_ns, row.device_s) == ("ended", at(100), 50)


async def test_span_without_an_end_is_over_when_the_agent_began_afresh_or_the_job_began_again():
    points = samples(100, 60, **LOAD) + samples(30, 0, **LOAD)
    lost, *more = await jobs(holding([began(100), afresh(30)], points))
    assert (lost.state, lost.until_ns, more) == ("unknown", at(60), [])
    (again,) = await jobs(holding([began(100), afresh(30), began(30)], points))
    assert (again.state, again.device_s) == ("running", 70)
    (other,) = await jobs(holding([began(100), afresh(30, "n2")], points))
    assert other.state == "running"


async def test_span_of_a_node_gone_for_longer_than_the_range_is_not_shown():
    query = holding([began(3000)], samples(3000, 2000, **LOAD), [status(online=False)])
    assert await jobs(query, start_s=1000) == []
    assert len(await jobs(query, start_s=2500)) == 1


async def test_unit_is_a_job_of_its_own_on_each_node_and_after_a_pause():
    name = "unit:train.service"
    begins = [
        began(1000, name),
        began(995, name, device="1"),
        began(400, name),
        began(1000, name, node="n2"),
    ]
    ends = [ended(700, begins[0]), ended(690, begins[1]), ended(300, begins[2]), ended(600, begins[3])]
    rows = await jobs(holding([*begins, *ends]))
    assert sorted((row.nodes, row.device_s) for row in rows) == [
        (("n1",), 100.0),
        (("n1",), 605.0),
        (("n2",), 400.0),
    ]
    slurm = [
        msgspec.structs.replace(e, data={**e.data, "job": "slurm:9", "manager": "slurm"})
        for e in begins + ends
    ]
    (row,) = await jobs(holding(slurm))
    assert row.device_s == 1105


async def test_mig_instance_counts_only_where_its_job_is_not_told_of_the_whole_gpu():
    begins = [
        began(100),
        began(100, device="0.1"),
        began(100, device="1.0"),
        began(100, "slurm:2", device="0.2"),
    ]
    query = holding(begins, samples(100, 0, **LOAD))
    two, one = sorted(await jobs(query), key=lambda row: row.job, reverse=True)
    assert (one.devices, one.device_s, one.energy_j) == (("n1/gpu0", "n1/gpu1.0"), 200, 30_000)
    assert (two.devices, two.energy_j) == (("n1/gpu0.2",), None)
    assert len(await jobs(query, by="device")) == 4


async def test_filters_and_limit_choose_the_jobs():
    begins = [began(100 - n, f"slurm:{n}", device=str(n), user=("alice", "bob")[n % 2]) for n in range(6)]
    query = holding(begins)
    assert [row.job_id for row in await jobs(query, limit=2)] == ["5", "4"]
    assert [row.job_id for row in await jobs(query, user="bob")] == ["5", "3", "1"]
    assert [row.job_id for row in await jobs(query, job="3")] == ["3"]
    assert [row.job_id for row in await jobs(query, job="slurm:3", user="alice")] == []
    assert await jobs(query, node="n2") == []


async def test_more_events_than_fit_a_page_are_all_read_and_too_many_are_refused():
    begins = [began(10_000 - n % 7000, f"slurm:{n}", device=str(n)) for n in range(7000)]
    query = holding(begins + [ended(1, begin) for begin in begins])
    rows = await jobs(query, limit=10_000)
    assert len(rows) == 7000
    assert {row.state for row in rows} == {"ended"}
    with pytest.raises(ConfigError, match="over 6000 jobs began or ended"):
        await jobs(query, settings=DashboardSettings(job_events=6000))


async def test_node_that_floods_is_left_out_by_name_and_all_others_are_answered():
    begins = [began(100 - n, f"slurm:{n}", device=str(n)) for n in range(3)]
    early = [began(9000 - n, f"slurm:e{n}", device=str(n), node="n3") for n in range(3)]
    flood = [began(1000 - n % 900, f"slurm:x{n}", node="n2", device=str(n)) for n in range(12_000)]
    query = holding([*begins, *early, *flood])
    few = DashboardSettings(job_events=6000, job_node_events=100)
    found = await answer(query, settings=few, limit=10_000)
    assert found.left_out == ("n2",)
    assert [row.job_id for row in found.rows] == ["2", "1", "0", "e2", "e1", "e0"]
    with pytest.raises(ConfigError, match="over 6000 jobs"):
        await answer(query, settings=few, node="n2")
    assert len(await jobs(query, settings=DashboardSettings(job_events=13_000), limit=20_000)) == 12_006


async def test_flood_of_one_instant_is_left_out_too():
    flood = [began(50, f"slurm:x{n}", node="n2", device=str(n)) for n in range(20_000)]
    query = holding([began(100), *flood, began(10, "slurm:2")])
    found = await answer(query, settings=DashboardSettings(job_events=6000, job_node_events=100))
    assert found.left_out == ("n2",)
    assert [row.job_id for row in found.rows] == ["2", "1"]


@pytest.mark.parametrize("lasted_s", [1.7e308, 1e9, -1.0])
async def test_length_that_cannot_be_true_is_not_believed(lasted_s):
    begins = [began(100, device=device) for device in ("0", "1")]
    ends = [ended(50, begin, lasted_s=lasted_s) for begin in begins]
    found = await answer(holding([*begins, *ends]))
    assert [row.device_s for row in found.rows] == [100]
    assert msgspec.json.decode(msgspec.json.encode(found), type=JobAnswer) == found


async def test_nodes_that_disagree_whose_a_job_is_are_all_shown():
    begins = [
        began(100, user="mallory", node="n9"),
        began(90),
        began(90, device="1"),
        began(90, device="2", user=""),
    ]
    query = holding(begins, statuses=[status(), status("n9")])
    (row,) = await jobs(query)
    assert (row.user, row.users) == ("", ("alice", "mallory"))
    assert {(row.user, row.nodes) for row in await jobs(query, by="device")} == {
        ("mallory", ("n9",)),
        ("alice", ("n1",)),
        ("", ("n1",)),
    }
    (own,) = await jobs(query, user="alice")
    assert (own.user, own.users, own.devices) == ("alice", (), ("n1/gpu0", "n1/gpu1"))


@pytest.mark.parametrize(
    "data",
    [{}, {"job": 5.0}, {"job": "x"}, {"job": "x", "began_ns": "nan"}, {"job": "x", "began_ns": "9" * 30},
     {"job": "x", "began_ns": 17.5, "lasted_s": "long"}],
)  # fmt: skip
async def test_event_that_is_not_as_agents_send_them_is_left_out(data):
    bad = msgspec.structs.replace(began(100), event="job_ended", data=data)
    assert [row.job for row in await jobs(holding([bad, began(50)]))] == ["slurm:1"]


# over HTTP and from a data folder


async def test_api_gives_the_rows_and_refuses_what_it_does_not_know():
    query = holding([began(100), began(90, "slurm:2", user="bob")], samples(100, 0, **LOAD))
    async with serving(query, FakeClock(NOW)) as client:
        async with client.get("/api/v1/jobs?from=1h&user=bob&by=device&clip=true&limit=5") as response:
            found = msgspec.json.decode(await response.read(), type=JobAnswer)
        assert [(row.job, row.device_s) for row in found.rows] == [("slurm:2", 90)]
        for wrong in ("by=node", "job=", f"user={'x' * 201}", "limit=0", "clip=maybe", "node=a%20b", "x=1"):
            async with client.get(f"/api/v1/jobs?{wrong}") as response:
                assert response.status == 400, wrong


@asynccontextmanager
async def stored(folder, events, points):
    lines = [format_line(p.measurement, p.node, p.device, p.model, None, p.fields, p.time_ns) for p in points]
    payload = (format_header("n1", "3f2a", 1) + "".join(lines).encode(),)
    async with EmbeddedStore(folder, EmbeddedSettings(threads=1), SystemClock()) as store:
        await store.write(Batch(telemetry=payload, events=tuple(events), statuses=(status(),)))
        yield store


@pytest.fixture
def folder(tmp_path):
    """A store with two jobs that share a device, one of them still running."""
    first, second = began(100), began(60, "slurm:2", user="bob", slot=1)
    points = samples(100, 0, energy_j=lambda s: 300 * s, **LOAD) + samples(100, 0, device="1", **LOAD)
    other = began(100, device="1")

    async def write():
        async with stored(tmp_path, [first, second, ended(40, first), other, ended(40, other)], points):
            pass

    asyncio.run(write())
    return tmp_path


def run(capsys, folder, *arguments):
    span = ("--from", str(at(3600)), "--to", str(at(-1)))
    assert main(["jobs", "--data-dir", str(folder), *span, "--clip", *arguments]) == 0
    return capsys.readouterr().out


def test_command_shows_jobs_of_a_data_folder_with_notes_on_what_overlaps(folder, capsys):
    header, second, first, *notes = run(capsys, folder).splitlines()
    assert header.split()[:3] == ["JOB", "USER", "WHERE"]
    assert second.startswith("slurm:2 *")
    assert "running" in second
    assert first.startswith("slurm:1 ~*")
    assert "n1/gpu0 n1/gpu1" in first
    assert [note[0] for note in notes] == ["~", "*"]


def test_command_shows_one_job_by_device_and_gives_json(folder, capsys):
    rows = json.loads(run(capsys, folder, "1", "--json"))["rows"]
    assert {(row["devices"][0], row["energy_j"], row["energy_from"]) for row in rows} == {
        ("n1/gpu0", 18_000, "counter"),
        ("n1/gpu1", 18_000, "power"),
    }
    (whole,) = json.loads(run(capsys, folder, "slurm:1", "--by", "job", "--json"))["rows"]
    assert (whole["energy_j"], whole["energy_from"], whole["device_s"]) == (36_000, "both", 120)


def test_command_says_when_there_was_no_job(folder, capsys):
    assert run(capsys, folder, "--user", "nobody") == "no job was on a device in this range\n"


def test_command_marks_a_job_whose_nodes_disagree_and_steers_no_terminal(tmp_path, capsys):
    rough = "slurm:7\x1b]52;c;eA==\x07\nslurm:8"

    async def write():
        events = [began(100, rough), began(90, rough, node="n2", user="bob\x9b2J")]
        async with stored(tmp_path, events, samples(100, 0, **LOAD)):
            pass

    asyncio.run(write())
    _, row, *notes = run(capsys, tmp_path).splitlines()
    assert row.startswith("slurm:7?]52;c;eA==??slurm:8 ")
    assert "alice,bob?2J" in row
    assert "# nodes disagree whose it is" in notes
    text = run(capsys, tmp_path, "--json")
    assert text.replace("\n", "").isprintable()
    assert json.loads(text)["rows"][0]["users"] == ["alice", "bob\x9b2J"]


def test_command_names_the_nodes_that_are_left_out():
    row = "without what was on n2, n3: too many jobs began or ended there to be read"
    assert text_of(JobAnswer((), ("n2", "n3"))).splitlines()[1:] == [row]

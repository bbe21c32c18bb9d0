"""Pages over HTTP, walked as a client does: nothing is missed, nothing comes twice."""

import random

import pytest

from tests.fake_fleet import FakeFleet, decision
from tests.fake_query import FakeQuery
from tests.fakes import FakeClock
from tests.unit.dashboard.serving import serving
from tests.unit.dashboard.test_api import NOW, SESSION
from thermogate.core.clock import NS
from thermogate.core.decision import State
from thermogate.core.model import Event, Status
from thermogate.core.wire import Point


def event(number, time_ns, kind="collapse_began"):
    return Event(node=f"n{number}", event=kind, time_ns=time_ns, text="", device_kind="gpu", device="0")


class Shuffling(FakeQuery):
    """Gives what shares a nanosecond in another order each time, as a database may."""

    async def events(self, *, limit=1000, **asked):
        found = await super().events(limit=1_000_000, **asked)
        random.shuffle(found)
        return sorted(found, key=lambda e: -e.time_ns)[:limit]

    async def decisions(self, *, limit=1000, **asked):
        found = await super().decisions(limit=1_000_000, **asked)
        random.shuffle(found)
        return sorted(found, key=lambda d: -d.issued_at_ns)[:limit]


async def walked(client, path, *, between=lambda: None):
    """Every row, page by page, by `next` of each answer."""
    rows, cursor, pages = [], "", 0
    while True:
        async with client.get(f"/api/v1/{path}&paged=true{cursor}") as response:
            assert response.status == 200, await response.text()
            answer = await response.json()
            assert ("next" in answer) == ("Link" in response.headers)
        rows += answer["rows"]
        pages += 1
        if "next" not in answer:
            return rows, pages
        cursor = f"&cursor={answer['next']}"
        between()


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
async def test_events_of_one_nanosecond_are_each_told_once(limit):
    query = Shuffling()
    query.event_list = [event(n, NOW - (n // 9) * NS - NS) for n in range(40)]
    async with serving(query, FakeClock(NOW)) as client:
        rows, pages = await walked(client, f"events?limit={limit}")
    assert sorted(row["node"] for row in rows) == sorted(e.node for e in query.event_list)
    assert pages == -(-40 // limit)
    assert [row["time_ns"] for row in rows] == sorted((row["time_ns"] for row in rows), reverse=True)


async def test_the_longest_names_fit_into_a_cursor():
    name, query = "n" * 128, FakeQuery()
    query.event_list = [
        Event(node=name, event="xid", time_ns=NOW - n, text="", device_kind="gpu", device="d" * 125)
        for n in range(1, 5)
    ]
    async with serving(query, FakeClock(NOW)) as client:
        rows, pages = await walked(client, f"events?limit=1&node={name}")
    assert (len(rows), pages) == (4, 4)


async def test_events_that_arrive_while_one_reads_move_no_other():
    query, clock = Shuffling(), FakeClock(NOW)
    query.event_list = [event(n, NOW - n * NS) for n in range(1, 31)]
    later = iter(range(100, 200))

    def arrive():
        clock.pass_time(3600)
        query.event_list.append(event(next(later), clock.utc_ns() - NS))

    async with serving(query, clock) as client:
        rows, _ = await walked(client, "events?from=1h&limit=4", between=arrive)
    assert [row["node"] for row in rows] == [f"n{n}" for n in range(1, 31)]


async def test_the_link_leads_on_in_the_form_that_was_asked_for():
    query = Shuffling()
    query.event_list = [event(n, NOW - NS) for n in range(5)]
    found, path = [], "/api/v1/events?limit=2&node=n1"
    async with serving(query, FakeClock(NOW)) as client:
        async with client.get(path) as response:
            assert "Link" not in response.headers
        path = "/api/v1/events?limit=2"
        while path:
            async with client.get(path) as response:
                found += [one["node"] for one in await response.json()]
                path = str(response.links["next"]["url"]) if response.links else ""
    assert found == ["n0", "n1", "n2", "n3", "n4"]


async def test_decisions_are_walked_as_events_are():
    query = Shuffling()
    query.decision_list = [
        decision(f"n{n}", State.HOLD, "hot", now_ns=NOW - (n // 5) * NS - NS, id_=f"{n:03}")
        for n in range(23)
    ]
    async with serving(query, FakeClock(NOW)) as client:
        rows, _ = await walked(client, "decisions?limit=3")
    assert sorted(row["id"] for row in rows) == [f"{n:03}" for n in range(23)]


async def test_the_fleet_by_place_is_whole_while_its_states_change():
    fleet = FakeFleet([SESSION], nodes=12, gpus=3, now_ns=NOW)
    heat = random.Random(7)

    def change():
        fleet.warmer_c = {device: heat.uniform(0, 40) for device in fleet.devices}
        fleet.tick(NOW)

    async with serving(fleet.query, FakeClock(NOW)) as client:
        rows, pages = await walked(client, "fleet?order=place&limit=5", between=change)
        urgent, _ = await walked(client, "fleet?limit=5")
        async with client.get("/api/v1/fleet") as response:
            at_once = await response.json()
    assert pages == 8
    assert [(row["node"], row["device"]) for row in rows] == fleet.devices
    assert urgent == at_once


@pytest.mark.parametrize(
    ("asked", "nodes"),
    [
        ("node=n1*", ["n1", "n10", "n11"]),
        ("node=n%3F", ["n1", "n2"]),
        ("node=n2", ["n2"]),
        ("kind=cpu", ["n2"]),
    ],
)
async def test_the_fleet_is_filtered_by_node_and_kind(asked, nodes):
    kinds = {"n2": "cpu"}
    query = FakeQuery(
        Point(kinds.get(node, "gpu"), node, "0", "", "", {"temp_c": 50.0}, NOW)
        for node in ("n1", "n2", "n10", "n11")
    )
    async with serving(query, FakeClock(NOW)) as client, client.get(f"/api/v1/fleet?{asked}") as response:
        assert [row["node"] for row in await response.json()] == nodes


async def test_the_fleet_is_filtered_by_state_and_keeps_its_tag():
    fleet = FakeFleet([SESSION], nodes=2, gpus=2, now_ns=NOW)
    fleet.set_status("gpu-02", NOW, online=False)
    async with serving(fleet.query, FakeClock(NOW)) as client:
        async with client.get("/api/v1/fleet?state=offline&limit=1") as response:
            assert [row["node"] for row in await response.json()] == ["gpu-02"]
            tag = response.headers["ETag"]
        headers = {"If-None-Match": tag}
        async with client.get("/api/v1/fleet?state=offline&limit=1", headers=headers) as response:
            assert (response.status, "Link" in response.headers) == (304, True)


async def test_nodes_and_rankings_are_walked():
    query = FakeQuery(
        Point("gpu", f"n{n}", "0", "", "", {"temp_c": float(n // 4)}, NOW - NS) for n in range(30)
    )
    query.status = {f"n{n}": Status(node=f"n{n}", online=True, time_ns=NOW) for n in range(30)}
    async with serving(query, FakeClock(NOW)) as client:
        nodes, _ = await walked(client, "nodes?limit=7")
        ranked, _ = await walked(client, "top?ranking=hottest&limit=7")
    assert [node["node"] for node in nodes] == [f"n{n}" for n in range(30)]
    values = [one["value"] for one in ranked]
    assert values == sorted(values, reverse=True)
    assert len({one["device"]["node"] for one in ranked}) == 30


async def test_jobs_are_walked():
    query = FakeQuery()
    query.event_list = [
        Event(
            node=f"n{n % 3}",
            event="job_began",
            time_ns=NOW - (n // 4 + 1) * NS,
            text="",
            device_kind="gpu",
            device=str(n),
            data={"job": f"slurm:{n}", "manager": "slurm", "job_id": str(n), "user": "alice"},
        )
        for n in range(17)
    ]
    query.status = {f"n{n}": Status(node=f"n{n}", online=True, time_ns=NOW) for n in range(3)}
    found, cursor = [], ""
    async with serving(query, FakeClock(NOW)) as client:
        while True:
            async with client.get(f"/api/v1/jobs?limit=4{cursor}") as response:
                answer = await response.json()
            found += [row["job_id"] for row in answer["rows"]]
            if "next" not in answer:
                break
            cursor = f"&cursor={answer['next']}"
    assert sorted(found, key=int) == [str(n) for n in range(17)]


async def test_a_cursor_of_another_question_is_refused():
    query = FakeQuery()
    query.event_list = [event(n, NOW - NS) for n in range(5)]
    async with serving(query, FakeClock(NOW)) as client:
        async with client.get("/api/v1/events?limit=2&paged=true") as response:
            cursor = (await response.json())["next"]
        for path in (f"events?limit=2&node=n1&cursor={cursor}", f"decisions?limit=2&cursor={cursor}"):
            async with client.get(f"/api/v1/{path}") as response:
                said = (await response.json())["error"]
                assert (response.status, said[:27]) == (400, "cursor: of another question")
        for bad in ("e30", "W10", "!", "Wyd4JywxLDIsWzFdXQ", "a" * 2001, "%FF", cursor[:-4]):
            async with client.get(f"/api/v1/events?cursor={bad}") as response:
                assert response.status == 400
                assert (await response.json())["error"].startswith("cursor: expected")


@pytest.mark.parametrize(
    ("ranking", "first", "value"),
    [
        ("hottest", "n1", 95.0),
        ("least-efficient", "n2", 0.1),
        ("most-throttled", "n2", 0.5),
        ("most-power", "n1", 350.0),
        ("least-utilized", "n1", 0.2),
        ("most-collapses", "n2", 3.0),
    ],
)
async def test_a_ranking_has_its_own_field_and_order(ranking, first, value):
    samples = {
        "n1": [(95.0, 0.4, 0.0, 300.0, 0.2), (60.0, 0.4, 0.0, 400.0, 0.2)],
        "n2": [(70.0, 0.1, 1.0, 200.0, 0.9), (90.0, 0.1, 0.0, 200.0, 0.9)],
    }
    names = ("temp_c", "rle", "throttled", "power_w", "util_ratio")
    query = FakeQuery(
        Point("gpu", node, "0", "", "", dict(zip(names, values, strict=True)), NOW - (2 - n) * NS)
        for node, given in samples.items()
        for n, values in enumerate(given)
    )
    query.event_list = [event(n, NOW - NS) for n in (1, 2)] + [event(2, NOW - n * NS) for n in (2, 3)]
    query.event_list += [event(1, NOW - NS, "collapse_ended"), event(1, NOW - 7200 * NS)]
    async with serving(query, FakeClock(NOW)) as client:
        async with client.get(f"/api/v1/top?ranking={ranking}&from=1h") as response:
            ranked = await response.json()
    assert (ranked[0]["device"]["node"], ranked[0]["value"]) == (first, value)
    assert len(ranked) == 2


async def test_collapses_are_counted_over_any_number_of_pages():
    query = Shuffling()
    query.event_list = [event(n % 3, NOW - NS - n // 3) for n in range(21_000)]
    async with serving(query, FakeClock(NOW)) as client:
        async with client.get("/api/v1/top?ranking=most-collapses") as response:
            ranked = await response.json()
    assert [one["value"] for one in ranked] == [7000, 7000, 7000]

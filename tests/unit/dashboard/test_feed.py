import asyncio
import socket

import pytest

from tests.fake_fleet import FakeFleet, decision
from tests.fake_query import FakeQuery
from tests.fakes import FakeClock, settle
from tests.unit.dashboard.serving import QUICK, Listener, serving
from tests.unit.dashboard.test_api import NOW, SESSION
from thermogate.core.clock import NS, SystemClock
from thermogate.core.decision import State
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.feed import Feed, Mailbox, message
from thermogate.dashboard.settings import DashboardSettings


class CountingQuery(FakeQuery):
    """Counts the polls; `stuck` makes them never end."""

    polls = 0
    stuck = False

    async def latest(self):
        self.polls += 1
        if self.stuck:
            await asyncio.Event().wait()
        return await super().latest()


@pytest.fixture
def fleet():
    return FakeFleet([SESSION], nodes=1, gpus=1, now_ns=NOW)


@pytest.fixture
def clock():
    return FakeClock(NOW)


@pytest.fixture
async def feed(fleet, clock):
    made = Feed(Answers(fleet.query, clock, DashboardSettings()), DashboardSettings())
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.run())
        yield made
        running.cancel()


async def taken(mailbox):
    async with asyncio.timeout(5):
        return await mailbox.take()


async def test_a_mailbox_begins_with_the_whole_and_goes_on_with_changes():
    mailbox = Mailbox(2, lambda: b"whole ")
    mailbox.put_changes(b"1 ")
    mailbox.put_items([b"a ", b"b "])
    assert await taken(mailbox) == b"whole a b "
    mailbox.put_changes(b"2 ")
    mailbox.put_changes(b"3 ")
    assert await taken(mailbox) == b"2 3 "


async def test_a_mailbox_that_overflows_holds_the_whole_and_one_missed_and_no_more():
    mailbox = Mailbox(2, lambda: b"whole ")
    mailbox.put_changes(b"")
    await taken(mailbox)
    for _ in range(1000):
        mailbox.put_items([b"x" * 1000])
        mailbox.put_changes(b"y" * 1000)
    said = await taken(mailbox)
    assert said.startswith(b"whole ")
    assert len(said) < 4000
    mailbox.put_items([b"a", b"b", b"c"])
    assert await taken(mailbox) == message("missed", {})


async def test_a_closed_mailbox_lets_its_client_go():
    mailbox = Mailbox(2, lambda: b"whole")
    mailbox.put_changes(b"something")
    mailbox.close()
    assert await taken(mailbox) == b""


async def test_the_fleet_is_sent_again_only_when_something_changed(feed, fleet, clock):
    with feed.listen() as mailbox:
        first = await taken(mailbox)
        await clock.advance(3)
        waiting = asyncio.create_task(mailbox.take())
        await settle()
        assert not waiting.done()
        fleet.tick(NOW + 4 * NS)
        await clock.advance(1)
        assert first.startswith(b"event: fleet\n")
        assert (await waiting).startswith(b"event: changes\n")


async def test_an_event_that_reaches_the_store_late_is_sent_once(feed, fleet, clock):
    fleet.collapse_event("gpu-01", "0", NOW - 100 * NS)
    with feed.listen() as mailbox:
        assert b"event: event" not in await taken(mailbox)
        fleet.collapse_event("gpu-01", "0", NOW - 200 * NS)
        fleet.query.decision_list.append(decision("gpu-01", State.HOLD, "hot", now_ns=NOW, id_="A"))
        await clock.advance(1)
        said = await taken(mailbox)
        assert said.count(b"event: event\n") == 1
        assert said.count(b"event: decision\n") == 1
        fleet.tick(NOW + 2 * NS)
        await clock.advance(1)
        assert b"event: event\n" not in await taken(mailbox)


async def test_a_store_that_cannot_answer_is_told_and_its_return_as_well(feed, fleet, clock):
    with feed.listen() as mailbox:
        await taken(mailbox)
        fleet.query.broken = "the database is away"
        await clock.advance(1)
        assert b'"error":"the database is away"' in await taken(mailbox)
        with feed.listen() as late:
            told = await taken(late)
            assert told.startswith(b"event: fleet\n")
            assert b"event: problem\n" in told
        fleet.query.broken = ""
        await clock.advance(1)
        assert (await taken(mailbox)).startswith(b"event: changes\n")


async def test_a_late_listener_gets_the_present_state_at_once(feed):
    with feed.listen() as first:
        state = await taken(first)
        with feed.listen() as second:
            assert await taken(second) == state


async def test_nobody_listening_costs_the_store_nothing_and_all_listening_one_poll(clock):
    query = CountingQuery()
    feed = Feed(Answers(query, clock, DashboardSettings()), DashboardSettings())
    running = asyncio.create_task(feed.run())
    await clock.advance(10)
    assert query.polls == 0
    with feed.listen(), feed.listen(), feed.listen():
        await settle()
        await clock.advance(10)
        assert 10 <= query.polls <= 11
    await clock.advance(1)
    polls = query.polls
    await clock.advance(10)
    assert query.polls == polls
    running.cancel()


async def test_a_stream_begins_with_a_greeting_and_the_fleet(fleet):
    async with serving(fleet.query, SystemClock()) as client, client.get("/api/v1/stream") as response:
        assert response.content_type == "text/event-stream"
        listener = Listener(response)
        event, data = await listener.next()
        assert (event, data["heartbeat_s"]) == ("hello", QUICK.heartbeat_s)
        event, data = await listener.next()
        assert event == "fleet"
        assert data["rows"][0]["node"] == "gpu-01"


async def test_a_quiet_stream_has_a_heartbeat():
    async with serving(FakeQuery(), SystemClock()) as client, client.get("/api/v1/stream") as response:
        assert (await Listener(response).until("beat"))["now_ns"] > NOW


async def test_a_store_that_hangs_is_told_to_the_pages():
    query = CountingQuery()
    query.stuck = True
    async with serving(query, SystemClock()) as client, client.get("/api/v1/stream") as response:
        said = await Listener(response).until("problem")
        assert said["error"] == "the store has not answered for 0.3 s"


async def test_a_client_that_does_not_read_holds_up_nobody():
    fleet = FakeFleet([SESSION], nodes=63, gpus=8, now_ns=SystemClock().utc_ns(), with_history=0)
    async with serving(fleet.query, SystemClock()) as client:
        async with client.get("/api/v1/info") as response:
            address = response.url.host, response.url.port
        with socket.create_connection(address) as deaf:
            deaf.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with client.get("/api/v1/stream") as response:
                listener = Listener(response)
                assert len((await listener.until("fleet"))["rows"]) == 504
                for number in range(2, 400):  # more than the connection takes in by itself
                    fleet.tick(SystemClock().utc_ns())
                    assert (await listener.until("changes"))["seq"] == number

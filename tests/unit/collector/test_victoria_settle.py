"""When a write counts as past any crash, in virtual time."""

import asyncio

import pytest

from tests.fakes import FakeClock, settle
from thermogate.collector.store.victoria_server import Reading
from thermogate.collector.store.victoria_settle import Settler
from thermogate.core.errors import StoreError

SETTLE_S = 10.0


class Server:
    """Answers looks; restarting makes another process, and a frozen or dead one answers nothing."""

    def __init__(self, clock):
        self.clock = clock
        self.started_s = 1000.0 - 3600
        self.down = False
        self.gate = None
        self.looks = 0

    async def look(self):
        self.looks += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise StoreError("no answer")
        return Reading(self.started_s, self.clock.steady_s() - self.started_s, {})

    def restart(self):
        self.started_s = float(int(self.clock.steady_s()))


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def server(clock):
    return Server(clock)


@pytest.fixture
async def settler(server, clock):
    settler = Settler(server.look, SETTLE_S, clock)
    yield settler
    await settler.close()


async def wrote(settler):
    return settler.took(await settler.before())


async def test_a_write_settles_once_the_server_has_lived_long_enough(settler, clock):
    settling = await wrote(settler)
    await clock.advance(SETTLE_S - 0.5)
    assert not settling.done()
    await clock.advance(2)
    assert settling.result() is True


async def test_a_write_before_a_restart_ends_false_as_soon_as_the_new_process_answers(settler, server, clock):
    settling = await wrote(settler)
    await clock.advance(3)
    server.down = True
    await clock.advance(60)
    assert not settling.done()
    server.down = False
    server.restart()
    await clock.advance(1.5)
    assert settling.result() is False


async def test_a_restart_between_the_last_look_and_the_write_ends_false(settler, server, clock):
    await settler.before()
    await clock.advance(100)
    server.restart()  # and takes the write
    settling = await wrote(settler)
    await clock.advance(SETTLE_S + 3)
    assert settling.result() is False


async def test_after_a_failed_write_the_process_is_looked_for_anew(settler, server, clock):
    await settler.before()
    server.restart()
    await clock.advance(5)
    settler.doubt()
    settling = await wrote(settler)
    await clock.advance(SETTLE_S + 2)
    assert settling.result() is True


async def test_a_process_too_young_to_be_told_from_its_successor_settles_nothing(settler, server, clock):
    server.restart()
    settling = await wrote(settler)
    server.restart()  # within the same second: it looks the same
    await clock.advance(SETTLE_S + 3)
    assert settling.result() is False
    assert (await wrote(settler)).done() is False


async def test_time_in_which_the_server_was_frozen_does_not_count(settler, server, clock):
    settling = await wrote(settler)
    await clock.advance(2)
    server.gate = asyncio.Event()
    await clock.advance(60)
    server.gate.set()
    server.gate = None
    await settle()
    await clock.advance(1.5)
    assert not settling.done()
    await clock.advance(SETTLE_S)
    assert settling.result() is True


async def test_time_that_nobody_looked_does_not_count(settler, server, clock):
    settling = await wrote(settler)
    await settle()
    clock.pass_time(3600)  # this process was suspended
    await settle()
    assert not settling.done()
    await clock.advance(SETTLE_S)
    assert settling.result() is True


async def test_a_look_that_was_sent_before_the_write_says_nothing_about_it(settler, server, clock):
    await wrote(settler)
    await clock.advance(0.9)
    server.gate = asyncio.Event()
    await clock.advance(0.2)  # a look is on its way
    server.restart()
    server.started_s = -1.0
    settling = await wrote(settler)
    server.started_s = 1000.0 - 3600
    server.gate.set()
    await settle()
    assert not settling.done()


async def test_a_clock_that_is_set_changes_nothing(settler, clock):
    settling = await wrote(settler)
    clock.jump_utc(86_400)
    await clock.advance(SETTLE_S - 1)
    assert not settling.done()
    clock.jump_utc(-2 * 86_400)
    await clock.advance(2)
    assert settling.result() is True


async def test_closing_cancels_what_has_not_settled(settler, clock):
    first = await wrote(settler)
    await clock.advance(2)
    second = await wrote(settler)
    await settler.close()
    assert first.cancelled()
    assert second.cancelled()


async def test_a_write_is_cheap_and_an_idle_server_is_left_alone(settler, server, clock):
    await asyncio.gather(*(wrote(settler) for _ in range(1)))
    many = [await wrote(settler) for _ in range(500)]
    looked = server.looks
    await clock.advance(SETTLE_S + 2)
    assert all(one.result() for one in many)
    assert server.looks - looked <= SETTLE_S + 2
    looked = server.looks
    await clock.advance(600)
    assert server.looks == looked


async def test_a_writer_that_has_given_up_on_a_write_disturbs_no_other(settler, clock):
    first, second = await wrote(settler), await wrote(settler)
    first.cancel()
    await clock.advance(SETTLE_S + 2)
    assert second.result() is True

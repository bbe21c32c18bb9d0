import asyncio

import msgspec
import pytest

from tests.fakes import FakeClock, settle
from thermogate.agent.config import UplinkSettings
from thermogate.agent.spool import Record, Spool, SpoolSettings
from thermogate.agent.uplink import Uplink
from thermogate.core import wire
from thermogate.core.errors import NotConnectedError
from thermogate.core.model import Ack, Event

LINE = b"gpu,node=n17,device=0 temp_c=60.0 1\n"


class FakeBroker:
    """What `Uplink` needs of an MqttClient; keeps what was published."""

    def __init__(self):
        self.connected = True
        self.sent = []
        self.inbox = asyncio.Queue()

    async def wait_connected(self):
        while not self.connected:
            await asyncio.sleep(0)

    def send(self, topic, payload, *, retain=False):
        if not self.connected:
            raise NotConnectedError("no connection")
        self.sent.append((topic, payload))

    async def receive(self, limit):
        return [await self.inbox.get()]

    def seqs(self):
        return [wire.parse_header(payload).seq for topic, payload in self.sent if topic.endswith("telemetry")]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def spool(tmp_path, clock):
    with Spool(tmp_path / "spool", SpoolSettings(), clock) as spool:
        yield spool


@pytest.fixture
async def link(spool, clock):
    broker = FakeBroker()
    uplink = Uplink(
        broker, "n17", spool, UplinkSettings(window=8, ack_timeout_s=20, backlog_per_s=100), clock
    )
    task = asyncio.ensure_future(uplink.run())
    yield broker, uplink
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


def keep(spool, uplink, count=1):
    for _ in range(count):
        uplink.offer(Record(spool.append("telemetry", LINE), "telemetry", LINE))


async def test_a_live_record_is_sent_at_once_with_its_header(spool, link):
    broker, uplink = link
    keep(spool, uplink)
    ((topic, payload),) = broker.sent
    assert topic == "thermogate/v1/node/n17/telemetry"
    assert wire.check_telemetry("n17", payload) == wire.Header("n17", spool.id, 1, ack=False)


async def test_nothing_leaves_the_spool_before_a_store_has_it(spool, link, clock):
    broker, uplink = link
    keep(spool, uplink, 3)
    await clock.advance(1)
    assert spool.depth == 3
    uplink.acknowledged(Ack(spool.id, ((1, 2),)))
    assert spool.depth == 1
    uplink.acknowledged(Ack("0000", ((3, 3),)))
    assert spool.depth == 1


async def test_what_came_while_there_was_no_connection_is_sent_when_there_is(spool, link, clock):
    broker, uplink = link
    broker.connected = False
    keep(spool, uplink, 5)
    assert not broker.sent
    broker.connected = True
    uplink.reconnected()
    await clock.advance(1)
    assert broker.seqs() == [1, 2, 3, 4, 5]


async def test_live_goes_first_while_a_backlog_drains(spool, link, clock):
    broker, uplink = link
    broker.connected = False
    keep(spool, uplink, 50)
    broker.connected = True
    uplink.reconnected()
    keep(spool, uplink)
    assert broker.seqs()[0] == 51
    for _ in range(200):
        await clock.advance(0.05)
        uplink.acknowledged(Ack(spool.id, tuple((seq, seq) for seq in broker.seqs())))
    assert spool.depth == 0
    assert sorted(broker.seqs()) == list(range(1, 52))  # each was sent once


async def test_no_more_than_the_window_is_on_its_way(spool, link, clock):
    broker, uplink = link
    broker.connected = False
    keep(spool, uplink, 50)
    broker.connected = True
    uplink.reconnected()
    await clock.advance(5)
    assert len(broker.sent) == 8


async def test_a_full_window_asks_for_a_prompt_acknowledgement(spool, link, clock):
    broker, uplink = link
    keep(spool, uplink, 8)
    asks = [wire.parse_header(payload).ack for _, payload in broker.sent]
    assert asks == [False, True] * 4


async def test_after_a_backlog_a_prompt_acknowledgement_is_asked_for(spool, link, clock):
    broker, uplink = link
    keep(spool, uplink, 2)
    broker.connected = False
    keep(spool, uplink, 2)
    broker.connected = True
    uplink.reconnected()
    await clock.advance(1)
    keep(spool, uplink)
    asks = [wire.parse_header(payload).ack for _, payload in broker.sent[2:]]
    assert asks == [False, True, False, True, True]  # the fifth, which is not the end of a quarter


async def test_what_is_not_acknowledged_in_time_is_sent_again(spool, link, clock):
    broker, uplink = link
    keep(spool, uplink, 2)
    await clock.advance(10)
    keep(spool, uplink)
    uplink.acknowledged(Ack(spool.id, ((3, 3),)))
    await asyncio.sleep(0)
    clock.pass_time(11)
    uplink._wake.set()
    await settle()
    assert broker.seqs() == [1, 2, 3, 1, 2]


async def test_while_nobody_acknowledges_the_backlog_is_tried_by_one_message_and_sent_at_the_first_sign(
    spool, link, clock
):
    broker, uplink = link
    keep(spool, uplink, 6)
    for _ in range(3):
        await settle()
        clock.pass_time(21)
        uplink._wake.set()
    await settle()
    assert broker.seqs()[6:] == [1, 1, 1]
    assert wire.parse_header(broker.sent[-1][1]).ack
    uplink.acknowledged(Ack(spool.id, ((1, 1),)))
    await clock.advance(1)
    assert broker.seqs()[9:] == [2, 3, 4, 5, 6]


async def test_the_age_of_the_last_acknowledgement_is_told(spool, link, clock):
    broker, uplink = link
    keep(spool, uplink, 2)
    assert uplink.ack_age_s is None
    uplink.acknowledged(Ack("0000", ((1, 1),)))
    assert uplink.ack_age_s is None
    uplink.acknowledged(Ack(spool.id, ((1, 1),)))
    clock.pass_time(7)
    assert uplink.ack_age_s == 7


async def test_a_spool_that_cannot_be_read_is_said_once_and_live_samples_go_on(
    spool, link, clock, tmp_path, caplog
):
    broker, uplink = link
    broker.connected = False
    keep(spool, uplink, 3)
    spool.close()
    (file,) = (tmp_path / "spool").glob("*.seg")
    file.rename(tmp_path / "away")
    file.mkdir()  # opening it to read works, reading does not
    broker.connected = True
    uplink.reconnected()
    await clock.advance(1)
    uplink._wake.set()
    await clock.advance(1)
    assert broker.seqs() == []
    assert [record.message for record in caplog.records] == [
        "n17: cannot read the spool: [Errno 21] Is a directory"
    ]
    keep(spool, uplink)
    assert broker.seqs() == [4]
    file.rmdir()
    (tmp_path / "away").rename(file)
    spool.open()
    uplink._wake.set()
    await clock.advance(1)
    assert broker.seqs() == [4, 1, 2, 3]


async def test_after_a_reconnect_everything_unacknowledged_is_sent_again(spool, link, clock):
    broker, uplink = link
    keep(spool, uplink, 3)
    uplink.acknowledged(Ack(spool.id, ((2, 2),)))
    uplink.reconnected()
    await clock.advance(1)
    assert broker.seqs() == [1, 2, 3, 1, 3]


async def test_an_event_carries_its_place_in_the_spool(spool, link):
    broker, uplink = link
    event = Event(node="n17", event="gpu_lost", time_ns=5, text="gpu0: lost")
    payload = wire.encode(event)
    uplink.offer(Record(spool.append("event", payload), "event", payload))
    ((topic, sent),) = broker.sent
    assert topic == "thermogate/v1/node/n17/event"
    assert wire.decode(sent, Event) == msgspec.structs.replace(event, spool=spool.id, seq=1)


async def test_an_event_that_another_version_left_in_the_spool_is_sent_as_it_is(spool, link):
    broker, uplink = link
    payload = b'{"node":"n17","event":"unheard_of","time_ns":5,"text":"x","more":{"a":[1.5]}}'
    uplink.offer(Record(spool.append("event", payload), "event", payload))
    ((_, sent),) = broker.sent
    place = {"spool": spool.id, "seq": 1, "ack": False}
    assert msgspec.json.decode(sent) == msgspec.json.decode(payload) | place


async def test_draining_asks_for_every_acknowledgement_and_ends_when_all_is_stored(spool, link, clock):
    broker, uplink = link
    keep(spool, uplink, 3)
    drained = asyncio.ensure_future(uplink.drain(5))
    await settle()
    assert [wire.parse_header(payload).ack for _, payload in broker.sent[3:]] == [True] * 3
    assert not drained.done()
    uplink.acknowledged(Ack(spool.id, ((1, 3),)))
    assert await asyncio.wait_for(drained, 5)


async def test_draining_gives_up_when_nobody_stores(spool, link):
    broker, uplink = link
    keep(spool, uplink)
    assert not await uplink.drain(0.05)
    assert spool.depth == 1

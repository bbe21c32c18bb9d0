"""Acknowledgements to nodes: ranges, coalesced, never forgotten while they matter."""

import asyncio
import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeClock, settle
from tests.unit.collector.fake_broker import FakeBroker
from thermogate.collector.acks import Acker, Ledger
from thermogate.collector.checking import Receipt
from thermogate.collector.counters import Counters
from thermogate.core.errors import NotConnectedError
from thermogate.core.model import Ack
from thermogate.core.wire import MAX_PAYLOAD_BYTES, encode

TOPIC = "thermogate/v1/node/n1/ack"


def receipt(seq: int, node: str = "n1", spool: str = "3f2a", *, prompt: bool = False) -> Receipt:
    return Receipt(node, spool, seq, prompt)


def ledger_with(*seqs: int) -> Ledger:
    ledger = Ledger()
    for seq in seqs:
        ledger.add(receipt(seq), 0)
    return ledger


# the ledger


def test_numbers_in_any_order_become_inclusive_ranges() -> None:
    assert list(ledger_with(5, 6, 7, 2, 1, 9, 6, 3).due(0)) == [("n1", Ack("3f2a", ((1, 3), (5, 7), (9, 9))))]


@given(st.lists(st.integers(0, 40)))
def test_ranges_hold_exactly_what_was_stored(seqs: list[int]) -> None:
    found = [each for _, ack in ledger_with(*seqs).due(0) for each in ack.stored]
    assert sorted(set(seqs)) == [seq for first, last in found for seq in range(first, last + 1)]
    assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(found)), "no two that touch"


def test_what_was_taken_out_is_gone() -> None:
    ledger = ledger_with(1)
    assert list(ledger.due(0))
    assert list(ledger.due(0)) == []


def test_only_spools_that_have_waited_long_enough_are_due() -> None:
    ledger = Ledger()
    ledger.add(receipt(1, "early"), 10)
    ledger.add(receipt(1, "late"), 12)
    ledger.add(receipt(2, "early"), 13)
    assert [node for node, _ in ledger.due(11)] == ["early"]
    assert [node for node, _ in ledger.due(12)] == ["late"]


def test_acknowledgement_of_many_ranges_is_cut_to_fit_a_message() -> None:
    top = 10**18 - 1
    acks = [ack for _, ack in ledger_with(*range(top, top - 5000, -2)).due(0)]
    assert sum(len(ack.stored) for ack in acks) == 2500
    assert all(len(encode(ack)) <= MAX_PAYLOAD_BYTES for ack in acks)


def test_memory_is_bounded_by_forgetting_the_spool_that_waited_longest() -> None:
    ledger = Ledger()
    for seq in range(0, 100_000, 2):
        ledger.add(receipt(seq, "first"), 0)
    for seq in range(0, 100_002, 2):
        ledger.add(receipt(seq, "second"), 1)
    assert {node for node, _ in ledger.due(1)} == {"second"}


# what is told to nodes


async def test_stored_numbers_are_told_once_an_interval() -> None:
    broker, clock, counters = FakeBroker(), FakeClock(), Counters()
    acker = Acker(broker, 5.0, clock, counters)
    running = asyncio.create_task(acker.run())
    for seq in range(18):
        acker.stored([receipt(seq)])
        await clock.advance(1)
    running.cancel()
    assert [ranges for _, _, ranges in broker.acknowledged()] == [((0, 4),), ((5, 9),), ((10, 14),)]
    assert counters.acks == 3


async def test_node_that_asks_is_told_at_once_and_alone() -> None:
    broker = FakeBroker()
    acker = Acker(broker, 5.0, FakeClock(), Counters())
    acker.stored([receipt(1), receipt(1, "n2"), receipt(2, prompt=True), receipt(3)])
    assert broker.acknowledged() == [(TOPIC, "3f2a", ((1, 3),))]


async def test_acknowledgement_without_a_connection_is_kept_and_sent_later() -> None:
    broker, clock = FakeBroker(), FakeClock()
    acker = Acker(broker, 5.0, clock, Counters())
    running = asyncio.create_task(acker.run())
    broker.connected = False
    acker.stored([receipt(1, prompt=True)])
    await clock.advance(20)
    broker.connected = True
    acker.stored([receipt(2)])
    await clock.advance(6)
    running.cancel()
    assert broker.acknowledged() == [(TOPIC, "3f2a", ((1, 2),))]


async def test_acknowledgement_that_broke_off_is_sent_again() -> None:
    broker, clock, counters = FakeBroker(), FakeClock(), Counters()
    acker = Acker(broker, 5.0, clock, counters)
    broker.taking = False
    acker.stored([receipt(1, prompt=True)])
    broker.waiting[0].set_exception(NotConnectedError("went away"))
    await settle()
    broker.taking = True
    await acker.flush(1)
    await settle()
    assert [ranges for _, _, ranges in broker.acknowledged()] == [((1, 1),), ((1, 1),)]
    assert counters.acks == 1


async def test_flush_waits_for_the_broker_but_not_for_ever() -> None:
    broker = FakeBroker()
    broker.taking = False
    acker = Acker(broker, 5.0, FakeClock(), Counters())
    acker.stored([receipt(1)])
    await acker.flush(0.01)
    assert len(broker.published) == 1


async def test_flush_without_a_connection_ends_though_nothing_can_be_sent() -> None:
    broker = FakeBroker()
    broker.connected = False
    acker = Acker(broker, 5.0, FakeClock(), Counters())
    acker.stored([receipt(1), receipt(1, "n2")])
    await acker.flush(0.01)
    broker.connected = True
    await acker.flush(1)
    assert len(broker.acknowledged()) == 2


async def test_fleet_that_is_due_at_once_leaves_the_loop_to_others_between() -> None:
    broker, clock = FakeBroker(), FakeClock()
    acker = Acker(broker, 5.0, clock, Counters())
    acker.stored([receipt(1, f"n{number}") for number in range(2000)])
    clock.pass_time(6)
    running, seen = asyncio.create_task(acker.run()), []
    while len(broker.published) < 2000:
        await asyncio.sleep(0)
        seen.append(len(broker.published))
    running.cancel()
    assert len({one for one in seen if 0 < one < 2000}) >= 10

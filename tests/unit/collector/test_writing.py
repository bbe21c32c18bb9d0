"""Into the store: what it never takes is found in few writes, and no status is overtaken by an older one."""

import asyncio
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.making import message, sample, status
from tests.contract.memory_store import MemoryStore
from tests.fakes import FakeClock, settle
from tests.unit.collector.fake_broker import received, telemetry
from thermogate.collector.checking import Checked, check
from thermogate.collector.config import CollectorSettings
from thermogate.collector.counters import Counters
from thermogate.collector.store.base import Batch
from thermogate.collector.writing import Writer
from thermogate.core.clock import SystemClock
from thermogate.core.errors import RejectedError, StoreError
from thermogate.core.wire import encode, node_topic


class FussyStore(MemoryStore):
    """Refuses a batch with any of the `bad` payloads; stores the rest of it when it `takes_the_rest`.

    A write waits for `gates`, one each, first one first.
    """

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.bad: set[bytes] = set()
        self.takes_the_rest = False
        self.writes = 0
        self.gates: list[asyncio.Event] = []

    async def write(self, batch: Batch) -> None:
        self.writes += 1
        if self.gates:
            await self.gates.pop(0).wait()
        if self.bad.isdisjoint(batch.telemetry):
            await super().write(batch)
            return
        if self.takes_the_rest:
            await super().write(Batch(telemetry=tuple(p for p in batch.telemetry if p not in self.bad)))
        raise RejectedError("bad", stored=self.takes_the_rest)


def writer(store: MemoryStore) -> Writer:
    return Writer(store, Counters(), CollectorSettings(retry_min_s=1), FakeClock())


def items(count: int) -> list[Checked]:
    """A message each of five nodes in turn."""
    return [
        check(telemetry(message(sample(n, node=f"n{n % 5}"), seq=n), node=f"n{n % 5}")) for n in range(count)
    ]


def a_status(text: str, node: str = "n1") -> Checked:
    return check(received(node_topic(node, "status"), encode(status(node, text=text))))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 200), st.sets(st.integers(0, 199), max_size=6), st.booleans())
async def test_exactly_what_the_store_never_takes_is_refused_in_few_writes(
    count: int, places: set[int], takes_the_rest: bool
) -> None:
    store, sent = FussyStore(), items(count)
    bad = [sent[place] for place in places if place < count]
    store.bad = {item.message.payload for item in bad}
    store.takes_the_rest = takes_the_rest
    written = await writer(store).write(sent)
    assert {item.message.payload for item, _ in written.refused} == store.bad
    assert {reason for _, reason in written.refused} <= {"bad"}
    taken = [item.message.payload for one in written.taken for item in one.items]
    assert sorted(taken + [item.message.payload for item in bad]) == sorted(i.message.payload for i in sent)
    stored = {payload for batch in store.batches for payload in batch.telemetry}
    assert stored == {item.message.payload for item in sent} - store.bad
    assert store.writes <= 1 + 2 * len(bad) * max(1, math.ceil(math.log2(count)))


async def test_one_bad_line_among_a_thousand_messages_costs_twenty_writes() -> None:
    store, sent = FussyStore(), items(1000)
    store.bad = {sent[617].message.payload}
    await writer(store).write(sent)
    assert store.writes <= 21


async def test_neighbours_of_one_node_that_are_all_bad_are_found_together() -> None:
    store, sent = FussyStore(), items(1000)
    bad = [item for item in sent if item.receipt is not None and item.receipt.node == "n3"][:50]
    store.bad = {item.message.payload for item in bad}
    written = await writer(store).write(sent)
    assert len(written.refused) == 50
    assert store.writes <= 2 * 50 + 20


async def test_statuses_keep_their_order_when_their_batch_is_split() -> None:
    store, bad = FussyStore(), items(1)[0]
    store.bad = {bad.message.payload}
    statuses = [a_status(str(n), f"n{n % 2}") for n in range(6)]
    await writer(store).write([*statuses[:3], bad, *statuses[3:]])
    assert [(one.node, one.text) for one in await store.statuses()] == [("n0", "4"), ("n1", "5")]


async def test_newer_status_waits_for_the_older_while_samples_do_not() -> None:
    store = FussyStore()
    older = asyncio.Event()
    store.gates = [older]
    made = writer(store)
    one = asyncio.create_task(made.write([a_status("older")]))
    await settle()
    two = asyncio.create_task(made.write([a_status("newer"), *items(3)]))
    three = asyncio.create_task(made.write([a_status("newest")]))
    await settle()
    assert [len(batch.telemetry) for batch in store.batches] == [3]
    older.set()
    await asyncio.gather(one, two, three)
    assert [batch.statuses[0].text for batch in store.batches[1:]] == ["older", "newer", "newest"]


async def test_newer_status_waits_also_while_the_store_fails() -> None:
    store, clock = FussyStore(), FakeClock()
    store.fail = [StoreError("down")]
    made = Writer(store, Counters(), CollectorSettings(retry_min_s=1), clock)
    writes = [asyncio.create_task(made.write([a_status(text)])) for text in ("older", "newer")]
    await settle()
    assert store.batches == []
    await clock.advance(2)
    await asyncio.gather(*writes)
    assert [batch.statuses[0].text for batch in store.batches] == ["older", "newer"]


async def test_newer_status_waits_for_an_older_one_that_is_only_about_to_wait() -> None:
    store, first = FussyStore(), asyncio.Event()
    store.gates = [first]
    made = writer(store)
    one = asyncio.create_task(made.write([a_status("first")]))
    await settle()
    two = asyncio.create_task(made.write([a_status("older")]))
    first.set()
    three = asyncio.create_task(made.write([a_status("newer")]))
    await asyncio.gather(one, two, three)
    assert [batch.statuses[0].text for batch in store.batches] == ["first", "older", "newer"]


async def test_store_that_does_not_answer_and_one_that_fails_are_told() -> None:
    store, clock, hanging = FussyStore(), FakeClock(), asyncio.Event()
    store.gates = [hanging]
    made = Writer(store, Counters(), CollectorSettings(retry_min_s=1), clock)
    writing = asyncio.create_task(made.write(items(1)))
    await clock.advance(40)
    assert made.problem == ""
    await clock.advance(20)
    assert made.problem == "the store has not answered for 60 s"
    hanging.set()
    await writing
    assert made.problem == ""
    store.fail = [StoreError("down")] * 3
    writing = asyncio.create_task(made.write(items(1)))
    await clock.advance(1)
    assert "does not take samples" in made.problem
    await clock.advance(60)
    await writing
    assert made.problem == ""

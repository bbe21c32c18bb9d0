"""A store that answers before it is durable: nodes hear of what it can no longer lose, and of no more."""

import asyncio
from pathlib import Path

import pytest

from tests.contract.making import NOW_NS, decision, event, message, sample, status
from tests.contract.memory_store import MemoryStore
from tests.fakes import FakeClock, settle
from tests.unit.collector.fake_broker import FakeBroker, event_message, received, telemetry
from thermogate.collector.acks import Acker
from thermogate.collector.config import CollectorSettings
from thermogate.collector.counters import Counters
from thermogate.collector.ingest import Ingest
from thermogate.collector.quarantine import Quarantine
from thermogate.collector.store.base import Batch, Settling
from thermogate.core.clock import SystemClock
from thermogate.core.mqtt import Message
from thermogate.core.wire import encode, gate_topic, node_topic


class UnsettledStore(MemoryStore):
    """Takes everything; the test says when, and whether, it is durable."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.settling: list[Settling] = []

    async def write(self, batch: Batch) -> Settling:  # type: ignore[override]
        await super().write(batch)
        self.settling.append(asyncio.get_running_loop().create_future())
        return self.settling[-1]


class Bench:
    """A running Ingest between a fake broker and a store that settles late."""

    def __init__(self, folder: Path) -> None:
        self.broker, self.store, self.counters = FakeBroker(), UnsettledStore(), Counters()
        clock, given = FakeClock(NOW_NS), CollectorSettings(gather_s=0)
        self.acker = Acker(self.broker, given.ack_interval_s, clock, self.counters)
        quarantine = Quarantine(folder / "quarantine", 10**6, clock)
        self.ingest = Ingest(self.broker, self.store, self.acker, quarantine, self.counters, given, clock)

    async def deliver(self, *messages: Message) -> Settling:
        """What tells whether these are durable, once the store has taken them."""
        before = len(self.store.settling)
        self.broker.deliver(*messages)
        while len(self.store.settling) == before:
            await asyncio.sleep(0.001)
        await settle()
        return self.store.settling[-1]

    async def acknowledged(self) -> list[tuple[tuple[int, int], ...]]:
        await self.acker.flush(1)
        return [ranges for _, _, ranges in self.broker.acknowledged()]


@pytest.fixture
async def bench(tmp_path: Path):
    made, stop = Bench(tmp_path), asyncio.Event()
    running = asyncio.create_task(made.ingest.run(stop))
    yield made
    stop.set()
    await asyncio.wait_for(running, 5)


def numbered(seq: int) -> Message:
    return telemetry(message(sample(100 - seq), seq=seq))


def a_status(text: str) -> Message:
    return received(node_topic("n1", "status"), encode(status(text=text)))


async def test_broker_is_acknowledged_when_it_is_taken_and_the_node_when_it_is_durable(bench: Bench) -> None:
    settling = await bench.deliver(numbered(1), numbered(2))
    assert len(bench.broker.acked) == 2
    assert await bench.acknowledged() == []
    settling.set_result(True)
    await settle()
    assert await bench.acknowledged() == [((1, 2),)]
    assert bench.counters.unsettled == 0


async def test_later_batch_may_be_durable_before_an_earlier_one(bench: Bench) -> None:
    first = await bench.deliver(numbered(1))
    second = await bench.deliver(numbered(2))
    second.set_result(True)
    await settle()
    assert await bench.acknowledged() == [((2, 2),)]
    first.set_result(True)
    await settle()
    assert await bench.acknowledged() == [((2, 2),), ((1, 1),)]


async def test_what_was_lost_with_the_store_is_never_acknowledged(bench: Bench) -> None:
    settling = await bench.deliver(numbered(1))
    settling.set_result(False)
    await settle()
    assert await bench.acknowledged() == []
    assert len(bench.store.batches) == 1, "its spool sends it again"
    assert bench.counters.unsettled == 1


async def test_what_has_no_spool_is_written_again(bench: Bench) -> None:
    settling = await bench.deliver(
        numbered(1),
        a_status("hello"),
        received(gate_topic("node", "n1"), encode(decision(1))),
        event_message(event()),
        event_message(event(spool="3f2a", seq=2)),
    )
    settling.set_result(False)
    await settle()
    [_, again] = bench.store.batches
    assert again.telemetry == ()
    assert [one.text for one in again.statuses] == ["hello"]
    assert again.decisions == (decision(1),)
    assert [one.seq for one in again.events] == [0]
    bench.store.settling[-1].set_result(False)  # and the store died again
    await settle()
    assert len(bench.store.batches) == 3
    bench.store.settling[-1].set_result(True)
    await settle()
    assert len(bench.store.batches) == 3
    assert await bench.acknowledged() == []


async def test_status_is_not_written_again_over_a_newer_one(bench: Bench) -> None:
    older = await bench.deliver(a_status("older"))
    newer = await bench.deliver(a_status("newer"))
    older.set_result(False)
    await settle()
    assert len(bench.store.batches) == 2
    newer.set_result(False)
    await settle()
    assert [batch.statuses[0].text for batch in bench.store.batches] == ["older", "newer", "newer"]


async def test_store_that_closes_before_it_is_durable_acknowledges_nothing(bench: Bench) -> None:
    settling = await bench.deliver(numbered(1), a_status("hello"))
    settling.cancel()
    await settle()
    assert await bench.acknowledged() == []
    assert len(bench.store.batches) == 1

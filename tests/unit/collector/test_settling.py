"""A store that answers before it is durable: nodes hear of what it can no longer lose, and of no more."""

import asyncio
import contextlib
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
from thermogate.core.errors import RejectedError
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


async def test_crash_is_told_once_with_all_that_it_may_have_cost(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for seq in range(1, 31):
        await bench.deliver(numbered(seq))
    await bench.deliver(a_status("hello"))
    for one in bench.store.settling:
        one.set_result(False)
    await settle()
    told = [record.getMessage() for record in caplog.records if "crash" in record.getMessage()]
    assert len(told) == 1
    assert "31 messages" in told[0]
    assert bench.counters.unsettled == 31


async def test_status_that_is_overtaken_before_it_is_written_again_stays_overtaken(bench: Bench) -> None:
    older = await bench.deliver(a_status("older"))
    older.set_result(False)
    newer = await bench.deliver(a_status("newer"))
    await settle()
    assert bench.store.batches[-1].statuses[0].text == "newer"
    newer.set_result(True)


async def test_what_is_refused_when_it_is_written_again_is_set_aside(bench: Bench, tmp_path: Path) -> None:
    settling = await bench.deliver(event_message(event()))
    bench.store.fail = [RejectedError("no more of these", stored=False)]
    settling.set_result(False)
    async with asyncio.timeout(10):
        while not bench.counters.quarantined:
            await asyncio.sleep(0.001)
    assert "no more of these" in next((tmp_path / "quarantine").glob("*.jsonl")).read_text()


async def test_store_that_dies_while_the_collector_is_stopped_raises_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Bench(tmp_path)
    running = asyncio.create_task(made.ingest.run(asyncio.Event()))
    settling = await made.deliver(a_status("hello"))
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    settling.set_result(False)
    await settle()
    assert [record for record in caplog.records if record.name == "asyncio"] == []

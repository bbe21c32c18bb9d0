"""From the broker to the store: nothing lost, nothing stored that is not sound, nothing that blocks."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.making import NOW_NS, decision, event, message, sample, status, stored
from tests.contract.memory_store import MemoryStore
from tests.fakes import FakeClock, settle
from tests.unit.collector.fake_broker import FakeBroker, event_message, received, telemetry
from thermogate.collector.acks import Acker
from thermogate.collector.config import CollectorSettings
from thermogate.collector.counters import Counters
from thermogate.collector.ingest import Ingest
from thermogate.collector.quarantine import Quarantine
from thermogate.collector.store.base import Batch, ThrottledError
from thermogate.core.clock import SystemClock
from thermogate.core.errors import RejectedError, StoreError
from thermogate.core.mqtt import Message
from thermogate.core.wire import encode, gate_topic, node_topic

ACKS = node_topic("n1", "ack")


class GatedStore(MemoryStore):
    """Writes only while `open` is set, and never a payload that holds `poison`."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.open = asyncio.Event()
        self.open.set()
        self.poison = b"poison_w"
        self.takes_the_rest = False
        self.begun: list[int] = []

    async def write(self, batch: Batch) -> None:
        self.begun.append(len(batch.telemetry))
        await self.open.wait()
        sound = tuple(payload for payload in batch.telemetry if self.poison not in payload)
        if sound == batch.telemetry:
            await super().write(batch)
            return
        if self.takes_the_rest:
            await super().write(Batch(telemetry=sound))
        raise RejectedError("poison_w is refused", stored=self.takes_the_rest)


class Bench:
    """An Ingest with fakes on every side."""

    def __init__(self, folder: Path, *, batch: int = 100, gather_s: float = 0) -> None:
        given = CollectorSettings(batch=batch, gather_s=gather_s, retry_min_s=1, retry_max_s=8)
        self.folder = folder
        self.broker = FakeBroker()
        self.store = GatedStore()
        self.clock = FakeClock(NOW_NS)
        self.counters = Counters()
        self.acker = Acker(self.broker, given.ack_interval_s, self.clock, self.counters)
        quarantine = Quarantine(folder / "quarantine", 10**6, self.clock)
        self.ingest = Ingest(
            self.broker, self.store, self.acker, quarantine, self.counters, given, self.clock
        )

    async def acknowledged(self) -> list[tuple[str, str, tuple[tuple[int, int], ...]]]:
        await self.acker.flush(1)
        return self.broker.acknowledged()

    def refused(self) -> list[tuple[str, str]]:
        """(topic, reason) of everything in quarantine."""
        lines = [
            line
            for file in sorted((self.folder / "quarantine").glob("*"))
            for line in file.read_text().splitlines()
        ]
        return [(entry["topic"], entry["reason"]) for entry in map(json.loads, lines)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def numbered(seq: int, **fields: float) -> Message:
    return telemetry(message(sample(100 - seq, **fields), seq=seq))


# stored, then acknowledged


async def test_every_kind_of_message_is_stored_in_one_batch(bench: Bench) -> None:
    messages = [
        numbered(1),
        event_message(event(spool="3f2a", seq=2)),
        received(node_topic("n1", "status"), encode(status()), retained=True),
        received(gate_topic("node", "n1"), encode(decision(1)), retained=True),
    ]
    await bench.ingest.take(messages)
    [batch] = bench.store.batches
    assert batch.telemetry == (messages[0].payload,)
    assert batch.statuses == (status(),)
    assert batch.decisions == (decision(1),)
    assert [one.seq for one in batch.events] == [2]
    assert bench.broker.acked == messages
    assert await bench.acknowledged() == [(ACKS, "3f2a", ((1, 2),))]
    counted = {name: count for name, count in bench.counters.as_dict().items() if count}
    assert counted == {
        "messages": 4,
        "samples": 1,
        "events": 1,
        "statuses": 1,
        "decisions": 1,
        "batches": 1,
        "acks": 1,
    }


async def test_nothing_is_acknowledged_before_the_store_has_it(bench: Bench) -> None:
    bench.store.open.clear()
    taking = asyncio.create_task(bench.ingest.take([numbered(1)]))
    await settle()
    assert bench.broker.acked == []
    assert await bench.acknowledged() == []
    bench.store.open.set()
    await taking
    assert len(bench.broker.acked) == 1
    assert await bench.acknowledged() == [(ACKS, "3f2a", ((1, 1),))]


async def test_what_comes_during_a_write_is_the_next_batch_and_is_not_waited_for(bench: Bench) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(bench.ingest.run(stop))
    bench.store.open.clear()
    bench.broker.deliver(numbered(1))
    await settle()
    bench.broker.deliver(*map(numbered, range(2, 7)))
    await settle()
    bench.store.open.set()
    await settle()
    assert [len(batch.telemetry) for batch in bench.store.batches] == [1, 5]
    stop.set()
    await running


async def test_second_write_begins_beside_the_first_only_with_a_whole_batch(tmp_path: Path) -> None:
    bench, stop = Bench(tmp_path, batch=3), asyncio.Event()
    running = asyncio.create_task(bench.ingest.run(stop))
    bench.store.open.clear()
    bench.broker.deliver(numbered(1))
    await settle()
    bench.broker.deliver(numbered(2), numbered(3))
    await settle()
    assert bench.store.begun == [1]
    bench.broker.deliver(numbered(4), numbered(5))
    await settle()
    assert bench.store.begun == [1, 3]
    bench.broker.deliver(*map(numbered, range(6, 12)))
    await settle()
    assert bench.store.begun == [1, 3], "two are enough"
    bench.store.open.set()
    stop.set()
    await asyncio.wait_for(running, 5)
    assert bench.store.begun[:3] == [1, 3, 3]
    assert len(await stored(bench.store)) == 11


async def test_writes_of_less_than_a_batch_keep_their_distance_and_the_first_waits_for_nothing(
    tmp_path: Path,
) -> None:
    bench, stop = Bench(tmp_path, batch=3, gather_s=0.05), asyncio.Event()
    running = asyncio.create_task(bench.ingest.run(stop))
    bench.broker.deliver(numbered(1))
    await settle()
    assert bench.store.begun == [1]
    bench.broker.deliver(numbered(2), numbered(3))
    await settle()
    assert bench.store.begun == [1]
    await bench.clock.advance(0.06)
    assert bench.store.begun == [1, 2]
    bench.broker.deliver(*map(numbered, range(4, 8)))
    await settle()
    assert bench.store.begun == [1, 2, 3], "a whole batch waits for nothing"
    stop.set()
    await asyncio.wait_for(running, 5)
    assert bench.store.begun == [1, 2, 3, 1]


async def test_broker_is_acknowledged_in_the_order_of_arrival_whichever_write_ends_first(
    tmp_path: Path,
) -> None:
    bench, stop = Bench(tmp_path, batch=2), asyncio.Event()
    bench.store.fail = [StoreError("the first write fails")]
    messages = [*map(numbered, range(3)), telemetry(b"rubbish"), *map(numbered, range(4, 9))]
    running = asyncio.create_task(bench.ingest.run(stop))
    bench.broker.deliver(*messages)
    while len(bench.store.batches) < 2:
        await asyncio.sleep(0.001)
    assert bench.broker.acked == []
    await bench.clock.advance(10)
    while len(bench.broker.acked) < len(messages):
        await asyncio.sleep(0.001)
    assert bench.broker.acked == messages
    stop.set()
    await asyncio.wait_for(running, 5)


async def test_batch_is_never_larger_than_its_setting(tmp_path: Path) -> None:
    bench, stop = Bench(tmp_path, batch=2), asyncio.Event()
    bench.broker.deliver(*map(numbered, range(5)))
    stop.set()
    await bench.ingest.run(stop)
    assert [len(batch.telemetry) for batch in bench.store.batches] == [2, 2, 1]


async def test_stop_ends_it_when_everything_that_had_come_is_stored(bench: Bench) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(bench.ingest.run(stop))
    await settle()
    stop.set()
    await settle()
    bench.broker.deliver(*map(numbered, range(5)))  # was on its way
    await asyncio.wait_for(running, 5)
    assert len(await stored(bench.store)) == 5


async def test_empty_payload_that_clears_a_retained_topic_is_ignored(bench: Bench) -> None:
    await bench.ingest.take([received(gate_topic("node", "n1"), b"")])
    assert len(bench.broker.acked) == 1
    assert bench.refused() == []
    assert bench.store.batches == []


# messages that cannot be stored


async def test_bad_message_is_set_aside_with_its_reason_and_the_others_are_stored(bench: Bench) -> None:
    bad = telemetry(message(sample(), seq=7) + b"rubbish\n")
    await bench.ingest.take([numbered(1), bad, numbered(2)])
    assert len(await stored(bench.store)) == 2
    assert bench.refused() == [(bad.topic, "line 3 is not telemetry of node n1: b'rubbish\\n'")]
    assert len(bench.broker.acked) == 3
    assert await bench.acknowledged() == [(ACKS, "3f2a", ((1, 2), (7, 7)))], "its node need not send it again"
    assert bench.counters.quarantined == 1


async def test_message_that_cannot_be_set_aside_stays_with_its_node_and_blocks_nobody(bench: Bench) -> None:
    (bench.folder / "quarantine").write_text("")
    bad = telemetry(message(sample(), seq=7) + b"rubbish\n")
    await bench.ingest.take([bad, numbered(1)])
    assert len(bench.broker.acked) == 2
    assert await bench.acknowledged() == [(ACKS, "3f2a", ((1, 1),))]
    assert bench.counters.quarantine_errors == 1


async def test_flood_of_bad_messages_is_logged_once_a_minute(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        await bench.ingest.take([received("thermogate/v1/node/n1/telemetry", b"rubbish")] * 2)
        bench.clock.pass_time(2)
    assert [record.getMessage()[:42] for record in caplog.records] == [
        "2 messages refused, the last: thermogate/v"
    ] * 2
    assert bench.counters.quarantined == 100


TOPICS = [node_topic("n1", leaf) for leaf in ("telemetry", "event", "status", "ack")]
BYTES = st.binary() | st.sampled_from([message(sample()), encode(event()), encode(status())]).flatmap(
    lambda sound: st.tuples(st.integers(0, len(sound)), st.binary(max_size=8)).map(
        lambda cut: sound[: cut[0]] + cut[1] + sound[cut[0] + 1 :]
    )
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([*TOPICS, gate_topic("node", "n1"), "a/b"]), BYTES), min_size=1))
async def test_whatever_comes_only_sound_messages_are_stored_and_all_are_acknowledged(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[tuple[str, bytes]]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("bench"))
    messages = [received(topic, payload) for topic, payload in payloads]
    await bench.ingest.take([*messages, numbered(1)])
    assert len(bench.broker.acked) == len(messages) + 1
    assert bench.counters.messages == sum(1 for one in messages if one.payload) + 1
    assert all(point.node == "n1" for point in await stored(bench.store))
    taken = bench.counters
    whole = taken.quarantined + taken.events + taken.statuses + taken.decisions
    assert whole + sum(len(batch.telemetry) for batch in bench.store.batches) == taken.messages


# a store that fails


async def test_store_that_fails_and_recovers_loses_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench.store.fail = [StoreError("disk full")] * 5
    taking = asyncio.create_task(bench.ingest.take([numbered(1), numbered(2)]))
    await bench.clock.advance(3)
    assert bench.broker.acked == []
    assert await bench.acknowledged() == []
    await bench.clock.advance(60)
    await taking
    assert len(await stored(bench.store)) == 2
    assert await bench.acknowledged() == [(ACKS, "3f2a", ((1, 2),))]
    assert bench.counters.store_errors == 5
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "the store does not take samples, which stay with their nodes: disk full"
    assert said[1].startswith("the store takes samples again after ")
    assert len(said) == 2


async def test_waits_between_attempts_double_up_to_their_bound_with_jitter(bench: Bench) -> None:
    bench.store.fail = [StoreError("down")] * 50
    taking = asyncio.create_task(bench.ingest.take([numbered(1)]))
    await bench.clock.advance(100)
    assert 4 + (100 - 15) / 8 - 1 <= bench.counters.store_errors <= 4 + 2 * (100 - 7.5) / 8 + 1
    taking.cancel()


async def test_store_that_asks_to_be_left_alone_is(bench: Bench) -> None:
    bench.store.fail = [ThrottledError("busy", retry_after_s=30)]
    taking = asyncio.create_task(bench.ingest.take([numbered(1)]))
    await bench.clock.advance(29)
    assert not taking.done()
    await bench.clock.advance(2)
    await taking


@pytest.mark.parametrize("takes_the_rest", [False, True])
async def test_message_that_the_store_never_takes_is_found_and_set_aside_alone(
    bench: Bench, takes_the_rest: bool
) -> None:
    bench.store.takes_the_rest = takes_the_rest
    await bench.ingest.take([numbered(1), numbered(2, poison_w=1), numbered(3), event_message(event())])
    assert len(await stored(bench.store)) == 2
    assert bench.store.event_list == [event()]
    assert bench.refused() == [(node_topic("n1", "telemetry"), "poison_w is refused")]
    assert len(bench.broker.acked) == 4
    assert await bench.acknowledged() == [(ACKS, "3f2a", ((1, 3),))]


async def test_store_that_fails_while_the_bad_message_is_looked_for_loses_nothing(bench: Bench) -> None:
    await bench.store.write(Batch())
    taking = asyncio.create_task(bench.ingest.take([numbered(1), numbered(2, poison_w=1), numbered(3)]))
    bench.store.fail = [StoreError("down")] * 2
    await bench.clock.advance(30)
    await taking
    assert len(await stored(bench.store)) == 2
    assert bench.counters.quarantined == 1
    assert bench.counters.store_errors == 2

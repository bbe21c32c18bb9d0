"""Quarantined messages are tried again: stored once, or kept with the new reason, whatever is killed when."""

import asyncio
from pathlib import Path

import pytest

from tests.contract.making import NOW_NS, decision, message, sample, status, stored
from tests.contract.memory_store import MemoryStore
from tests.fakes import FakeClock
from tests.unit.collector.fake_broker import received, telemetry
from thermogate.collector import quarantine as module
from thermogate.collector.config import CollectorSettings, LimitSettings
from thermogate.collector.counters import Counters
from thermogate.collector.guard import Guard
from thermogate.collector.quarantine import AGAIN, Quarantine, Refused
from thermogate.collector.requeue import Requeue, ask
from thermogate.collector.store.base import Batch
from thermogate.collector.writing import Writer
from thermogate.core.clock import SystemClock
from thermogate.core.errors import RejectedError, StoreError
from thermogate.core.wire import encode, gate_topic, node_topic


class Settling(MemoryStore):
    """Answers before it is durable: `settle` tells how each write ends; it never takes `poison`."""

    def __init__(self):
        super().__init__(SystemClock())
        self.settle = None
        self.poison = b"poison_w"

    async def write(self, batch: Batch):
        if any(self.poison in payload for payload in batch.telemetry):
            raise RejectedError("poison_w is refused", stored=False)
        await super().write(batch)
        if self.settle is None:
            return None
        settling = asyncio.get_running_loop().create_future()
        settling.set_result(self.settle)
        return settling


class Bench:
    def __init__(self, folder: Path, **limits):
        self.folder = folder / "quarantine"
        self.store = Settling()
        self.quarantine = Quarantine(self.folder, 10**6, FakeClock(NOW_NS))
        self.restart(**limits)

    def restart(self, **limits):
        settings = CollectorSettings(retry_min_s=1, limits=LimitSettings(**limits))
        self.counters = Counters()
        self.clock = FakeClock(NOW_NS)
        self.requeue = Requeue(
            self.folder,
            self.store,
            Writer(self.store, self.counters, settings, self.clock),
            Guard(settings, self.clock),
            self.counters,
            self.clock,
        )

    def put(self, *messages, reason="was bad"):
        assert all(self.quarantine.put([Refused(one, reason) for one in messages]))

    async def work(self):
        """One round of the actor, after which it waits; its clock is new."""
        running = asyncio.create_task(self.requeue.run())
        async with asyncio.timeout(20):
            while not self.clock._sleepers:
                await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def reasons(self):
        return [entry.reason for file in module.files(self.folder) for entry in module.entries(file)]

    def waiting(self):
        return module.files(self.folder / AGAIN)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def numbered(seq, **fields):
    return telemetry(message(sample(seq, **fields), seq=seq))


async def test_what_is_sound_now_is_stored_and_the_rest_stays_with_its_new_reason(bench):
    bench.put(numbered(1), numbered(2, poison_w=1), received("a/b", b"\xff"), numbered(3))
    asked = ask(bench.folder)
    assert (asked.messages, len(asked.files)) == (4, 1)
    await bench.work()
    assert len(await stored(bench.store)) == 2
    assert sorted(bench.reasons()) == [
        "poison_w is refused",
        "topic 'a/b' is not thermogate/v1/FAMILY/NAME/LEAF",
    ]
    assert bench.waiting() == []
    assert bench.counters.requeued == 2


async def test_all_of_it_stored_leaves_no_file(bench):
    bench.put(*map(numbered, range(1, 250)))
    ask(bench.folder)
    await bench.work()
    assert len(await stored(bench.store)) == 249
    assert (bench.reasons(), bench.waiting()) == ([], [])


async def test_limits_of_the_collector_hold_for_it_too(tmp_path):
    bench = Bench(tmp_path, max_extra_fields=0)
    bench.put(numbered(1, new_w=1))
    ask(bench.folder)
    await bench.work()
    assert "max_extra_fields" in bench.reasons()[0]
    bench.restart(max_extra_fields=1)
    ask(bench.folder)
    await bench.work()
    assert len(await stored(bench.store)) == 1


async def test_a_status_does_not_replace_a_newer_one(bench):
    await bench.store.write(Batch(statuses=(status(age_s=10),)))
    bench.put(
        received(node_topic("n1", "status"), encode(status(age_s=20))),
        received(node_topic("n2", "status"), encode(status("n2", age_s=20))),
        received(gate_topic("node", "n1"), encode(decision(1))),
    )
    ask(bench.folder)
    await bench.work()
    assert sorted((one.node, one.time_ns) for one in await bench.store.statuses()) == [
        ("n1", status(age_s=10).time_ns),
        ("n2", status(age_s=20).time_ns),
    ]
    assert await bench.store.decisions(start_ns=0, end_ns=2**62) == [decision(1)]


async def test_a_store_that_loses_it_in_a_crash_gets_it_again(bench):
    bench.put(numbered(1))
    ask(bench.folder)
    bench.store.settle = False
    await bench.work()
    assert len(bench.waiting()) == 1
    bench.store.settle = True
    bench.restart()
    await bench.work()
    assert (bench.waiting(), bench.reasons()) == ([], [])


async def test_killed_half_way_it_begins_again_and_nothing_is_lost_or_double(bench):
    bench.put(*(numbered(seq, **({"poison_w": 1} if seq % 50 == 0 else {})) for seq in range(1, 301)))
    ask(bench.folder)
    bench.store.fail = [StoreError("down")] * 1000
    running = asyncio.create_task(bench.requeue.run())
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(bench.waiting()) == 1
    bench.store.fail = []
    bench.restart()
    await bench.work()
    assert len(await stored(bench.store)) == 294
    assert bench.reasons() == ["poison_w is refused"] * 6


async def test_killed_between_bringing_back_and_the_end_it_is_not_tried_a_third_time(bench):
    """The file is in both places then, and another message has been refused since."""
    bench.put(numbered(1, poison_w=1))
    [file] = ask(bench.folder).files
    copy = file.read_bytes()
    await bench.work()
    file.write_bytes(copy)
    bench.put(numbered(2), reason="since")
    bench.restart()
    await bench.work()
    assert bench.waiting() == []
    assert bench.reasons() == ["poison_w is refused", "since"]


async def test_asking_twice_while_it_is_tried_loses_nothing(bench):
    bench.put(numbered(1, poison_w=1))
    ask(bench.folder)
    bench.put(numbered(2))
    asked = ask(bench.folder)
    assert asked.messages == 1
    await bench.work()
    assert len(await stored(bench.store)) == 1
    assert bench.reasons() == ["poison_w is refused"]


def test_an_empty_quarantine_has_nothing_to_ask_for(tmp_path):
    assert ask(tmp_path / "none").files == []


def test_a_link_that_the_collectors_user_has_put_there_leads_root_nowhere(bench, tmp_path):
    bench.put(numbered(1))
    (tmp_path / "elsewhere").mkdir()
    (bench.folder / AGAIN).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        ask(bench.folder)
    secret = tmp_path / "secret"
    secret.write_text('{"time_ns":1,"topic":"t","reason":"r"}\n')
    link = bench.folder / f"{1:020}.jsonl"
    link.symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        list(module.entries(link))

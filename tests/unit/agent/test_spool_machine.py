"""The spool against a model, through kills, power cuts, damage, full disks and jumping clocks."""

import os
import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.agent.faulty_disk import FaultyDisk, Killed, MachineClock, flip_bit, held, kill, segments
from thermogate.agent.spool import RecordKind, Spool, SpoolSettings

SETTINGS = SpoolSettings(max_bytes=256 * 1024, max_age_s=100 * 365 * 86400.0, memory_records=5)
PAYLOADS = st.one_of(
    st.binary(max_size=40), st.integers(1000, 9000).map(lambda size: random.Random(size).randbytes(size))
)
Message = tuple[RecordKind, bytes]


class SpoolMachine(RuleBasedStateMachine):
    """`unstored` is what must be in the spool, `stored` what may come back after a crash."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="spool"))
        self.clock = MachineClock()
        self.disk = FaultyDisk()
        self.unstored: dict[int, Message] = {}
        self.stored: dict[int, Message] = {}
        self.flips = 0
        self.used: set[tuple[str, int]] = set()
        self.open()

    def teardown(self) -> None:
        kill(self.spool)
        shutil.rmtree(self.directory)

    # -- what the agent does --

    @rule(kind=st.sampled_from(["telemetry", "event"]), payloads=st.lists(PAYLOADS, min_size=1, max_size=30))
    def append(self, kind: RecordKind, payloads: list[bytes]) -> None:
        for payload in payloads:
            held = self.held()
            dropped = self.spool.dropped
            seq = self.spool.append(kind, payload)
            assert seq > max(self.unstored, default=0)
            assert (self.spool.id, seq) not in self.used
            self.used.add((self.spool.id, seq))
            self.unstored[seq] = kind, payload
            if self.spool.dropped > dropped:
                self.take_out_dropped(self.spool.dropped - dropped, held)

    @rule(
        newest=st.booleans(),
        spans=st.lists(st.tuples(st.integers(-3, 20), st.integers(0, 20)), min_size=1, max_size=4),
    )
    def acknowledge(self, newest: bool, spans: list[tuple[int, int]]) -> None:
        """Ranges about the oldest records, as of a backlog, or about the newest, as of live samples."""
        begin = self.spool.newest_seq - 10 if newest else (self.spool.oldest_seq or 0)
        ranges = [(begin + first, begin + first + length) for first, length in spans]
        self.spool.ack("another", ranges)
        self.spool.ack(self.spool.id, ranges)
        for first, last in ranges:
            for seq in [seq for seq in self.unstored if first <= seq <= last]:
                self.stored[seq] = self.unstored.pop(seq)

    @rule(after=st.integers(0, 60), limit=st.integers(0, 20))
    def read_some(self, after: int, limit: int) -> None:
        after += (self.spool.oldest_seq or 0) - 5
        expected = [seq for seq in sorted(self.unstored) if seq > after][:limit]
        assert [record.seq for record in self.spool.read(after, limit)] == expected

    # -- what happens to it --

    @rule()
    def close_and_open(self) -> None:
        same_id = self.spool._identity.kept
        may_lose = self.held() if self.disk.in_trouble else set()
        self.spool.close()
        self.reopen(same_id=same_id, may_lose=may_lose)

    @rule()
    def kill_process(self) -> None:
        same_id, held = self.spool._identity.kept, self.held()
        kill(self.spool)
        self.reopen(same_id=same_id, may_lose=held)

    @rule(calls=st.integers(0, 6), torn=st.floats(0, 1), payload=PAYLOADS)
    def kill_process_while_it_appends(self, calls: int, torn: float, payload: bytes) -> None:
        before, lost, seq = self.held(), self.spool.lost, self.spool.newest_seq + 1
        self.disk.kill_in(calls, torn)
        try:
            self.spool.append("telemetry", payload)
            self.used.add((self.spool.id, seq))
        except Killed:
            pass
        self.unstored[seq] = "telemetry", payload
        self.disk.kill_in(None)
        kill(self.spool)
        gone = self.reopen(same_id=None, may_lose=set(self.unstored)) - before - {seq}
        left = sorted(set(self.unstored) - before - {seq})
        assert not gone or max(gone) < min(left, default=seq)  # the oldest, to keep to the bounds
        # what a full disk cannot be told is found again, and so is damage that was told and came back
        assert self.spool.lost <= lost + 1 + self.flips

    @rule(calls=st.integers(0, 4), torn=st.floats(0, 1), length=st.integers(0, 20))
    def kill_process_while_it_acknowledges(self, calls: int, torn: float, length: int) -> None:
        before, lost = self.held(), self.spool.lost
        first = self.spool.oldest_seq or 0
        self.disk.kill_in(calls, torn)
        try:
            self.spool.ack(self.spool.id, [(first, first + length)])
        except Killed:
            pass
        self.disk.kill_in(None)
        kill(self.spool)
        acknowledged = {seq for seq in self.unstored if first <= seq <= first + length}
        self.stored |= {seq: self.unstored[seq] for seq in acknowledged}
        self.reopen(same_id=None, may_lose=before | acknowledged)
        assert self.spool.lost <= lost + 1 + self.flips

    @rule(cut=st.integers(0, 20_000))
    def cut_power(self, cut: int) -> None:
        """The newest file loses its end, and the machine boots."""
        held = self.held()
        kill(self.spool)
        files = segments(self.directory)
        first = 0
        if files:
            first = int(files[-1].stem)
            os.truncate(files[-1], max(0, files[-1].stat().st_size - cut))
        self.disk.boots += 1
        self.clock.reboot()
        gone = self.reopen(same_id=False, may_lose={seq for seq in self.unstored if seq >= first} | held)
        assert all(seq > max(self.unstored, default=0) for seq in gone)

    @rule(garbage=st.binary(min_size=1, max_size=200))
    def tear_last_write(self, garbage: bytes) -> None:
        same_id, held = self.spool._identity.kept, self.held()
        kill(self.spool)
        files = segments(self.directory)
        if files:
            with files[-1].open("ab") as file:
                file.write(garbage)
        self.reopen(same_id=same_id and not files, may_lose=held)
        assert self.spool.lost >= bool(files)

    @rule(data=st.data())
    @precondition(lambda self: bool(segments(self.directory)) and not self.held())
    def flip_one_bit(self, data: st.DataObject) -> None:
        kill(self.spool)
        files = [path for path in segments(self.directory) if path.stat().st_size]
        if not files:
            self.reopen(same_id=None, may_lose=set())
            return
        path = data.draw(st.sampled_from(files))
        self.flips += 1
        flip_bit(path, data.draw(st.integers(0, path.stat().st_size * 8 - 1)))
        gone = self.reopen(same_id=None, may_lose=set(self.unstored))
        assert len(gone) <= 1
        assert self.spool.lost >= len(gone)

    @rule(read_only=st.booleans(), inodes=st.booleans())
    def spoil_disk(self, read_only: bool, inodes: bool) -> None:
        self.disk.read_only, self.disk.inodes = read_only, inodes

    @rule(room=st.integers(0, 8000))
    def fill_disk(self, room: int) -> None:
        self.disk.room = room

    @rule()
    def free_disk(self) -> None:
        self.disk.room = None

    @rule(jump_s=st.floats(-1e9, 1e9))
    def set_clock(self, jump_s: float) -> None:
        self.clock.jump_utc(jump_s)

    @rule(passed_s=st.floats(0, 1e6))
    def wait(self, passed_s: float) -> None:
        self.clock.pass_time(passed_s)

    # -- what always holds --

    @invariant()
    def every_record_that_should_be_there_is_there(self) -> None:
        records = self.spool.read(0, 1_000_000)
        assert {record.seq: (record.kind, record.payload) for record in records} == self.unstored
        assert [record.seq for record in records] == sorted(self.unstored)
        assert self.spool.depth == len(self.unstored)
        assert self.spool.oldest_seq == min(self.unstored, default=None)

    @invariant()
    def the_bounds_hold(self) -> None:
        assert self.spool.bytes == sum(path.stat().st_size for path in segments(self.directory))
        assert self.spool.bytes <= SETTINGS.max_bytes
        assert len(self.held()) <= SETTINGS.memory_records
        assert bool(self.held()) <= bool(self.spool.problem)

    # -- helpers --

    def held(self) -> set[int]:
        return held(self.spool)

    def open(self) -> None:
        self.spool = Spool(self.directory, SETTINGS, self.clock, self.disk)
        self.spool.open()

    def reopen(self, *, same_id: bool | None, may_lose: set[int]) -> set[int]:
        """Open again; what is gone must be in `may_lose`, what is back must have been stored."""
        old_id = self.spool.id
        self.open()
        if same_id is False:
            assert self.spool.id != old_id
        elif same_id and segments(self.directory) and not self.spool.lost:
            assert self.spool.id == old_id
        there = {r.seq: (r.kind, r.payload) for r in self.spool.read(0, 1_000_000)}
        gone = set(self.unstored) - set(there)
        assert gone <= may_lose
        known = self.stored | self.unstored
        assert all(known[seq] == message for seq, message in there.items())
        self.unstored = there
        return gone

    def take_out_dropped(self, count: int, held: set[int]) -> None:
        """The oldest of all go first, or the oldest in memory while the disk is full."""
        there = {record.seq for record in self.spool.read(0, 1_000_000)}
        gone = sorted(set(self.unstored) - there)
        assert gone in (sorted(self.unstored)[:count], sorted(held & set(self.unstored))[:count])
        for seq in gone:
            del self.unstored[seq]


SpoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_spool_keeps_its_promises_through_everything = SpoolMachine.TestCase

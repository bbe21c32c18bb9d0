"""kill -9 between any two system calls of a spool's life, and in the middle of any write."""

import random
from pathlib import Path

import pytest

from tests.unit.agent.faulty_disk import FaultyDisk, Killed, MachineClock, held, kill
from thermogate.agent.spool import Spool, SpoolSettings

SETTINGS = SpoolSettings(max_bytes=256 * 1024, memory_records=3)

Step = int | list[tuple[int, int]] | tuple[str, int | None]
"""A record of so many bytes, an acknowledgement, or how much room the disk has from now on."""

LIFE: list[Step] = [
    *[200] * 4,
    [(2, 3)],
    *[3000] * 3,  # a segment holds one of these
    [(1, 1), (5, 6)],
    ("room", 100),  # the next write is cut
    *[300] * 2,
    [(4, 4), (8, 8)],
    ("room", 0),
    *[300] * 5,  # more than memory holds
    ("room", None),
    *[300] * 2,
    *[30_000] * 10,  # more than the spool may hold
    [(20, 24)],
    300,
]
DROPPING = LIFE.index(30_000)


NOISE = random.Random(7).randbytes(30_000)


class Witness:
    """What a spool has promised: which records it has on disk, and which numbers are taken."""

    def __init__(self) -> None:
        self.on_disk: dict[int, bytes] = {}
        self.in_memory: dict[int, bytes] = {}
        self.numbers: set[tuple[str, int]] = set()

    def look(self, spool: Spool) -> None:
        there = {record.seq: record.payload for record in spool.read(0, 1000)}
        self.in_memory = {seq: there.pop(seq) for seq in held(spool) & there.keys()}
        self.on_disk = there
        self.numbers |= {(spool.id, seq) for seq in there.keys() | self.in_memory.keys()}


def do(step: Step, spool: Spool, disk: FaultyDisk) -> None:
    if isinstance(step, int):
        spool.append("telemetry", NOISE[:step])
    elif isinstance(step, list):
        spool.ack(spool.id, step)
    else:
        disk.room = step[1]


def live(directory: Path, disk: FaultyDisk, clock: MachineClock, witness: Witness) -> int | None:
    """Which step it was killed in; None when it was not killed. A kill at the start is one before step 0."""
    spool = Spool(directory, SETTINGS, clock, disk)
    number = -1
    try:
        spool.open()
        for step in LIFE:
            number += 1
            do(step, spool, disk)
            witness.look(spool)
    except Killed:
        kill(spool)
        return number
    spool.close()
    return None


def may_go(number: int, witness: Witness, gone: list[int]) -> list[int]:
    """What the step that was killed may have taken out of the files already."""
    step = LIFE[number]
    if isinstance(step, list):
        return [seq for seq in gone if any(first <= seq <= last for first, last in step)]
    return sorted(witness.on_disk)[: len(gone)] if number >= DROPPING else []


def check_a_life_killed_in(directory: Path, call: int, torn: float) -> None:
    disk, clock, witness = FaultyDisk(), MachineClock(), Witness()
    disk.kill_in(call, torn)
    number = live(directory, disk, clock, witness)
    assert number is not None
    with Spool(directory, SETTINGS, clock, FaultyDisk()) as again:
        there = {record.seq: record.payload for record in again.read(0, 1000)}
        gone = sorted(witness.on_disk.keys() - there.keys())
        assert gone == may_go(number, witness, gone)
        promised = witness.on_disk | witness.in_memory
        assert all(promised[seq] == payload for seq, payload in there.items() if seq in promised)
        assert again.lost <= 1  # at most what was being written
        assert (again.id, again.append("telemetry", b"after")) not in witness.numbers


@pytest.mark.parametrize("torn", [0.0, 0.6])
def test_a_kill_in_any_call_loses_no_record_and_repeats_no_number(tmp_path: Path, torn: float) -> None:
    whole = FaultyDisk()
    assert live(tmp_path / "whole", whole, MachineClock(), Witness()) is None
    assert whole.calls > 80
    for call in range(1, whole.calls):  # before the first, which makes the folder, there is nothing
        check_a_life_killed_in(tmp_path / str(call), call, torn)


@pytest.mark.parametrize("torn", [0.0, 0.6])
def test_a_kill_in_any_call_of_a_start_loses_no_record(tmp_path: Path, torn: float) -> None:
    for call in range(8):
        disk, clock = FaultyDisk(), MachineClock()
        with Spool(tmp_path / str(call), SETTINGS, clock, disk) as spool:
            for _ in range(3):
                spool.append("telemetry", b"kept")
        disk.boots += 1  # so that it takes a new name
        disk.kill_in(call, torn)
        begin_and_die(Spool(tmp_path / str(call), SETTINGS, clock, disk))
        with Spool(tmp_path / str(call), SETTINGS, clock, FaultyDisk()) as again:
            assert {record.seq for record in again.read(0, 1000)} >= {1, 2, 3}
            assert again.lost <= 1


def begin_and_die(spool: Spool) -> None:
    try:
        spool.open()
        while True:
            spool.append("telemetry", b"new")
    except Killed:
        kill(spool)

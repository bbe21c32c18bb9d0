"""What the spool does about bounds, bad disks and clocks, and what it says of them."""

import logging
import random
import shutil
from pathlib import Path

import msgspec
import pytest

from tests.unit.agent.conftest import SMALL, OpenSpool
from tests.unit.agent.faulty_disk import FaultyDisk, MachineClock, flip_bit, kill, segments
from thermogate.agent.spool import Drop, Spool
from thermogate.core.clock import NS

DAY_S = 86400.0
YEAR_S = 365 * DAY_S


def seqs(spool: Spool) -> list[int]:
    return [record.seq for record in spool.read(0, 1_000_000)]


def fill(spool: Spool, clock: MachineClock, count: int, size: int = 9000, every_s: float = 1.0) -> None:
    for number in range(count):
        spool.append("telemetry", random.Random(number).randbytes(size))
        clock.pass_time(every_s)


# -- what is dropped, and how old the rest is --


def test_what_was_dropped_for_its_size_is_told_once_with_its_range(
    opened: OpenSpool, machine_clock: MachineClock
) -> None:
    spool = opened()
    began_ns = machine_clock.utc_ns()
    fill(spool, machine_clock, 40)
    count = spool.dropped
    assert seqs(spool)[0] == count + 1
    assert spool.take_dropped() == [Drop("size", count, began_ns, began_ns + (count - 1) * NS)]
    assert spool.take_dropped() == []
    fill(spool, machine_clock, 1)
    assert spool.take_dropped() == [Drop("size", 1, began_ns + count * NS, began_ns + count * NS)]


def test_the_range_of_what_is_dropped_is_known_after_a_restart(
    opened: OpenSpool, machine_clock: MachineClock
) -> None:
    spool = opened()
    began_ns = machine_clock.utc_ns()
    fill(spool, machine_clock, 20)
    spool.close()
    machine_clock.pass_time(100)
    spool = opened()
    fill(spool, machine_clock, 20)
    (drop,) = spool.take_dropped()
    assert (drop.from_ns, drop.to_ns) == (began_ns, began_ns + (drop.records - 1) * NS)


def test_what_was_dropped_for_its_age_is_told_as_such(opened: OpenSpool, machine_clock: MachineClock) -> None:
    spool = opened(msgspec.structs.replace(SMALL, max_age_s=DAY_S))
    fill(spool, machine_clock, 40, size=10, every_s=3600.0)
    (drop,) = spool.take_dropped()
    assert (drop.why, drop.records) == ("age", spool.dropped)
    assert spool.dropped > 10


def test_what_memory_dropped_is_told_as_such(
    opened: OpenSpool, machine_clock: MachineClock, disk: FaultyDisk
) -> None:
    spool = opened(msgspec.structs.replace(SMALL, memory_records=5))
    began_ns = machine_clock.utc_ns()
    disk.room = 0
    fill(spool, machine_clock, 8)
    assert spool.take_dropped() == [Drop("memory", 3, began_ns, began_ns + 2 * NS)]


def test_the_age_of_the_oldest_unstored_record_is_told(
    opened: OpenSpool, machine_clock: MachineClock, disk: FaultyDisk
) -> None:
    spool = opened()
    assert spool.oldest_s is None
    fill(spool, machine_clock, 30, size=1000)
    assert spool.oldest_s == 30
    spool.ack(spool.id, [(1, 4), (6, 6)])
    assert [spool.oldest_s, spool.oldest_s] == [26, 26]
    spool.ack(spool.id, [(5, 5)])
    machine_clock.jump_utc(YEAR_S)
    assert spool.oldest_s == 24
    kill(spool)
    machine_clock.pass_time(10)
    spool = opened()
    assert spool.oldest_s == 34
    disk.room = 0
    fill(spool, machine_clock, 2)
    spool.ack(spool.id, [(1, 30)])
    assert spool.oldest_s == 2
    spool.ack(spool.id, [(1, 32)])
    assert spool.oldest_s is None


def test_asking_for_the_age_does_not_lose_the_reader_its_place(
    opened: OpenSpool, machine_clock: MachineClock
) -> None:
    spool = opened()
    fill(spool, machine_clock, 30, size=1000)
    read = []
    while records := spool.read(read[-1] if read else 0, 4):
        read += [record.seq for record in records]
        assert spool.oldest_s == 30
    assert read == list(range(1, 31))


# -- clocks --


@pytest.mark.parametrize("jump_s", [-YEAR_S, YEAR_S])
def test_a_clock_set_wrong_at_a_reboot_neither_empties_the_spool_nor_keeps_it_for_ever(
    opened: OpenSpool, machine_clock: MachineClock, disk: FaultyDisk, jump_s: float
) -> None:
    settings = msgspec.structs.replace(SMALL, max_age_s=7 * DAY_S)
    spool = opened(settings)
    fill(spool, machine_clock, 5, every_s=DAY_S)
    spool.close()
    disk.boots += 1
    machine_clock.reboot()
    machine_clock.jump_utc(jump_s)
    spool = opened(settings)
    fill(spool, machine_clock, 1)
    assert (seqs(spool), spool.dropped) == ([1, 2, 3, 4, 5, 6], 0)
    machine_clock.jump_utc(-jump_s)
    fill(spool, machine_clock, 6, every_s=DAY_S)
    assert seqs(spool)[0] in (2, 3, 4, 5)
    machine_clock.pass_time(8 * DAY_S)
    fill(spool, machine_clock, 1)
    assert seqs(spool)[0] >= 12


def test_records_age_over_many_reboots_with_a_clock_that_always_begins_anew(
    opened: OpenSpool, machine_clock: MachineClock, disk: FaultyDisk
) -> None:
    settings = msgspec.structs.replace(SMALL, max_age_s=7 * DAY_S)
    begin_ns = machine_clock.utc_ns()
    for _ in range(12):
        spool = opened(settings)
        fill(spool, machine_clock, 10, size=10, every_s=DAY_S / 10)
        last = spool
        spool.close()
        disk.boots += 1
        machine_clock.reboot()
        machine_clock.jump_utc((begin_ns - machine_clock.utc_ns()) / NS)
    assert last.dropped > 0
    assert 70 <= opened(settings).depth <= 90


@pytest.mark.parametrize("jump_s", [-YEAR_S, YEAR_S])
def test_a_clock_that_is_set_while_the_agent_runs_drops_nothing(
    opened: OpenSpool, machine_clock: MachineClock, disk: FaultyDisk, jump_s: float
) -> None:
    settings = msgspec.structs.replace(SMALL, max_age_s=7 * DAY_S)
    spool = opened(settings)
    fill(spool, machine_clock, 3)
    machine_clock.jump_utc(jump_s)
    fill(spool, machine_clock, 3)
    spool.close()
    disk.boots += 1
    machine_clock.reboot()
    spool = opened(settings)
    fill(spool, machine_clock, 1)
    assert (seqs(spool), spool.dropped) == ([1, 2, 3, 4, 5, 6, 7], 0)


def test_records_whose_beginning_is_damaged_are_as_old_as_what_follows_them(
    opened: OpenSpool, machine_clock: MachineClock, disk: FaultyDisk, tmp_path: Path
) -> None:
    spool = opened()
    fill(spool, machine_clock, 3)
    kill(spool)
    flip_bit(segments(tmp_path / "spool")[0], 8 * 40)
    disk.boots += 1
    machine_clock.pass_time(50)
    machine_clock.reboot()
    spool = opened()
    assert seqs(spool) == [1, 2, 3]
    assert spool.oldest_s == pytest.approx(52)


# -- disks --


def test_a_disk_that_becomes_read_only_is_said_once_and_what_is_measured_waits_in_memory(
    opened: OpenSpool, machine_clock: MachineClock, disk: FaultyDisk, caplog: pytest.LogCaptureFixture
) -> None:
    spool = opened()
    fill(spool, machine_clock, 2)
    disk.read_only = True
    fill(spool, machine_clock, 4)
    spool.ack(spool.id, [(1, 1), (4, 4)])
    assert "takes no records, which wait in memory: Read-only file system" in spool.problem
    assert len(caplog.records) == 1
    assert seqs(spool) == [2, 3, 5, 6]
    disk.read_only = False
    with caplog.at_level(logging.INFO):
        fill(spool, machine_clock, 2, every_s=60)
    assert spool.problem == ""
    assert [message.split()[2:] for message in caplog.messages[1:]] == [["takes", "records", "again"]]
    kill(spool)
    assert set(seqs(opened())) >= {2, 3, 5, 6, 7, 8}


def test_a_disk_that_is_nearly_full_is_said_once_though_it_takes_a_record_now_and_then(
    opened: OpenSpool, machine_clock: MachineClock, disk: FaultyDisk, caplog: pytest.LogCaptureFixture
) -> None:
    spool = opened()
    with caplog.at_level(logging.INFO):
        for room in (0, None) * 20:
            disk.room = room
            fill(spool, machine_clock, 1, size=10)
    assert len(caplog.records) == 1


def test_an_agent_starts_on_a_disk_that_has_become_read_only(
    opened: OpenSpool, machine_clock: MachineClock, disk: FaultyDisk
) -> None:
    spool = opened()
    fill(spool, machine_clock, 2)
    kill(spool)
    disk.read_only = True
    spool = opened()
    fill(spool, machine_clock, 2)
    assert seqs(spool) == [1, 2, 3, 4]
    assert "Read-only" in spool.problem


def test_numbers_given_out_on_a_read_only_disk_do_not_come_again_under_the_same_id(
    opened: OpenSpool, machine_clock: MachineClock, disk: FaultyDisk
) -> None:
    spool = opened()
    fill(spool, machine_clock, 1)
    disk.read_only = True
    fill(spool, machine_clock, 1)
    number_2 = spool.id, 2
    kill(spool)
    disk.read_only = False
    again = opened()
    assert (again.id, again.append("telemetry", b"another 2")) != number_2


def test_a_disk_without_inodes_takes_records_as_long_as_a_file_has_room(
    opened: OpenSpool, machine_clock: MachineClock, disk: FaultyDisk, caplog: pytest.LogCaptureFixture
) -> None:
    spool = opened()
    fill(spool, machine_clock, 1, size=10)
    disk.inodes = False
    fill(spool, machine_clock, 2, size=1000)
    assert spool.problem == ""
    fill(spool, machine_clock, 5, size=1000)
    assert "No space left on device" in spool.problem
    assert len(caplog.records) == 1
    disk.inodes = True
    fill(spool, machine_clock, 1)
    kill(spool)
    assert seqs(opened()) == list(range(1, 10))


def test_what_comes_after_somebody_deleted_the_folder_is_on_disk_again(
    opened: OpenSpool, machine_clock: MachineClock, tmp_path: Path
) -> None:
    spool = opened()
    fill(spool, machine_clock, 3, size=10)
    shutil.rmtree(tmp_path / "spool")
    fill(spool, machine_clock, 2, size=10)
    assert seqs(spool) == [4, 5]
    assert (spool.lost, spool.depth, spool.problem) == (3, 2, "")
    assert len(segments(tmp_path / "spool")) == 1
    kill(spool)
    again = opened()
    assert (seqs(again), again.append("telemetry", b"")) == ([4, 5], 6)


def test_a_folder_that_is_a_file_now_is_a_problem_that_is_said_and_no_end(
    opened: OpenSpool, machine_clock: MachineClock, tmp_path: Path
) -> None:
    spool = opened()
    fill(spool, machine_clock, 1, size=10)
    shutil.rmtree(tmp_path / "spool")
    (tmp_path / "spool").touch()
    fill(spool, machine_clock, 2, size=10)
    assert "File exists" in spool.problem
    (tmp_path / "spool").unlink()
    fill(spool, machine_clock, 1, size=10)
    assert (spool.problem, seqs(spool)) == ("", [2, 3, 4])


def test_files_that_cannot_be_deleted_are_a_problem_that_is_said_once(
    opened: OpenSpool, machine_clock: MachineClock, disk: FaultyDisk, caplog: pytest.LogCaptureFixture
) -> None:
    spool = opened()
    fill(spool, machine_clock, 20)
    disk.sticky = True
    fill(spool, machine_clock, 20)
    assert "cannot delete what is stored or too old: Operation not permitted" in spool.problem
    assert len(caplog.records) == 1
    assert seqs(spool) == list(range(1, 41))
    disk.sticky = False
    fill(spool, machine_clock, 1)
    assert spool.problem == ""
    assert spool.bytes <= SMALL.max_bytes

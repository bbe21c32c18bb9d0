"""What the spool promises, one fact at a time."""

import os
import random
from pathlib import Path

import msgspec
import pytest

from tests.unit.agent.conftest import SMALL
from tests.unit.agent.conftest import OpenSpool as Open
from tests.unit.agent.faulty_disk import FaultyDisk, MachineClock, flip_bit, kill, segments
from thermogate.agent.spool import Record, Spool
from thermogate.core.errors import UnavailableError

DAY_S = 86400.0


@pytest.fixture
def clock(machine_clock: MachineClock) -> MachineClock:
    return machine_clock


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def seqs(spool: Spool) -> list[int]:
    return [record.seq for record in spool.read(0, 1_000_000)]


def test_records_come_back_in_order_with_their_kinds(opened: Open) -> None:
    spool = opened()
    assert [spool.append("telemetry", b"one"), spool.append("event", b"two")] == [1, 2]
    assert spool.read(0, 10) == [Record(1, "telemetry", b"one"), Record(2, "event", b"two")]
    assert (spool.depth, spool.oldest_seq, spool.newest_seq) == (2, 1, 2)


def test_reading_begins_after_a_number_and_ends_at_a_limit(opened: Open) -> None:
    spool = opened()
    for _ in range(9):
        spool.append("telemetry", b"x")
    assert [record.seq for record in spool.read(3, 4)] == [4, 5, 6, 7]
    assert [record.seq for record in spool.read(7, 4)] == [8, 9]
    assert spool.read(9, 4) == spool.read(3, 0) == []


def test_an_empty_spool_has_nothing(opened: Open) -> None:
    spool = opened()
    assert (spool.depth, spool.bytes, spool.oldest_seq, spool.newest_seq) == (0, 0, None, 0)
    assert spool.read(0, 10) == []


def test_stored_records_are_not_read_again(opened: Open) -> None:
    spool = opened()
    for _ in range(9):
        spool.append("telemetry", b"x")
    spool.ack(spool.id, [(2, 4), (8, 8), (4, 5)])
    assert seqs(spool) == [1, 6, 7, 9]
    assert (spool.depth, spool.oldest_seq) == (4, 1)


def test_the_acknowledgement_of_another_spool_is_not_ours(opened: Open) -> None:
    spool = opened()
    spool.append("telemetry", b"x")
    spool.ack("00000000", [(1, 1)])
    assert spool.depth == 1


def test_an_acknowledgement_of_what_was_never_sent_is_cut_to_what_was(opened: Open) -> None:
    spool = opened()
    spool.append("telemetry", b"x")
    spool.ack(spool.id, [(-5, 10**15), (7, 3)])
    assert spool.depth == 0
    spool.append("telemetry", b"y")
    assert seqs(spool) == [2]


def test_records_and_acknowledgements_are_there_after_a_restart(opened: Open) -> None:
    spool = opened()
    for number in range(5):
        spool.append("telemetry", str(number).encode())
    spool.ack(spool.id, [(2, 3)])
    spool.close()
    again = opened()
    assert again.read(0, 9) == [Record(seq, "telemetry", str(seq - 1).encode()) for seq in (1, 4, 5)]
    assert (again.id, again.append("event", b"")) == (spool.id, 6)


def test_records_and_acknowledgements_are_there_after_a_kill(opened: Open) -> None:
    spool = opened()
    for _ in range(5):
        spool.append("telemetry", b"x")
    spool.ack(spool.id, [(1, 2)])
    kill(spool)
    again = opened()
    assert (again.id, again.lost, seqs(again)) == (spool.id, 0, [3, 4, 5])


def test_numbers_go_on_when_everything_was_stored_and_deleted(opened: Open) -> None:
    spool = opened()
    last = [spool.append("telemetry", noise(3000)) for _ in range(40)][-1]
    spool.ack(spool.id, [(1, last)])
    assert spool.bytes < 8192
    for _ in range(3):
        kill(spool)
        spool = opened()
        assert (spool.depth, spool.newest_seq) == (0, last)
    assert spool.append("telemetry", b"x") == last + 1


def test_whole_segments_are_deleted_once_stored_in_any_order(opened: Open, tmp_path: Path) -> None:
    spool = opened()
    for _ in range(40):
        spool.append("telemetry", noise(3000))
    before = len(segments(tmp_path / "spool"))
    spool.ack(spool.id, [(20, 40)])
    middle = len(segments(tmp_path / "spool"))
    spool.ack(spool.id, [(1, 19)])
    assert before >= 20
    assert middle == before - 20
    assert len(segments(tmp_path / "spool")) == 1


def test_a_lost_directory_begins_a_new_spool(opened: Open, tmp_path: Path) -> None:
    spool = opened()
    spool.append("telemetry", b"x")
    spool.close()
    for path in (tmp_path / "spool").iterdir():
        path.unlink()
    again = opened()
    assert again.id != spool.id
    assert again.append("telemetry", b"y") == 1


def test_lost_segments_begin_a_new_spool_even_if_its_identity_is_left(opened: Open, tmp_path: Path) -> None:
    spool = opened()
    spool.append("telemetry", b"x")
    spool.close()
    for path in segments(tmp_path / "spool"):
        path.unlink()
    assert opened().id != spool.id


def test_a_reboot_begins_a_new_spool_since_the_disk_may_lack_the_last_records(
    opened: Open, disk: FaultyDisk
) -> None:
    spool = opened()
    spool.append("telemetry", b"x")
    spool.close()
    disk.boots += 1
    again = opened()
    assert again.id != spool.id
    assert (seqs(again), again.append("telemetry", b"y")) == ([1], 2)


def test_a_cut_last_record_is_dropped_and_counted_and_its_number_not_used_again_under_the_same_id(
    opened: Open, tmp_path: Path
) -> None:
    spool = opened()
    for _ in range(3):
        spool.append("telemetry", noise(100))
    kill(spool)
    newest = segments(tmp_path / "spool")[-1]
    os.truncate(newest, newest.stat().st_size - 1)
    again = opened()
    assert (again.lost, seqs(again)) == (1, [1, 2])
    assert again.id != spool.id


def test_damage_in_the_middle_costs_one_record_and_is_counted(opened: Open, tmp_path: Path) -> None:
    spool = opened()
    for _ in range(5):
        spool.append("telemetry", noise(100))
    kill(spool)
    flip_bit(segments(tmp_path / "spool")[0], 8 * 400)
    again = opened()
    assert (again.lost, len(seqs(again)), again.depth) == (1, 4, 4)
    assert again.id == spool.id


def test_the_number_of_a_damaged_record_that_is_known_to_be_stored_is_not_used_again(
    opened: Open, tmp_path: Path
) -> None:
    spool = opened()
    for _ in range(3):
        spool.append("telemetry", noise(100))
    spool.ack(spool.id, [(3, 3)])
    kill(spool)
    flip_bit(segments(tmp_path / "spool")[0], 8 * 500)
    again = opened()
    assert (seqs(again), again.newest_seq) == ([1, 2], 3)


def test_damage_is_counted_at_one_start_only(opened: Open, tmp_path: Path) -> None:
    spool = opened()
    spool.append("telemetry", noise(100))
    kill(spool)
    with segments(tmp_path / "spool")[0].open("ab") as file:
        file.write(b"torn")
    second = opened()
    kill(second)
    third = opened()
    assert (second.lost, third.lost) == (1, 0)
    assert (spool.id != second.id, second.id == third.id) == (True, True)


def test_damage_while_running_is_counted_and_does_not_keep_the_spool_from_emptying(
    opened: Open, tmp_path: Path
) -> None:
    spool = opened()
    for _ in range(5):
        spool.append("telemetry", noise(100))
    flip_bit(segments(tmp_path / "spool")[0], 8 * 400)
    left = seqs(spool)
    assert (len(left), spool.lost, spool.depth) == (4, 1, 4)
    spool.ack(spool.id, [(seq, seq) for seq in left])
    assert spool.depth == 0


def test_a_segment_deleted_by_somebody_is_counted_as_lost(opened: Open, tmp_path: Path) -> None:
    spool = opened()
    for _ in range(6):
        spool.append("telemetry", noise(3000))
    segments(tmp_path / "spool")[2].unlink()
    assert seqs(spool) == [1, 2, 4, 5, 6]
    assert (spool.lost, spool.depth) == (1, 5)


def test_a_directory_deleted_by_somebody_is_made_again(opened: Open, tmp_path: Path) -> None:
    spool = opened()
    spool.append("telemetry", noise(3000))
    for path in (tmp_path / "spool").iterdir():
        path.unlink()
    (tmp_path / "spool").rmdir()
    spool.append("telemetry", noise(3000))
    assert spool.problem == ""
    assert 2 in seqs(spool)


def test_the_size_is_bounded_and_the_oldest_go_first_and_are_counted(opened: Open, tmp_path: Path) -> None:
    spool = opened()
    for number in range(400):
        spool.append("telemetry", noise(2000, number))
        assert spool.bytes <= SMALL.max_bytes
    left = seqs(spool)
    assert left == list(range(401 - len(left), 401))
    assert spool.dropped == 400 - len(left)
    assert len(left) > 100
    assert sum(path.stat().st_size for path in segments(tmp_path / "spool")) == spool.bytes


def test_dropping_stored_records_drops_nothing(opened: Open) -> None:
    spool = opened()
    for number in range(400):
        spool.append("telemetry", noise(2000, number))
        if number % 10 != 9:
            spool.ack(spool.id, [(number + 1, number + 1)])
    assert spool.dropped == 0
    assert seqs(spool) == list(range(10, 401, 10))


def test_a_record_larger_than_a_segment_is_kept(opened: Open) -> None:
    spool = opened()
    payloads = [noise(64 * 1024, seed) for seed in range(3)]
    for payload in payloads:
        spool.append("telemetry", payload)
    assert [record.payload for record in spool.read(0, 9)] == payloads


def test_old_records_are_dropped_and_counted(opened: Open, clock: MachineClock) -> None:
    spool = opened(msgspec.structs.replace(SMALL, max_age_s=DAY_S))
    for _ in range(48):
        spool.append("telemetry", b"x")
        clock.pass_time(3600)
    left = seqs(spool)
    assert left == list(range(left[0], 49))
    assert 24 <= len(left) <= 25
    assert spool.dropped == 48 - len(left)


@pytest.mark.parametrize("jump_s", [-20 * 365 * DAY_S, 20 * 365 * DAY_S])
def test_a_clock_that_jumps_drops_nothing_while_the_machine_is_up(
    opened: Open, clock: MachineClock, jump_s: float
) -> None:
    spool = opened()
    spool.append("telemetry", noise(5000))
    clock.jump_utc(jump_s)
    spool.append("telemetry", noise(5000))
    spool.close()
    clock.jump_utc(-2 * jump_s)
    again = opened()
    again.append("telemetry", b"x")
    assert (seqs(again), again.dropped) == ([1, 2, 3], 0)


def test_age_goes_on_while_the_agent_and_the_machine_are_off(
    opened: Open, clock: MachineClock, disk: FaultyDisk
) -> None:
    settings = msgspec.structs.replace(SMALL, max_age_s=DAY_S)
    spool = opened(settings)
    spool.append("telemetry", b"x")
    spool.close()
    clock.pass_time(0.6 * DAY_S)
    spool = opened(settings)
    spool.append("telemetry", b"y")
    kept = seqs(spool)
    spool.close()
    disk.boots += 1
    clock.pass_time(0.45 * DAY_S)
    clock.reboot()
    spool = opened(settings)
    spool.append("telemetry", b"z")
    assert kept == [1, 2]
    assert (seqs(spool), spool.dropped) == ([2, 3], 1)


def test_after_a_reboot_into_the_past_records_are_new_and_age_from_then(
    opened: Open, clock: MachineClock, disk: FaultyDisk
) -> None:
    settings = msgspec.structs.replace(SMALL, max_age_s=DAY_S)
    spool = opened(settings)
    spool.append("telemetry", b"x")
    spool.close()
    disk.boots += 1
    clock.reboot()
    clock.jump_utc(-40 * 365 * DAY_S)
    spool = opened(settings)
    clock.jump_utc(40 * 365 * DAY_S)
    spool.append("telemetry", b"y")
    fresh = seqs(spool)
    clock.pass_time(1.1 * DAY_S)
    spool.append("telemetry", b"z")
    assert fresh == [1, 2]
    assert 1 not in seqs(spool)


def test_on_a_full_disk_records_wait_in_memory_and_are_written_when_there_is_room(
    opened: Open, disk: FaultyDisk
) -> None:
    spool = opened()
    spool.append("telemetry", b"1")
    disk.room = 0
    assert [spool.append("telemetry", b"2"), spool.append("event", b"3")] == [2, 3]
    assert "No space left on device" in spool.problem
    assert (seqs(spool), spool.depth) == ([1, 2, 3], 3)
    disk.room = None
    spool.append("telemetry", b"4")
    assert spool.problem == ""
    kill(spool)
    assert [record.payload for record in opened().read(0, 9)] == [b"1", b"2", b"3", b"4"]


def test_a_write_that_is_cut_by_a_full_disk_leaves_no_damage(opened: Open, disk: FaultyDisk) -> None:
    spool = opened()
    spool.append("telemetry", b"1")
    disk.room = 20
    spool.append("telemetry", b"2")
    disk.room = None
    spool.append("telemetry", b"3")
    kill(spool)
    again = opened()
    assert (seqs(again), again.lost) == ([1, 2, 3], 0)


def test_memory_is_bounded_while_the_disk_is_full_and_what_is_over_is_counted(
    opened: Open, disk: FaultyDisk
) -> None:
    spool = opened(msgspec.structs.replace(SMALL, memory_records=5))
    spool.append("telemetry", b"x")
    disk.room = 0
    for _ in range(12):
        spool.append("telemetry", b"x")
    assert (spool.dropped, spool.depth) == (7, 6)
    assert seqs(spool) == [1, 9, 10, 11, 12, 13]
    assert spool.lost == 0
    disk.room = None
    spool.append("telemetry", b"x")
    spool.close()
    again = opened()
    assert again.depth == 7
    assert seqs(again) == [1, 9, 10, 11, 12, 13, 14]
    assert again.lost == 0


def test_numbers_that_were_in_memory_at_a_kill_do_not_come_again_under_the_same_id(
    opened: Open, disk: FaultyDisk
) -> None:
    spool = opened()
    spool.append("telemetry", b"1")
    disk.room = 0
    spool.append("telemetry", b"2")
    kill(spool)
    disk.room = None
    again = opened()
    assert again.append("telemetry", b"another 2") == 2
    assert again.id != spool.id


def test_numbers_stored_from_memory_do_not_come_again_under_the_same_id(
    opened: Open, disk: FaultyDisk
) -> None:
    spool = opened()
    spool.append("telemetry", b"1")
    disk.room = 0
    spool.append("telemetry", b"2")
    spool.ack(spool.id, [(2, 2)])
    spool.append("telemetry", b"3")
    kill(spool)
    assert opened().id != spool.id


def test_records_from_memory_survive_a_kill_whatever_of_them_was_stored_meanwhile(
    opened: Open, disk: FaultyDisk
) -> None:
    spool = opened()
    disk.room = 0
    for _ in range(4):
        spool.append("telemetry", b"x")
    spool.ack(spool.id, [(3, 3)])
    disk.room = None
    spool.append("telemetry", b"x")
    kill(spool)
    again = opened()
    assert set(seqs(again)) >= {1, 2, 4, 5}
    assert again.lost == 0


def test_a_disk_that_has_room_again_keeps_the_identity(opened: Open, disk: FaultyDisk) -> None:
    spool = opened()
    disk.room = 0
    spool.append("telemetry", b"1")
    disk.room = None
    spool.append("telemetry", b"2")
    kill(spool)
    assert opened().id == spool.id


def test_a_spool_opens_and_holds_on_a_disk_that_is_full_from_the_start(
    opened: Open, disk: FaultyDisk
) -> None:
    disk.room = 0
    spool = opened()
    spool.append("telemetry", b"x")
    assert seqs(spool) == [1]


def test_two_agents_do_not_share_a_spool(opened: Open, tmp_path: Path) -> None:
    opened()
    with pytest.raises(UnavailableError, match="another agent has this spool"):
        Spool(tmp_path / "spool", SMALL).open()


def test_a_directory_that_cannot_be_made_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot keep the spool here: Not a directory"):
        Spool(tmp_path / "file" / "spool", SMALL).open()


def test_records_are_synchronised_at_the_interval_that_was_set(
    opened: Open, clock: MachineClock, disk: FaultyDisk
) -> None:
    spool = opened(msgspec.structs.replace(SMALL, fsync_s=10.0))
    for _ in range(21):
        spool.append("telemetry", b"x")
        clock.pass_time(1)
    assert disk.synced == 3


def test_files_of_other_names_are_left_alone(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "notes.seg").write_text("mine", encoding="ascii")
    opened().append("telemetry", b"x")
    assert (tmp_path / "spool" / "notes.seg").exists()

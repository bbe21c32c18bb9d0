"""What `thermogate doctor` reads out of a spool, and what it makes of it."""

import os
import struct
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest

from tests.fakes import FakeClock
from thermogate.agent.spool import Spool, SpoolSettings
from thermogate.agent.spool_format import EntryKind, encode
from thermogate.cli import rundir
from thermogate.cli.checks import people, spool, spool_ask, spool_look
from thermogate.cli.checks.config import DoctorSettings
from thermogate.cli.checks.people import Access, Person, Process
from thermogate.cli.checks.spool_look import SpoolLook
from thermogate.core.clock import SystemClock
from thermogate.core.wire import format_line

LIMITS = SpoolSettings()
SETTINGS = DoctorSettings()
AGENT = Person("thermogate", 991, (991,))
WRITER = Process(4711, AGENT)


def telemetry(number, **fields):
    fields = fields or {"power_w": 600.0 + number}
    return format_line("gpu", "n17", "0", "H100", None, fields, 1_763_712_000_000_000_000 + number).encode()


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())}


def filled(folder, clock, count=10):
    box = Spool(folder, LIMITS, clock)
    box.open()
    for number in range(count):
        box.append("telemetry", telemetry(number))
        clock.pass_time(1.0)
    return box


def found(look, check, person=AGENT, limits=LIMITS):
    (finding,) = [f for f in spool.judge(look, person, limits, SETTINGS) if f.check == check]
    return finding


def test_a_spool_is_read_beside_the_agent_that_has_it_and_stays_byte_identical(tmp_path):
    clock = FakeClock()
    box = filled(tmp_path, clock)
    before = contents(tmp_path)
    look = spool_look.look(tmp_path, clock)
    assert contents(tmp_path) == before
    assert (look.records, look.unstored) == (10, 10)
    assert look.writer is not None
    assert look.writer.pid == os.getpid()
    assert (look.oldest_age_s, look.newest_age_s) == pytest.approx((10.0, 1.0))
    assert look.stored_age_s is None
    assert box.append("telemetry", telemetry(11)) == 11  # the lock is still the agent's
    box.close()
    assert spool_look.look(tmp_path, clock).writer is None


def test_the_last_acknowledgement_and_what_waits_since_are_told(tmp_path):
    clock = FakeClock()
    box = filled(tmp_path, clock)
    box.ack(box.id, [(1, 4), (6, 6)])
    clock.pass_time(90.0)
    look = spool_look.look(tmp_path, clock)
    box.close()
    assert (look.unstored, look.stored_age_s) == (5, pytest.approx(90.0))
    assert look.oldest_age_s == pytest.approx(90.0 + 10.0 - 4.0)
    finding = found(look, "spool.acknowledged")
    assert finding.state == "fail"
    assert "5 messages not yet stored" in finding.found
    assert "no collector says" in finding.cause
    assert "thermogate-collector" in finding.cure


def test_fields_that_take_turns_are_all_seen_and_the_agent_tells_of_itself(tmp_path):
    clock = FakeClock()
    box = filled(tmp_path, clock, count=3)
    box.append("telemetry", telemetry(4, temp_c=63.0))
    stats = {"spool_dropped_count": 7, "late_count": 2, "ticks_count": 99, "skipped_count": 0}
    box.append("telemetry", format_line("agent", "n17", "", "", None, stats, 1).encode())
    look = spool_look.look(tmp_path, clock)
    box.close()
    assert look.points["gpu0"].fields == {"power_w": 602.0, "temp_c": 63.0}
    dropped = found(look, "spool.dropped")
    assert (dropped.state, dropped.found) == ("warn", "7 messages dropped unstored")
    assert "ticks 99, late 2, skipped 0" in found(look, "spool.samples").found


def test_a_clock_that_was_set_shows_between_two_files(tmp_path):
    clock = FakeClock()
    filled(tmp_path, clock, count=2).close()
    clock.jump_utc(-3600.0)
    filled(tmp_path, clock, count=2).close()
    assert spool_look.look(tmp_path, clock).jumps_s == (pytest.approx(-3600.0),)


def test_half_an_entry_at_the_end_is_no_error(tmp_path):
    clock = FakeClock()
    filled(tmp_path, clock).close()
    newest = sorted(tmp_path.glob("*.seg"))[-1]
    newest.write_bytes(newest.read_bytes()[:-7])
    look = spool_look.look(tmp_path, clock)
    assert (look.hidden, look.records) == ("", 9)


def test_sound_entries_that_hold_nonsense_are_told_and_stop_nothing(tmp_path):
    with Spool(tmp_path, LIMITS) as box:
        box.append("telemetry", b"not a line of telemetry")
    finding = found(spool_look.look(tmp_path, SystemClock()), "spool.folder")
    assert finding.state == "fail"
    assert "holds what no agent has written" in finding.found


def test_a_spool_can_be_read_again_and_again_while_it_is_written_and_pruned(tmp_path):
    settings, stop = SpoolSettings(max_bytes=256 * 1024), threading.Event()

    def write():
        with Spool(tmp_path, settings) as box:
            while not stop.is_set():
                seq = box.append("telemetry", telemetry(1))
                box.ack(box.id, [(seq - 3, seq - 1)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        looks = [spool_look.look(tmp_path, SystemClock()) for _ in range(30)]
    finally:
        stop.set()
        writer.join()
    assert {look.hidden for look in looks} == {""}
    assert looks[-1].records > 0


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    look = spool_look.look(tmp_path / "spool" / "n17", SystemClock())
    assert found(look, "spool.folder").state == "n/a"
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_above_is_told(tmp_path):
    (tmp_path / "spool").write_text("")
    look = spool_look.look(tmp_path / "spool" / "n17", SystemClock())
    assert not look.exists


def healthy(**changes):
    values = {
        "folder": "/var/lib/thermogate/spool/n17",
        "access": Access("/var/lib/thermogate/spool/n17", 0o40750, 991, 991),
        "writer": WRITER,
        "free_bytes": 1 << 40,
        "free_files": 1 << 20,
        "records": 10,
        "newest_age_s": 0.5,
        "stored_age_s": 2.0,
    }
    return SpoolLook(**(values | changes))


def test_a_healthy_spool_has_no_complaint():
    assert {finding.state for finding in spool.judge(healthy(), AGENT, LIMITS, SETTINGS)} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "check", "state", "cause", "cure"),
    [
        ({"read_only": True}, "spool.folder", "fail", "mounted read-only", "remount,rw"),
        (
            {"access": Access("/x", 0o40755, 0, 0)},
            "spool.folder",
            "fail",
            "thermogate may not write there: drwxr-xr-x root",
            "chown -R thermogate:",
        ),
        (
            {"free_bytes": 200 << 20},
            "spool.room",
            "warn",
            "samples would be dropped",
            "agent.spool.max_bytes",
        ),
        ({"free_bytes": 4096}, "spool.room", "fail", "the file system is full", "df -h"),
        ({"free_files": 0}, "spool.room", "fail", "inodes", "df -i"),
        ({"newest_age_s": 60.0}, "spool.samples", "fail", "4711) spools nothing", "systemctl restart"),
        ({"newest_age_s": None}, "spool.samples", "fail", "measured nothing", "journalctl"),
        ({"writer": None}, "spool.samples", "fail", "no agent runs", "systemctl restart thermogate-agent"),
        (
            {"unstored": 500, "oldest_age_s": 500.0, "stored_age_s": None},
            "spool.acknowledged",
            "fail",
            "no collector says",
            "thermogate-collector",
        ),
        (
            {"unstored": 500, "oldest_age_s": 500.0, "stored_age_s": 500.0, "writer": None},
            "spool.acknowledged",
            "fail",
            "no agent runs",
            "systemctl restart",
        ),
    ],
)
def test_what_is_wrong_with_a_spool_has_cause_and_cure(changes, check, state, cause, cure):
    finding = found(healthy(**changes), check)
    assert finding.state == state
    assert cause in finding.cause
    assert cure in finding.cure


def test_a_spool_that_is_empty_for_hours_since_its_agent_was_stopped_is_acknowledged():
    finding = found(healthy(writer=None, stored_age_s=9000.0), "spool.acknowledged")
    assert (finding.state, finding.found) == ("ok", "last 2.5 h ago; 0 messages not yet stored")


def test_backlog_that_drains_is_no_failure():
    look = healthy(unstored=90_000, oldest_age_s=86_400.0, stored_age_s=1.0)
    assert found(look, "spool.acknowledged").state == "ok"


def test_a_spool_that_only_root_may_see_says_so():
    look = healthy(hidden="/var/lib/thermogate/spool: Permission denied", refused=True, writer=None)
    finding = found(look, "spool.folder")
    assert finding.state == "warn"
    assert finding.cure.startswith("run it again as root: sudo /")


def test_the_folder_is_named_by_what_was_asked(tmp_path):
    assert spool_look.look(Path("/nowhere/at/all"), SystemClock()).folder == "/nowhere/at/all"


# what somebody else may have put there


def left(data_dir, node, count=3):
    with Spool(data_dir / "spool" / node, LIMITS) as box:
        for number in range(count):
            box.append("telemetry", telemetry(number))
    return data_dir / "spool" / node


def bomb(folder, payload_bytes):
    """A sound entry that is small as long as nobody unpacks it."""
    (folder / f"{1:020d}.seg").write_bytes(encode(EntryKind.OPENED, 1, 1, bytes(payload_bytes)))


def test_a_spool_is_asked_for_in_a_process_of_its_own(tmp_path):
    left(tmp_path, "n17")
    left(tmp_path, "vm", count=23)
    left(tmp_path, "empty", count=0)
    left(tmp_path, "x; reboot")  # no agent has this name, and people copy what is said
    look = spool_ask.ask(tmp_path, "n17", 30.0)
    assert (look.hidden, look.records, look.others) == ("", 3, {"vm": 23})
    assert look.points["gpu0"].fields == {"power_w": 602.0}
    finding = found(look, "spool.others", person=people.myself())
    assert (finding.state, "vm: 23 messages not yet stored" in finding.found) == ("warn", True)
    assert "no agent runs as node vm" in finding.cause
    assert "agent install --node vm" in finding.cure


def test_other_spools_are_told_where_this_node_has_none_yet(tmp_path):
    left(tmp_path, "vm", count=1)
    look = spool_ask.ask(tmp_path, "n17", 30.0)
    assert not look.exists
    assert found(look, "spool.others", person=people.myself()).state == "warn"


def test_the_spool_of_another_agent_that_runs_is_nobodys_problem(tmp_path):
    left(tmp_path, "n17")
    with Spool(tmp_path / "spool" / "vm", LIMITS) as box:
        box.append("telemetry", telemetry(1))
        assert spool_ask.ask(tmp_path, "n17", 30.0).others == {}


def test_what_is_no_file_in_a_spool_is_not_waited_for(tmp_path):
    folder = left(tmp_path, "n17")
    os.mkfifo(folder / f"{8:020d}.seg")
    (folder / f"{9:020d}.seg").symlink_to("/dev/zero")
    look = spool_ask.ask(tmp_path, "n17", 30.0)
    assert (look.hidden, look.records) == ("", 3)


def test_a_file_larger_than_any_segment_is_not_read_whole(tmp_path):
    folder = left(tmp_path, "n17")
    os.truncate(next(folder.glob("*.seg")), 100 << 30)
    look = spool_ask.ask(tmp_path, "n17", 30.0)
    assert (look.hidden, look.records) == ("", 3)


def test_an_entry_that_unpacks_to_more_than_a_spool_holds_is_refused(tmp_path):
    bomb(left(tmp_path, "n17"), 64 << 20)
    finding = found(spool_ask.ask(tmp_path, "n17", 30.0), "spool.folder", person=people.myself())
    assert finding.state == "fail"
    assert "holds what no agent has written" in finding.found


def slow(folder):
    """Half of this file are heads of entries of two MiB each, of which every checksum is wrong."""
    length = 2 << 20
    head = struct.pack("<3sBI", b"\xa7TG", 2, 0) + struct.pack("<IBQQ", length, 1, 1, 1)
    (folder / f"{1:020d}.seg").write_bytes(head * (length // len(head)) + bytes(length))


def test_a_spool_that_takes_too_long_to_read_is_given_up(tmp_path):
    slow(left(tmp_path, "n17"))
    look = spool_ask.ask(tmp_path, "n17", 1.0)
    assert "no answer in time" in look.hidden


@pytest.fixture
def open_folder():
    """One that everybody may pass; pytest's own are for who runs it."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_reads_a_spool_with_the_rights_of_its_owner(open_folder):
    folder = left(open_folder, "n17")
    for part in (open_folder / "spool", folder, *folder.iterdir()):
        os.chown(part, 65534, 65534)
    look = spool_ask.ask(open_folder, "n17", 30.0)
    assert (look.hidden, look.records) == ("", 3)
    newest = sorted(folder.glob("*.seg"))[-1]
    os.chown(newest, 0, 0)
    newest.chmod(0o600)
    look = spool_ask.ask(open_folder, "n17", 30.0)
    assert (look.refused, look.records) == (True, 0)


def test_a_folder_above_that_the_agent_may_not_pass_is_the_failure(tmp_path):
    way = (
        Access("/var/lib/thermogate", 0o40750, 991, 991),
        Access("/var/lib/thermogate/spool", 0o40000, 991, 991),
    )
    finding = found(healthy(way=way), "spool.folder")
    assert finding.state == "fail"
    assert "thermogate may not pass d--------- 991:991 /var/lib/thermogate/spool" in finding.cause
    assert "chown thermogate: /var/lib/thermogate/spool" in finding.cure
    assert found(healthy(way=way[:1]), "spool.folder").state == "ok"


def test_no_size_is_proposed_that_the_setting_does_not_take():
    full = found(healthy(bytes=2452, free_bytes=0), "spool.room")
    assert "max_bytes" not in full.cure
    some = found(healthy(bytes=1 << 20, free_bytes=0), "spool.room")
    assert f"agent.spool.max_bytes below {1 << 20}" in some.cure
    least = spool._LEAST_BYTES
    assert msgspec.convert({"max_bytes": least}, SpoolSettings).max_bytes == least
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"max_bytes": least - 1}, SpoolSettings)


def test_an_announcement_is_read_only_where_it_is_a_small_file(tmp_path):
    file = tmp_path / "running.json"
    rundir.announce(tmp_path, "http://127.0.0.1:1", "mqtt://127.0.0.1:2")
    assert rundir.announced(tmp_path).broker_url == "mqtt://127.0.0.1:2"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert rundir.announced(tmp_path) is None
    file.unlink()
    file.symlink_to("/dev/zero")
    assert rundir.announced(tmp_path) is None
    file.unlink()
    os.mkfifo(file)
    assert rundir.announced(tmp_path) is None
    file.unlink()
    file.write_bytes((tmp_path / "elsewhere").read_bytes() + b" " * 4096)
    assert rundir.announced(tmp_path) is not None
    file.write_bytes(b" " * 4096 + (tmp_path / "elsewhere").read_bytes())
    assert rundir.announced(tmp_path) is None

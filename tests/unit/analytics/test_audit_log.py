import errno
import hashlib
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.signed import KEY, TRUSTED
from tests.unit.analytics.audited import entry, filled, log_at, read
from thermogate.analytics.audit import Reader, files
from thermogate.analytics.audit.records import parse
from thermogate.core.errors import UnavailableError
from thermogate.core.key_files import TrustedKey
from thermogate.core.signing import SigningKey, TrustedKeys

DAY_S = 86_400


def test_what_is_appended_is_read_as_it_was(tmp_path):
    payload, inputs = entry(1)
    with log_at(tmp_path / "audit") as log:
        log.append([(payload, inputs)])
        log.append([])
        assert log.n == 2
    records, findings, notes = read(tmp_path / "audit")
    assert findings == []
    assert notes == ["the log begins"]
    assert [record.n for record in records] == [1, 2]
    assert (records[1].decision.encode(), records[1].unpacked()) == (payload, inputs)
    assert records[1].before == records[0].hash


def test_a_restart_goes_on_with_the_chain(tmp_path):
    filled(tmp_path)
    with log_at(tmp_path) as log:
        assert log.n == 5
        log.append([entry(5)])
    records, findings, notes = read(tmp_path)
    assert (len(records), findings, notes) == (6, [], ["the log begins"])


def test_one_process_writes_at_a_time(tmp_path):
    with log_at(tmp_path), pytest.raises(UnavailableError, match="another process writes it"):
        log_at(tmp_path).open()


def test_the_log_can_be_read_while_it_is_written(tmp_path):
    with log_at(tmp_path) as log:
        log.append([entry(1)])
        assert read(tmp_path)[1] == []
        reader = Reader(tmp_path, TRUSTED)
        records = reader.records()
        next(records)
        log.append([entry(2), entry(3)])
        assert [record.n for record in records] == [2]  # as the head said when the reading began
        assert reader.findings == []
        with files.segment(tmp_path, 1).open("ab") as torn:
            torn.write(b'{"n":5,"ti')  # on its way
        assert len(read(tmp_path)[0]) == 4
        assert read(tmp_path)[1] == []
        cut = files.segment(tmp_path, 1).read_bytes()[:-400]
        files.segment(tmp_path, 1).write_bytes(cut)
        assert read(tmp_path)[1]


def test_a_folder_without_a_log_says_so(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UnavailableError, match="there is no audit log"):
            read(folder)


def test_days_and_sizes_begin_files_and_the_chain_goes_across(tmp_path):
    clock = FakeClock()
    with log_at(tmp_path, clock, segment_mb=1) as log:
        for number in range(1, 7):
            log.append([entry(number, size=500_000)])
        clock.pass_time(DAY_S)
        log.append([entry(7)])
    begins = [first for first, _ in files.segments(tmp_path)]
    assert (begins[0], len(begins), begins[-1]) == (1, 3, 8)
    records, findings, _ = read(tmp_path)
    assert ([record.n for record in records], findings) == (list(range(1, 9)), [])


def test_old_files_go_whole_and_the_rest_still_verifies(tmp_path):
    clock = FakeClock()
    with log_at(tmp_path, clock, keep_days=3) as log:
        for number in range(1, 8):
            log.append([entry(number)])
            clock.pass_time(DAY_S)
    records, findings, notes = read(tmp_path)
    assert ([record.n for record in records], findings, notes) == ([4, 5, 6, 7, 8], [], [])
    with log_at(tmp_path, clock, keep_days=3) as log:
        log.append([entry(8)])
    assert read(tmp_path)[1] == []
    files.segments(tmp_path)[0][1].unlink()
    assert "begins with record 6 by its name, and 5 is next" in read(tmp_path)[1][0]


def test_a_clock_that_leaps_takes_two_files_at_most(tmp_path):
    clock = FakeClock()
    with log_at(tmp_path, clock) as log:
        for number in range(1, 6):
            log.append([entry(number)])
            clock.pass_time(DAY_S)
        clock.jump_utc(3650 * DAY_S)
        log.append([entry(6)])
    assert len(files.segments(tmp_path)) == 4
    assert read(tmp_path)[1] == []


def test_too_much_goes_by_size(tmp_path):
    with log_at(tmp_path, segment_mb=1, keep_mb=2) as log:
        for number in range(1, 12):
            log.append([entry(number, size=600_000)])
    assert sum(file.stat().st_size for _, file in files.segments(tmp_path)) < 4 << 20
    assert read(tmp_path)[1] == []


def test_a_disk_that_is_full_takes_nothing_and_the_log_goes_on_later(tmp_path):
    """A limit of the process on the size of files stands for the full disk: it cuts a write in the middle."""

    log = log_at(tmp_path)
    log.open()
    log.append([entry(1)])
    size = files.segment(tmp_path, 1).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
        with pytest.raises(UnavailableError, match=os.strerror(errno.EFBIG)):
            log.append([entry(2), entry(3)])
        with pytest.raises(UnavailableError):
            log.append([entry(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    log.append([entry(4)])
    log.close()
    records, findings, _ = read(tmp_path)
    assert ([record.n for record in records], findings) == ([1, 2, 3], [])
    assert records[-1].gate_decision.seq == 4


def test_a_torn_last_line_is_moved_aside_and_noted(tmp_path):
    filled(tmp_path)
    _, segment = files.segments(tmp_path)[0]
    with segment.open("ab") as opened:
        opened.write(b'{"n":6,"time')
    assert "names record 5" in read(tmp_path)[1][-1]
    with log_at(tmp_path) as log:
        log.append([entry(9)])
    records, findings, notes = read(tmp_path)
    assert (findings, len(records)) == ([], 7)
    assert notes[-1] == "12 bytes that were never acknowledged, of a crash, were moved to torn-1"
    assert (tmp_path / "torn-1").read_bytes() == b'{"n":6,"time'


def test_decisions_that_the_head_had_no_time_for_stay(tmp_path):
    """A crash between the records and their head."""
    filled(tmp_path)
    head = (tmp_path / files.HEAD).read_bytes()
    with log_at(tmp_path) as log:
        log.append([entry(5), entry(6)])
    (tmp_path / files.HEAD).write_bytes(head)
    with log_at(tmp_path) as log:
        assert log.n == 8
    records, findings, notes = read(tmp_path)
    assert (findings, records[-2].gate_decision.seq) == ([], 6)
    assert notes[-1] == "records 6 to 7 were written, and the head did not say so yet"


def test_what_a_stranger_adds_beyond_the_head_does_not_stay(tmp_path):
    filled(tmp_path)
    head = (tmp_path / files.HEAD).read_bytes()
    stranger = SigningKey.generate()
    both = TrustedKeys((TrustedKey("a", KEY.public_bytes), TrustedKey("b", stranger.public_bytes)))
    with log_at(tmp_path, key=stranger, trusted=both) as log:
        log.append([entry(5, stranger)])
    (tmp_path / files.HEAD).write_bytes(head)
    with log_at(tmp_path) as log:
        assert log.n == 6
    records, findings, notes = read(tmp_path)
    assert (findings, [bool(record.note) for record in records]) == (
        [],
        [True, False, False, False, False, True],
    )
    assert "were moved to torn-1" in notes[-1]


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda folder: (folder / files.HEAD).unlink(), "there is no head"),
        (lambda folder: (folder / files.HEAD).write_bytes(b"{}"), "not a valid AuditHead"),
        (lambda folder: files.segment(folder, 1).unlink(), "the file with record 5 is gone"),
        (lambda folder: os.truncate(files.segment(folder, 1), 300), "does not end with its hash"),
        (lambda folder: cut_last_line(files.segment(folder, 1)), "it ends at record 4, and its head names 5"),
    ],
)
def test_a_log_that_no_crash_explains_is_set_aside_with_an_alarm(tmp_path, harm, why, caplog):
    filled(tmp_path)
    harm(tmp_path)
    kept = sorted(path.name for path in tmp_path.iterdir() if path.name != files.LOCK)
    with log_at(tmp_path) as log:
        log.append([entry(9)])
    records, findings, _ = read(tmp_path)
    assert len(findings) == 1
    assert "alarm: the log up to record" in findings[0]
    assert why in findings[0]
    assert why in caplog.text
    assert sorted(path.name for path in (tmp_path / "aside-1").iterdir()) == kept
    assert records[-1].gate_decision.seq == 9
    with log_at(tmp_path) as log:
        assert log.n == records[-1].n


def cut_last_line(file: Path) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))


def test_a_new_key_takes_over_the_log_of_the_old_one(tmp_path):
    filled(tmp_path)
    new = SigningKey.generate()
    both = TrustedKeys((TrustedKey("old", KEY.public_bytes), TrustedKey("new", new.public_bytes)))
    with log_at(tmp_path, key=new, trusted=both) as log:
        log.append([entry(5, new)])
    only_new = TrustedKeys((TrustedKey("new", new.public_bytes),))
    assert read(tmp_path, only_new)[1] == []


def test_a_crash_at_any_byte_of_the_last_write_loses_nothing_acknowledged(tmp_path):
    whole = filled(tmp_path / "whole")
    head = (whole / files.HEAD).read_bytes()
    segment = files.segment(whole, 1)
    acknowledged = segment.stat().st_size
    with log_at(whole) as log:
        log.append([entry(5), entry(6)])
    body = segment.read_bytes()
    for end in range(acknowledged, len(body), 97):
        folder = tmp_path / f"cut{end}"
        shutil.copytree(whole, folder)
        (folder / files.HEAD).write_bytes(head)
        files.segment(folder, 1).write_bytes(body[:end])
        with log_at(folder) as log:
            log.append([entry(7)])
        records, findings, _ = read(folder)
        assert findings == []
        assert [r.gate_decision.seq for r in records if r.decision][:4] == [1, 2, 3, 4]
        shutil.rmtree(folder)


def test_a_record_is_one_line_that_anybody_can_check(tmp_path):
    filled(tmp_path)
    for line in files.segment(tmp_path, 1).read_bytes().splitlines():
        body, _, rest = line.rpartition(b',"hash":"')
        assert hashlib.sha256(body + b"}").hexdigest() == rest[:-2].decode()
        assert parse(line + b"\n").hash == rest[:-2].decode()

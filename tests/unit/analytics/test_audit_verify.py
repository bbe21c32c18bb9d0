"""Whatever is changed in a log is found, and where."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.fakes import FakeClock
from tests.unit.analytics.audited import entry, filled, log_at, read
from thermogate.analytics.audit import files
from thermogate.analytics.audit.records import GENESIS, AuditHead, Record, parse, seal
from thermogate.core.signing import SigningKey

DAY_S = 86_400


@pytest.fixture
def three_files(tmp_path):
    """Records 1 to 3, 4 and 5, 6 and 7."""
    clock = FakeClock()
    folder = tmp_path / "audit"
    with log_at(folder, clock) as log:
        for number in range(1, 7):
            log.append([entry(number)])
            if number in (2, 4):
                clock.pass_time(DAY_S)
    assert [first for first, _ in files.segments(folder)] == [1, 4, 6]
    assert read(folder)[1] == []
    return folder


def findings(folder: Path) -> list[str]:
    return read(folder)[1]


def lines_of(folder: Path, first_n: int) -> list[bytes]:
    return files.segment(folder, first_n).read_bytes().splitlines(keepends=True)


def put(folder: Path, first_n: int, lines: list[bytes]) -> None:
    files.segment(folder, first_n).write_bytes(b"".join(lines))


def test_every_byte_that_is_changed_is_found(tmp_path):
    folder = filled(tmp_path / "audit", 1)
    for file in (files.segment(folder, 1), folder / files.HEAD):
        body = file.read_bytes()
        for at, byte in enumerate(body):
            changed = (byte ^ 1, byte ^ 0x20, 0x0A if byte != 0x0A else 0x0D)[at % 3]
            file.write_bytes(body[:at] + bytes([changed]) + body[at + 1 :])
            assert findings(folder), f"{file.name}: byte {at} as {changed} was not found"
        file.write_bytes(body)
    assert findings(folder) == []


def test_every_byte_that_is_taken_out_or_added_is_found(tmp_path):
    folder = filled(tmp_path / "audit", 1)
    for file in (files.segment(folder, 1), folder / files.HEAD):
        body = file.read_bytes()
        for at in range(len(body)):
            file.write_bytes(body[:at] + (b" " + body[at:] if at % 2 else body[at + 1 :]))
            assert findings(folder), f"{file.name}: byte {at}"
        file.write_bytes(body)


def test_one_changed_byte_is_one_finding_at_its_record(three_files):
    lines = lines_of(three_files, 4)
    put(three_files, 4, [lines[0].replace(b"HOLD", b"HOLT"), lines[1]])
    assert findings(three_files) == [
        "record 4 (000000000000004.jsonl line 1): is not what its hash says: it was changed"
    ]


def test_a_record_made_to_fit_itself_does_not_fit_the_next(three_files):
    """Who knows the format can compute a hash; the chain and the signed head remain."""
    lines = lines_of(three_files, 4)
    record = parse(lines[0])
    _, forged = seal(Record(n=4, time_ns=record.time_ns, before=record.before, note="nothing happened"))
    put(three_files, 4, [forged, lines[1]])
    assert findings(three_files) == [
        "record 5 (000000000000004.jsonl line 2): "
        "does not follow the record before it: one of the two was exchanged"
    ]
    lines = lines_of(three_files, 6)
    record = parse(lines[1])
    _, forged = seal(Record(n=7, time_ns=record.time_ns, before=record.before, note="nothing happened"))
    put(three_files, 4, [lines_of(three_files, 4)[0], forged])
    put(three_files, 6, [lines[0], forged])
    assert "head.json: names another record 7 than there is" in findings(three_files)


def rewritten(**files_by_n: list[int]) -> Callable[[Path], None]:
    """Files as `f4=[5, 4]`: which records stand in the file that begins with 4, by their true numbers."""

    def harm(folder: Path) -> None:
        lines = [
            line for _, file in files.segments(folder) for line in file.read_bytes().splitlines(keepends=True)
        ]
        for name, numbers in files_by_n.items():
            put(folder, int(name[1:]), [lines[n - 1] for n in numbers])

    return harm


def cut(folder: Path, count: int) -> None:
    file = files.segment(folder, 6)
    file.write_bytes(file.read_bytes()[:-count])


def unsigned_head(folder: Path) -> None:
    record = parse(lines_of(folder, 6)[0])
    head = AuditHead(n=6, hash=record.hash, first_n=1, first_before=GENESIS, time_ns=1)
    (folder / files.HEAD).write_bytes(msgspec.json.encode(head))


def write_head(folder: Path, key: SigningKey, n: int) -> None:
    last = parse(lines_of(folder, 6)[-1])
    head = AuditHead(n=n, hash=last.hash, first_n=1, first_before=GENESIS, time_ns=last.time_ns)
    (folder / files.HEAD).write_bytes(key.seal(head)[1])


FIRST, SECOND, THIRD = "000000000000001.jsonl", "000000000000004.jsonl", "000000000000006.jsonl"

HARMS = {
    "a line gone": (rewritten(f1=[1, 3]), f"record 3 ({FIRST} line 2): stands where record 2 should"),
    "lines swapped": (rewritten(f1=[2, 1, 3]), f"record 2 ({FIRST} line 1): stands where record 1 should"),
    "a line doubled": (
        rewritten(f1=[1, 2, 2, 3]),
        f"record 2 ({FIRST} line 3): stands where record 3 should",
    ),
    "the first line gone": (rewritten(f1=[2, 3]), f"record 2 ({FIRST} line 1): stands where record 1 should"),
    "the last line gone": (
        rewritten(f6=[6]),
        "head.json: names record 7, and the log ends at 6: its end was cut",
    ),
    "the last line torn": (lambda at: cut(at, 9), f"record 7 ({THIRD} line 2): does not end with its hash"),
    "the last newline gone": (
        lambda at: cut(at, 1),
        f"record 7 ({THIRD} line 2): does not end with its hash",
    ),
    "an empty line": (
        lambda at: put(at, 4, [lines_of(at, 4)[0], b"\n", lines_of(at, 4)[1]]),
        f"record 5 ({SECOND} line 2): does not end with its hash",
    ),
    "the first file gone": (
        lambda at: files.segment(at, 1).unlink(),
        f"{SECOND}: begins with record 4 by its name, and 1 is next",
    ),
    "a file between gone": (
        lambda at: files.segment(at, 4).unlink(),
        f"{THIRD}: begins with record 6 by its name, and 4 is next",
    ),
    "the last file gone": (
        lambda at: files.segment(at, 6).unlink(),
        "head.json: names record 7, and the log ends at 5: its end was cut off",
    ),
    "all files gone": (
        lambda at: [file.unlink() for _, file in files.segments(at)],
        "head.json: names record 7, and the log ends at 0: its end was cut off",
    ),
    "an empty file": (rewritten(f4=[]), f"{THIRD}: begins with record 6 by its name, and 4 is next"),
    "files swapped": (
        rewritten(f4=[6, 7], f6=[4, 5]),
        f"record 6 ({SECOND} line 1): stands where record 4 should",
    ),
    "a file doubled": (
        rewritten(f8=[4, 5]),
        "record 4 (000000000000008.jsonl line 1): stands where record 8 should",
    ),
    "a file renamed": (
        lambda at: files.segment(at, 4).rename(files.segment(at, 5)),
        "000000000000005.jsonl: begins with record 5 by its name, and 4 is next",
    ),
    "a line moved to the next file": (
        rewritten(f4=[4], f6=[5, 6, 7]),
        f"{THIRD}: begins with record 6 by its name, and 5 is next",
    ),
    "the head gone": (
        lambda at: (at / files.HEAD).unlink(),
        "head.json: is gone: nothing says where the log ends",
    ),
    "a head of another key": (
        lambda at: write_head(at, SigningKey.generate(), 7),
        "head.json: is not to be trusted: foreign issuer",
    ),
    "an unsigned head": (unsigned_head, "head.json: is not to be trusted: unsigned AuditHead"),
}


@pytest.mark.parametrize(("harm", "said"), HARMS.values(), ids=HARMS)
def test_lines_files_and_heads_that_are_not_as_they_were_are_found(three_files, harm, said):
    harm(three_files)
    found = findings(three_files)
    assert found
    assert found[0].startswith(said)


def test_an_older_head_and_an_older_log_are_found_by_whoever_noted_the_newer(tmp_path):
    """Both as they were together: only a number and hash kept elsewhere, or the store, can tell."""
    folder = filled(tmp_path / "audit")
    shutil.copytree(folder, tmp_path / "older")
    with log_at(folder) as log:
        log.append([entry(5)])
    (folder / files.HEAD).write_bytes((tmp_path / "older" / files.HEAD).read_bytes())
    assert "names record 5, and records up to 6 follow" in findings(folder)[0]
    assert findings(tmp_path / "older") == []


def test_an_authentic_head_of_another_log_does_not_pass(three_files, tmp_path):
    other = filled(tmp_path / "other", 6)
    shutil.copy(other / files.HEAD, three_files / files.HEAD)
    assert findings(three_files) == ["head.json: names another record 7 than there is"]


def test_inputs_exchanged_with_everything_made_to_fit_are_found(tmp_path):
    """By one who has the key: the decision itself names the digest of its inputs."""
    folder = tmp_path / "audit"
    with log_at(folder) as log:
        log.append([(entry(1)[0], entry(2)[1])])
    assert "the inputs have the digest" in findings(folder)[0]


def test_a_decision_posing_as_a_head_does_not_pass(three_files):
    (three_files / files.HEAD).write_bytes(entry(7)[0])
    assert "is not to be trusted" in findings(three_files)[0]


def test_what_is_older_than_the_log_is_told_and_not_covered(tmp_path):
    clock = FakeClock()
    folder = tmp_path / "audit"
    with log_at(folder, clock, keep_days=1) as log:
        log.append([entry(1)])
        old = files.segment(folder, 1).read_bytes()
        for number in range(2, 6):
            clock.pass_time(DAY_S)
            log.append([entry(number)])
    put(folder, 1, [old])
    assert read(folder)[1:] == ([], ["000000000000001.jsonl is older than the log: it is not covered"])
    with log_at(folder, clock):
        assert not files.segment(folder, 1).exists()

"""What is refused is kept with its reason, in bounded space, and never stops the rest."""

import base64
import json
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.unit.collector.fake_broker import received
from thermogate.collector import quarantine as module
from thermogate.collector.quarantine import Quarantine, Refused


def refused(payload: bytes, reason: str = "bad", node: str = "n1") -> Refused:
    return Refused(received(f"thermogate/v1/node/{node}/telemetry", payload), reason)


def entries(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in sorted(folder.iterdir()) for line in file.read_text().splitlines()]


def test_refused_message_is_kept_with_time_topic_and_reason(tmp_path: Path) -> None:
    clock = FakeClock(utc_ns=12345)
    assert Quarantine(tmp_path / "q", 10**6, clock).put([refused(b"# hello\n", "no header")]) == [True]
    assert entries(tmp_path / "q") == [
        {
            "time_ns": 12345,
            "topic": "thermogate/v1/node/n1/telemetry",
            "reason": "no header",
            "payload": "# hello\n",
        }
    ]


def test_payload_that_is_no_text_is_kept_as_base64(tmp_path: Path) -> None:
    Quarantine(tmp_path, 10**6, FakeClock()).put([refused(b"\xff\x00")])
    [entry] = entries(tmp_path)
    assert base64.b64decode(str(entry["payload_base64"])) == b"\xff\x00"
    assert "payload" not in entry


def test_oldest_messages_go_when_the_space_is_used_up(tmp_path: Path) -> None:
    clock = FakeClock()
    quarantine = Quarantine(tmp_path, 8000, clock)
    for number in range(200):
        assert quarantine.put([refused(f"{number} {'x' * 100}".encode(), node=f"n{number}")]) == [True]
        clock.pass_time(1)
    kept = [int(str(entry["payload"]).split()[0]) for entry in entries(tmp_path)]
    assert kept == list(range(200 - len(kept), 200))
    assert quarantine.dropped == 200 - len(kept)
    assert 0.8 * 8000 <= sum(file.stat().st_size for file in tmp_path.iterdir()) <= 8000


def test_order_is_kept_when_somebody_sets_the_clock_back(tmp_path: Path) -> None:
    clock = FakeClock()
    quarantine = Quarantine(tmp_path, 8000, clock)
    for number in range(30):
        quarantine.put([refused(f"{number} {'x' * 100}".encode())])
        clock.jump_utc(-3600)
    assert [int(str(entry["payload"]).split()[0]) for entry in entries(tmp_path)] == list(range(30))


def test_it_goes_on_where_an_earlier_process_stopped(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        Quarantine(tmp_path, 10**6, FakeClock()).put([refused(text)])
    assert [entry["payload"] for entry in entries(tmp_path)] == ["one", "two"]
    assert len(list(tmp_path.iterdir())) == 1


def test_disk_that_does_not_take_it_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    quarantine = Quarantine(tmp_path / "file" / "q", 10**6, FakeClock())
    assert quarantine.put([refused(b"x")]) == [False]
    assert quarantine.put([refused(b"x")]) == [False]
    assert [record.getMessage() for record in caplog.records] == [
        f"quarantine {tmp_path}/file/q cannot be written: Not a directory"
    ]


def test_one_writer_fills_its_share_and_leaves_the_rest_to_others(tmp_path: Path) -> None:
    clock = FakeClock()
    quarantine = Quarantine(tmp_path, 80_000, clock, share=0.1)
    kept = [quarantine.put([refused(b"x" * 400)])[0] for _ in range(50)]
    assert kept == sorted(kept, reverse=True)
    assert 0.8 * 8000 <= sum(file.stat().st_size for file in tmp_path.iterdir()) <= 8000
    assert quarantine.withheld == kept.count(False) > 0
    assert quarantine.put([refused(b"x"), refused(b"y", node="n2")]) == [True, True]
    assert quarantine.put([refused(b"x" * 400), refused(b"y" * 400, node="n2")]) == [False, True]
    clock.pass_time(86_400)
    assert quarantine.put([refused(b"x" * 400)]) == [True]


def test_line_that_a_kill_cut_off_costs_no_line_after_it(tmp_path: Path) -> None:
    Quarantine(tmp_path, 10**6, FakeClock()).put([refused(b"one")])
    [file] = tmp_path.iterdir()
    with file.open("ab") as cut:
        cut.write(b'{"time_ns": 1, "topic": "a/b/c"')
    Quarantine(tmp_path, 10**6, FakeClock()).put([refused(b"two")])
    kept = [entry.payload for file in module.files(tmp_path) for entry in module.entries(file)]
    assert kept == ["one", "two"]


def test_what_waits_to_be_tried_again_counts_against_the_bound(tmp_path: Path) -> None:
    again = tmp_path / module.AGAIN
    again.mkdir()
    (again / f"{7:020}.jsonl").write_bytes(b"x" * 5000)
    quarantine = Quarantine(tmp_path, 8000, FakeClock())
    for number in range(50):
        quarantine.put([refused(b"x" * 100, node=f"n{number}")])
    assert 1000 <= sum(file.stat().st_size for file in module.files(tmp_path)) <= 3000
    assert module.files(again)

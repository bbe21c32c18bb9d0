"""What is refused is kept with its reason, in bounded space, and never stops the rest."""

import base64
import json
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.unit.collector.fake_broker import received
from thermogate.collector.quarantine import Quarantine, Refused


def refused(payload: bytes, reason: str = "bad") -> Refused:
    return Refused(received("thermogate/v1/node/n1/telemetry", payload), reason)


def entries(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in sorted(folder.iterdir()) for line in file.read_text().splitlines()]


def test_refused_message_is_kept_with_time_topic_and_reason(tmp_path: Path) -> None:
    clock = FakeClock(utc_ns=12345)
    assert Quarantine(tmp_path / "q", 10**6, clock).put([refused(b"# hello\n", "no header")])
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
        assert quarantine.put([refused(f"{number} {'x' * 100}".encode())])
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
    assert not quarantine.put([refused(b"x")])
    assert not quarantine.put([refused(b"x")])
    assert [record.getMessage() for record in caplog.records] == [
        f"quarantine {tmp_path}/file/q cannot be written: Not a directory"
    ]

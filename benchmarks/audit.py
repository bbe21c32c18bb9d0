"""What the audit log costs: an append of one decision and of many, a restart, and reading it all again.

    make bench NAME=audit
    make bench NAME=audit ARGS="--folder /var/tmp --records 20000"

Decisions as the gate makes them for a node of 8 GPUs that overheats, with their inputs. An append ends when
records and head are on the disk, so it is as fast as the disk of --folder flushes; beside it, as a floor, one
write and flush of a record's bytes. Prints a table and, as the last line, one JSON object.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.audit_entries import Entries  # noqa: E402
from thermogate.analytics.audit import AuditLog, Reader  # noqa: E402
from thermogate.analytics.audit.replay import replay  # noqa: E402
from thermogate.analytics.config import AuditSettings  # noqa: E402
from thermogate.analytics.inputs import recompute  # noqa: E402
from thermogate.core.clock import SystemClock  # noqa: E402
from thermogate.core.key_files import TrustedKey  # noqa: E402
from thermogate.core.signing import SigningKey, TrustedKeys  # noqa: E402


def appended(log: AuditLog, entries: Entries, many: int, rounds: int) -> dict[str, float]:
    """Milliseconds from the call until it is on the disk, and microseconds of processor time a record."""
    took, cpu = [], 0.0
    for _ in range(rounds):
        batch = entries.take(many)
        began, began_cpu = time.perf_counter(), time.process_time()
        log.append(batch)
        cpu += time.process_time() - began_cpu
        took.append((time.perf_counter() - began) * 1e3)
    return {
        "median_ms": statistics.median(took),
        "longest_ms": max(took),
        "cpu_us_a_record": cpu / (rounds * many) * 1e6,
    }


def flushed_ms(folder: Path, body: bytes, rounds: int) -> float:
    """The floor: the same bytes, written and flushed, and no more."""
    took = []
    fd = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(rounds):
        began = time.perf_counter()
        os.write(fd, body)
        os.fdatasync(fd)
        took.append((time.perf_counter() - began) * 1e3)
    os.close(fd)
    return statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", help="where to write (default: that of temporary files)")
    parser.add_argument("--records", type=int, default=5000, help="of the log that is read again")
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()
    key = SigningKey.generate()
    trusted = TrustedKeys((TrustedKey("gate", key.public_bytes),))
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        entries = Entries(key)
        log = AuditLog(folder / "audit", key, AuditSettings(), trusted=trusted, clock=SystemClock())
        with log:
            for many in (1, 100):
                found[f"append_{many}"] = appended(log, entries, many, args.rounds)
            while log.n < args.records:
                log.append(entries.take(100))
        size = sum(path.stat().st_size for path in (folder / "audit").glob("*.jsonl"))
        found["bytes_a_record"] = size / log.n
        found["bare_flush_ms"] = flushed_ms(folder, b"x" * (size // log.n), args.rounds)
        began = time.perf_counter()
        with log:
            found["restart_ms"] = (time.perf_counter() - began) * 1e3
        reader, began = Reader(folder / "audit", trusted), time.process_time()
        records = list(reader.records())
        found["verify_us_a_record"] = (time.process_time() - began) / len(records) * 1e6
        assert not reader.findings
        decided, began = [record for record in records if record.decision], time.process_time()
        others = [again for again in (replay(record, recompute) for record in decided) if again.differences]
        found["replay_us_a_record"] = (time.process_time() - began) / len(decided) * 1e6
        found["records"], found["differ"] = len(records), len(others)
    show(found)


def show(found: dict[str, object]) -> None:
    """The table, and the line for programs."""
    for name, value in found.items():
        if isinstance(value, dict):
            told = ", ".join(f"{key} {number:.2f}" for key, number in value.items())
        else:
            told = f"{value:.2f}" if isinstance(value, float) else str(value)
        print(f"{name:20} {told}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

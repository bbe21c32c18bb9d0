"""What the spool costs: a message of a node with 8 GPUs appended, read, recovered; and a day of them.

The messages are simulated (node_messages.py). Processor time, since that is what the agent costs a
node. Beside it, as a floor, the same bytes appended to a file with a checksum and no more. A table
for people; the last line is one JSON object for programs.
"""

import json
import os
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.node_messages import CPUS, GPUS, messages  # noqa: E402
from thermogate.agent.spool import Spool, SpoolSettings  # noqa: E402

START_NS = 1_763_712_000_000_000_000
DAY = 86_400
BACKLOG = 20_000
ROUNDS = 5


def timed_us(work: Callable[[], None], count: int) -> float:
    """Microseconds of processor time, the kernel's included, for each of `count` things that `work` does."""
    began_s = time.process_time()
    work()
    return (time.process_time() - began_s) / count * 1e6


def bare_append_us(folder: Path, payloads: list[bytes]) -> float:
    """The floor: checksum and write, uncompressed, no index, no bound, nothing to recover by."""
    fd = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work() -> None:
        for payload in payloads:
            os.write(fd, zlib.crc32(payload).to_bytes(4, "little") + payload)

    try:
        return timed_us(work, len(payloads))
    finally:
        os.close(fd)


def spool_costs(folder: Path, payloads: list[bytes]) -> dict[str, float]:
    """Append, read and acknowledge a backlog, and open it again half read."""
    spool = Spool(folder / "spool", SpoolSettings())
    spool.open()

    def append() -> None:
        for index in range(BACKLOG):
            spool.append("telemetry", payloads[index % len(payloads)])

    def read() -> None:
        after = 0
        while records := spool.read(after, 10):
            after = records[-1].seq

    def acknowledge() -> None:
        for first in range(1, BACKLOG // 2, 10):
            spool.ack(spool.id, [(first, first + 9)])

    costs = {"append_us": timed_us(append, BACKLOG), "bytes_per_message": spool.bytes / BACKLOG}
    costs["read_us"] = timed_us(read, BACKLOG)
    costs["ack_us"] = timed_us(acknowledge, BACKLOG // 20)
    left = spool.depth
    spool.close()
    again = Spool(folder / "spool", SpoolSettings())
    costs["open_us_per_message"] = timed_us(again.open, left)
    again.close()
    return costs


def main() -> None:
    """Run everything and print."""
    payloads = list(messages("gpu-node-0017", START_NS, 600))
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            bare = bare_append_us(Path(folder), payloads * 10)
            rounds.append({"bare_append_us": bare, **spool_costs(Path(folder), payloads)})
    result = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    result["payload_bytes"] = statistics.mean(map(len, payloads))
    result["day_mib"] = result["bytes_per_message"] * DAY / 2**20
    result["default_hours"] = SpoolSettings().max_bytes / result["bytes_per_message"] / 3600
    print(f"{GPUS} GPUs and {CPUS} CPU packages, {BACKLOG} messages, median of {ROUNDS} rounds")
    for name, value in result.items():
        print(f"  {name:22} {value:10.2f}")
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()

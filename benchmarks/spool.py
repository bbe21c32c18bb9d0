"""What the spool costs: a message of a node with 8 GPUs appended, read, recovered; and a day of them.

Processor time, since that is what the agent costs a node. Beside it, as a floor, the same bytes
appended to a file with a checksum and no more. A table for people; the last line is one JSON object
for programs.
"""

import json
import os
import random
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from thermogate.agent.spool import Spool, SpoolSettings
from thermogate.core.clock import NS
from thermogate.core.wire import format_line

GPUS, CPUS = 8, 2
DAY = 86_400
BACKLOG = 20_000
ROUNDS = 5


def message(second: int, rng: random.Random) -> bytes:
    """One second of a node: every field of the schema that an H100 node has, with noise in the digits."""
    time_ns = 1_763_712_000 * NS + second * NS
    lines = [
        format_line("gpu", "gpu-node-0017", str(gpu), "H100-80GB-HBM3", None, _gpu(second, gpu, rng), time_ns)
        for gpu in range(GPUS)
    ]
    lines += [
        format_line("cpu", "gpu-node-0017", str(cpu), "Intel-Xeon-8480C", None, _cpu(second, rng), time_ns)
        for cpu in range(CPUS)
    ]
    return "".join(lines).encode()


def _gpu(second: int, gpu: int, rng: random.Random) -> dict[str, float | int]:
    power_w = round(rng.gauss(600, 30), 3)
    return {
        "power_w": power_w,
        "energy_j": round(1e6 * gpu + 600 * second + rng.uniform(0, 500), 3),
        "temp_c": float(rng.randint(58, 66)),
        "mem_temp_c": float(rng.randint(70, 80)),
        "util_ratio": rng.randint(95, 100) / 100,
        "mem_util_ratio": rng.randint(30, 60) / 100,
        "mem_used_bytes": 76_543_210_000 + gpu * 4096,
        "mem_total_bytes": 85_520_809_984,
        "sm_clock_hz": rng.randint(1600, 1980) * 1e6,
        "mem_clock_hz": 2619e6,
        "power_limit_w": 700.0,
        "temp_limit_c": 87.0,
        **_rle(power_w / 700, rng),
    }


def _cpu(second: int, rng: random.Random) -> dict[str, float | int]:
    power_w = rng.gauss(200, 9)
    fields = {"util_ratio": rng.random(), "clock_hz": rng.uniform(2e9, 3e9), "power_w": power_w}
    return {**fields, "energy_j": 200.0 * second, "temp_c": 62.0, **_rle(power_w / 350, rng)}


def _rle(a_load: float, rng: random.Random) -> dict[str, float | int]:
    names = ("rle", "rle_raw", "e_th", "e_pw", "rle_peak")
    return {
        **{name: rng.random() for name in names},
        "a_load_ratio": a_load,
        "t_sustain_s": rng.uniform(1, 600),
        "collapse": 0,
    }


def timed_us(work: Callable[[], None], count: int) -> float:
    """Microseconds of processor time, the kernel's included, for each of `count` things that `work` does."""
    began_s = time.process_time()
    work()
    return (time.process_time() - began_s) / count * 1e6


def bare_append_us(folder: Path, messages: list[bytes]) -> float:
    """The floor: checksum and write, uncompressed, no index, no bound, nothing to recover by."""
    fd = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work() -> None:
        for payload in messages:
            os.write(fd, zlib.crc32(payload).to_bytes(4, "little") + payload)

    try:
        return timed_us(work, len(messages))
    finally:
        os.close(fd)


def spool_costs(folder: Path, messages: list[bytes]) -> dict[str, float]:
    """Append, read and acknowledge a backlog, and open it again half read."""
    spool = Spool(folder / "spool", SpoolSettings())
    spool.open()

    def append() -> None:
        for index in range(BACKLOG):
            spool.append("telemetry", messages[index % len(messages)])

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
    rng = random.Random(1)
    messages = [message(second, rng) for second in range(500)]
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            bare = bare_append_us(Path(folder), messages * 10)
            rounds.append({"bare_append_us": bare, **spool_costs(Path(folder), messages)})
    result = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    result["payload_bytes"] = statistics.mean(map(len, messages))
    result["day_mib"] = result["bytes_per_message"] * DAY / 2**20
    result["default_hours"] = SpoolSettings().max_bytes / result["bytes_per_message"] / 3600
    print(f"{GPUS} GPUs and {CPUS} CPU packages, {BACKLOG} messages, median of {ROUNDS} rounds")
    for name, value in result.items():
        print(f"  {name:22} {value:10.2f}")
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()

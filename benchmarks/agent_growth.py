"""Whether the agent grows: memory, threads and open files over 100,000 ticks, more than a day at 1 Hz.

The agent and its node are those of agent_cost, but ticks follow one another at once, and it is the
number of messages that have arrived and were acknowledged that counts, not the time. A table for
people; the last line is one JSON object for programs.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import agent_cost
import stub_node
import usage

PERIOD_S = 0.005
"""As short as a sweep of all sensors allows; what takes longer skips ticks, as it would at 1 Hz."""
SETTINGS = (
    f"agent.period_s={PERIOD_S}",
    "agent.selfstats_interval_s=0.1",
    "agent.uplink.status_interval_s=1",
    "agent.budget.cpu_ratio=10",
)
"""What comes every 10 or 60 ticks at 1 Hz does so here too, nearly; no sensor is left out for its cost."""
ROWS = 20
LIMIT_S = 600.0
"""For one row."""


class Size(NamedTuple):
    """The agent after some ticks."""

    ticks: int
    pss_mib: float
    private_mib: float
    threads: int
    files: int
    spool_kib: float


def main() -> None:
    """Run the ticks and print how the agent's size went."""
    args = _arguments()
    print(agent_cost.machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            stub_node.Hardware(folder / "hardware") as hardware,
            stub_node.broker(folder / "broker") as url,
            stub_node.Collector(url) as collector,
            stub_node.agent(folder / "agent", url, hardware, *SETTINGS) as process,
        ):
            sizes = watch(process, collector, folder / "agent", args.ticks)
    first, middle, last = sizes[0], sizes[len(sizes) // 2], sizes[-1]
    whole, half = per_tick(first, last), per_tick(middle, last)
    day_mib = half * 86_400 / 2**20
    print(f"{whole:+.1f} bytes a tick, {half:+.1f} in the second half: {day_mib:+.2f} MiB a day at 1 Hz")
    result: dict[str, Any] = {
        "ticks": last.ticks,
        "bytes_per_tick": round(whole, 2),
        "second_half_bytes_per_tick": round(half, 2),
    }
    for when, size in {"start": first, "middle": middle, "end": last}.items():
        result[when] = size._asdict()
    print(json.dumps(result))


def per_tick(first: Size, last: Size) -> float:
    """Bytes of private memory that a tick has added between two sizes."""
    return (last.private_mib - first.private_mib) * 2**20 / (last.ticks - first.ticks)


def watch(
    process: subprocess.Popen[bytes], collector: stub_node.Collector, folder: Path, ticks: int
) -> list[Size]:
    """Sizes from one tenth of `ticks` on. SystemExit when they do not come."""
    print(f"{'ticks':>8}{'PSS MiB':>9}{'private':>9}{'threads':>9}{'files':>7}{'spool KiB':>11}")
    sizes = []
    for due in range(ticks // 10, ticks + 1, max(1, ticks * 9 // 10 // ROWS)):
        stub_node.wait_for_messages(collector, due, process, folder, limit_s=LIMIT_S)
        sizes.append(measure(process.pid, collector, folder))
        print("{:8}{:9.2f}{:9.2f}{:9}{:7}{:11.0f}".format(*sizes[-1]), flush=True)
    return sizes


def measure(pid: int, collector: stub_node.Collector, folder: Path) -> Size:
    """The agent's size now."""
    memory = usage.memory(pid)
    spool = sum(file.stat().st_size for file in (folder / "data" / "spool").rglob("*.seg"))
    return Size(
        collector.ticks,
        round(memory.pss_mib, 2),
        round(memory.private_mib, 2),
        usage.threads(pid),
        usage.files(pid),
        round(spool / 1024, 1),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--ticks", type=int, default=100_000, help="how many")
    return parser.parse_args()


if __name__ == "__main__":
    main()

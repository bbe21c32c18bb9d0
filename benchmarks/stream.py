"""What live pages cost: bytes and processor time a second, of the whole fleet each time and of its changes.

    make bench NAME=stream ARGS="--nodes 1000 --pages 10 --seconds 20"

Devices repeat what real ones were recorded doing, a sample a second each, held in memory: no store is
measured. Beside it stands what every page was sent before, all rows each second. Prints a table and, as
the last line, one JSON object.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Self

import msgspec

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from tests.fake_fleet import FakeFleet  # noqa: E402
from tests.fakes import FakeClock  # noqa: E402
from thermogate.core.clock import NS  # noqa: E402
from thermogate.dashboard import fleet  # noqa: E402
from thermogate.dashboard.answers import Answers  # noqa: E402
from thermogate.dashboard.changes import Told  # noqa: E402
from thermogate.dashboard.feed import message  # noqa: E402
from thermogate.dashboard.settings import DashboardSettings  # noqa: E402

SESSIONS = sorted((ROOT / "tests" / "recordings" / "rle_sessions").glob("*gpu*.csv"))
START_NS = 1_763_712_000 * NS


class Cost:
    """Bytes and processor seconds, summed over seconds of the fleet."""

    def __init__(self) -> None:
        self.bytes = 0
        self.cpu_s = 0.0
        self._began_s = 0.0

    def __enter__(self) -> Self:
        self._began_s = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s += time.process_time() - self._began_s

    def a_second(self, seconds: int) -> dict[str, float]:
        """Of one page."""
        return {"bytes": round(self.bytes / seconds), "cpu_ms": round(1000 * self.cpu_s / seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--pages", type=int, default=10)
    args = parser.parse_args()
    asyncio.run(measure(args))


async def measure(args: argparse.Namespace) -> None:
    made = FakeFleet(SESSIONS, nodes=args.nodes, gpus=args.gpus, now_ns=START_NS, with_history=0)
    clock = FakeClock(START_NS)
    answers = Answers(made.query, clock, DashboardSettings())
    rows_cost, whole_cost, changes_cost = Cost(), Cost(), Cost()
    told = Told()
    told.update(await answers.fleet(), clock.utc_ns())
    for _ in range(args.seconds):
        clock.pass_time(1)
        made.tick(clock.utc_ns())
        with rows_cost:
            rows = await answers.fleet()
        with whole_cost:
            fleet.digest(rows)
            whole_cost.bytes += len(message("fleet", {"now_ns": clock.utc_ns(), "rows": rows}))
        with changes_cost:
            changes_cost.bytes += len(message("changes", told.update(rows, clock.utc_ns(), force=True)))
    begin = len(msgspec.json.encode(told.whole()))
    show(args, begin, *(cost.a_second(args.seconds) for cost in (rows_cost, whole_cost, changes_cost)))


def show(args: argparse.Namespace, begin: int, rows: dict, whole: dict, changes: dict) -> None:
    print(f"{args.nodes * args.gpus} devices, a sample a second of each; {args.pages} pages\n")
    print(f"{'':<24}{'kB/s a page':>12}{'kB/s, all pages':>17}{'CPU ms/s to make it':>21}")
    for name, cost in (("all rows, as before", whole), ("changes", changes)):
        page = cost["bytes"] / 1000
        print(f"{name:<24}{page:>12.0f}{args.pages * page:>17.0f}{cost['cpu_ms']:>21.1f}")
    print(f"\nbeside it, for either: {rows['cpu_ms']} ms/s of CPU to put the rows together, whoever watches")
    print(f"once for each page that opens: {begin / 1000:.0f} kB")
    found = {"devices": args.nodes * args.gpus, "rows_cpu_ms": rows["cpu_ms"], "begin_bytes": begin}
    print(json.dumps({**found, "whole_per_s": whole, "changes_per_s": changes}))


if __name__ == "__main__":
    main()

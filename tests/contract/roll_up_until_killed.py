"""Stores samples, late ones too, and rolls them up, on a clock that runs fast; to be killed on the way.

Run as `python -m tests.contract.roll_up_until_killed DIR BASE_NS NOW_NS [NUMBER LAST_NS]`: the clock begins
at NOW_NS. Batch k holds the samples of n1 since the one before, first those after LAST_NS, and some of
other nodes that are up to six hours older than BASE_NS and always the same for k. What was stored is
said, so that the next life can send again what was not, as nodes do. Without NUMBER it stores nothing
and ends when everything is rolled up.
"""

import asyncio
import contextlib
import itertools
import random
import sys
import time
from pathlib import Path

from tests.contract.making import message
from thermogate.collector.config import EmbeddedSettings, RollupSettings
from thermogate.collector.counters import Counters
from thermogate.collector.rollup import Roller
from thermogate.collector.rollup_journal import Journal
from thermogate.collector.store.base import Batch
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.collector.store.resolution import STEP_NS, Kept
from thermogate.core.clock import NS
from thermogate.core.wire import Point

FAST = 600
DAY_NS = 24 * STEP_NS["1h"]


class FastClock:
    """Ten minutes go by in a second."""

    def __init__(self, begin_ns: int) -> None:
        self._begin_ns = begin_ns
        self._began_s = time.monotonic()

    def utc_ns(self) -> int:
        return self._begin_ns + round((self.steady_s() - FAST * self._began_s) * NS)

    def steady_s(self) -> float:
        return FAST * time.monotonic()

    async def sleep_until(self, steady_s: float) -> None:
        await asyncio.sleep(max(0.0, (steady_s - self.steady_s()) / FAST))


def point(node: str, time_ns: int) -> Point:
    """What a sample holds follows from its stamp."""
    fields = {"temp_c": float(time_ns // NS % 50), "energy_j": float(time_ns // NS % 10_000_000) * 3}
    return Point("gpu", node, "0", "", "", fields, time_ns // NS * NS)


def late_message(chance: random.Random, base_ns: int) -> bytes:
    return message(point(f"n{chance.randint(2, 4)}", base_ns - chance.randrange(6 * STEP_NS["1h"])))


async def write(
    store: EmbeddedStore, roller: Roller, clock: FastClock, base_ns: int, first: int, last_ns: int
) -> None:
    for number in itertools.count(first):
        end_ns = clock.utc_ns() // NS * NS
        fresh = [message(point("n1", stamp_ns)) for stamp_ns in range(last_ns + NS, end_ns, NS)]
        chance = random.Random(number)
        batch = Batch(telemetry=(*fresh, *(late_message(chance, base_ns) for _ in range(3))))
        await store.write(batch)
        roller.stored(batch)
        last_ns = max(last_ns, end_ns - NS)
        print(number, last_ns, flush=True)
        await asyncio.sleep(0.01)


async def all_rolled_up(store: EmbeddedStore, counters: Counters, until_ns: int) -> None:
    """Nothing waits at some looks in a row, and everything is covered that had ended when this began."""
    quiet = 0
    while quiet < 20:
        covered = await store.covered()
        ends = [spans[-1][1] if (spans := covered.get(name, ())) else 0 for name in STEP_NS]
        done = all(end > until_ns - step_ns for end, step_ns in zip(ends, STEP_NS.values(), strict=True))
        quiet = quiet + 1 if done and not counters.rollup_waiting and len(covered.get("1m", ())) == 1 else 0
        await asyncio.sleep(0.05)


async def main(folder: Path, base_ns: int, now_ns: int, *first: int) -> None:
    clock, counters = FastClock(now_ns), Counters()
    kept = Kept(10 * DAY_NS, 20 * DAY_NS, 30 * DAY_NS)
    settings = RollupSettings(after_s=15, every_s=10, load_ratio=1)
    async with EmbeddedStore(folder, EmbeddedSettings(threads=1), clock) as store:
        roller = Roller(store, Journal(folder / "rollup"), settings, kept, counters, clock)
        await roller.open()
        rolling = asyncio.create_task(roller.run())
        if first:
            await write(store, roller, clock, base_ns, *first)
        else:
            await all_rolled_up(store, counters, now_ns)
        rolling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await rolling


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))

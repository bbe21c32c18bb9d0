"""Writes batches to an embedded store for ever and says which are stored; to be killed on the way.

Run as `python -m tests.contract.write_until_killed DIR FIRST BEGIN_NS`: batch k holds sample k of three
devices and event k, stamped BEGIN_NS + k seconds.
"""

import asyncio
import itertools
import sys
from pathlib import Path

from tests.contract.making import NOW_NS, event, message, sample
from thermogate.collector.config import EmbeddedSettings
from thermogate.collector.store.base import Batch
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.core.clock import NS, SystemClock

DEVICES = ("0", "1", "2")


async def main(folder: Path, first: int, begin_ns: int) -> None:
    async with EmbeddedStore(folder, EmbeddedSettings(threads=1), SystemClock()) as store:
        for number in itertools.count(first):
            age_s = (NOW_NS - begin_ns) / NS - number
            lines = (sample(age_s, device=device, temp_c=number) for device in DEVICES)
            await store.write(Batch(telemetry=(message(*lines),), events=(event(age_s),)))
            print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))

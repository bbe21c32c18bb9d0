"""A collector that is killed while it stores and rolls up forgets no window."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.making import NOW_NS, stored
from tests.contract.rolled import Rows, rolled, seen
from tests.contract.test_rollups import _embedded_rows
from thermogate.collector.config import EmbeddedSettings, RollupSettings
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.collector.store.resolution import RESOLUTIONS, STEP_NS, rolled_name
from thermogate.core.clock import NS, SystemClock

pytestmark = pytest.mark.alone

_ROOT = Path(__file__).parents[2]
_CHILD = "tests.contract.roll_up_until_killed"
_LIVES_S = (0.4, 0.15, 0.6, 0.3, 0.8, 0.5)
"""Of which each second is ten minutes of the clock."""


def begin(folder: Path, *numbers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", _CHILD, str(folder), *map(str, numbers)]
    return subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)


async def live(life_s: float, folder: Path, *numbers: int) -> tuple[int, int]:
    """The last batch that was stored when the process was killed, and up to which stamp."""
    with begin(folder, *numbers) as process:
        assert process.stdout is not None
        said = await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(life_s * random.uniform(0.8, 1.2))
        process.kill()
        lines = [said, *process.stdout.read().splitlines(keepends=True)]
    number, last_ns = next(line for line in reversed(lines) if line.endswith("\n")).split()
    return int(number), int(last_ns)


def closed(rows: Rows, step_ns: int, now_ns: int) -> Rows:
    return {key: row for key, row in rows.items() if key[2] + step_ns <= now_ns}


async def test_every_window_is_right_after_kill_9_in_the_middle(tmp_path: Path) -> None:
    base_ns = now_ns = last_ns = NOW_NS - 24 * STEP_NS["1h"]
    number = -1
    for life_s in _LIVES_S:
        number, last_ns = await live(life_s, tmp_path, base_ns, now_ns, number + 1, last_ns)
        now_ns = last_ns + 40 * NS
    with begin(tmp_path, base_ns, now_ns) as process:
        assert await asyncio.to_thread(process.wait, 100) == 0
    async with EmbeddedStore(tmp_path, EmbeddedSettings(threads=1), SystemClock(), read_only=True) as store:
        points = await stored(store)
        assert len({point.node for point in points}) == 4
        for resolution in RESOLUTIONS:
            step_ns = STEP_NS[resolution]
            wanted = closed(rolled(points, resolution, RollupSettings().fields), step_ns, now_ns)
            found = closed(_embedded_rows(store, rolled_name("gpu", resolution)), step_ns, now_ns)
            assert found.keys() == wanted.keys()
            wrong = [key for key, row in seen(wanted).items() if seen({key: found[key]})[key] != row]
            assert not wrong, resolution

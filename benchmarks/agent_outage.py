"""A node samples at 1 Hz while its broker is killed again and again: is every second in the store, once?

    make bench NAME=agent-outage                                  30 minutes, broker only
    make bench NAME=agent-outage ARGS="--minutes 5 --kill-agent --kill-collector --seed 2"

Real processes: `thermogate agent` on 8 stub GPUs, Mosquitto, `thermogate collector`, InfluxDB (or the
embedded store). What was sampled is known from three sides that do not know of each other: the agent's
own counters, the last record in its spool whenever it dies, and the clock, as samples stand on a grid.
What is in the store has to agree with all three. Prints a table and, as the last line, one JSON object.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.whole_path import GPUS, NODE, WholePath, wait_for, whole_path  # noqa: E402
from thermogate.agent import leftover  # noqa: E402
from thermogate.agent.config import UplinkSettings  # noqa: E402
from thermogate.agent.spool import Spool, SpoolSettings  # noqa: E402
from thermogate.agent.spool_format import EntryKind, scan  # noqa: E402
from thermogate.core.clock import NS, SystemClock  # noqa: E402
from thermogate.core.errors import WireError  # noqa: E402
from thermogate.core.model import Status  # noqa: E402
from thermogate.core.mqtt import MqttClient, MqttSettings  # noqa: E402
from thermogate.core.wire import Point, decode, node_topic  # noqa: E402

SETS = ("agent.selfstats_interval_s=0.5", "agent.uplink.status_interval_s=1")
"""Counters with every tick, so that the last one of a killed agent is known."""
CAUGHT_UP = 10
"""Messages that wait at any time for the collector's next acknowledgement, 5 s apart, and some."""
CAUGHT_UP_S = 180.0


class Plan(NamedTuple):
    """How long parts are up between kills, and down after one, in seconds: shortest and longest."""

    up_s: tuple[float, float]
    down_s: tuple[float, float]


LONG = Plan((15.0, 120.0), (1.0, 90.0))
SHORT = Plan((2.0, 6.0), (1.0, 5.0))


class Kill(NamedTuple):
    """A part was dead from one stamp to the other (UTC, ns).

    `last_ns`, of an agent, is the stamp of the last sample that its spool held then.
    """

    part: str
    from_ns: int
    to_ns: int
    last_ns: int = 0


class Chaos(threading.Thread):
    """Kills one part at random times and starts it again, until it is told to end."""

    def __init__(self, path: WholePath, name: str, plan: Plan, rng: random.Random) -> None:
        super().__init__(name=f"chaos-{name}", daemon=True)
        self.kills: list[Kill] = []
        self._part = path.parts[name]
        self._spool_folder = path.spool_folder
        self._plan = plan
        self._rng = rng
        self._ended = threading.Event()

    def run(self) -> None:
        """Leaves the part running."""
        while not self._ended.wait(self._rng.uniform(*self._plan.up_s)):
            self._part.kill()
            from_ns = time.time_ns()
            last_ns = last_sample_ns(self._spool_folder) if self._part.name == "agent" else 0
            self._ended.wait(self._rng.uniform(*self._plan.down_s))
            self._part.start()
            self.kills.append(Kill(self._part.name, from_ns, time.time_ns(), last_ns))

    def end(self) -> None:
        """Return when the part runs for good."""
        self._ended.set()
        self.join()


class Outcome(NamedTuple):
    """What was sampled and what is stored; `complete` says that they are the same."""

    ticks: int
    skipped: int
    late: int
    missing: int
    doubled: int
    cut_short: int
    left_in_spool: int
    dropped: int
    lost: int
    points: dict[str, int]
    absent: dict[str, int]

    @property
    def complete(self) -> bool:
        """Every tick that was sampled is in the store, once."""
        clean = not (self.doubled or self.cut_short or self.left_in_spool or self.dropped or self.lost)
        return clean and self.missing == self.skipped and self.points.get("agent") == self.ticks


async def run(
    path: WholePath, minutes: float, plan: Plan, victims: tuple[str, ...], seed: int
) -> tuple[Outcome, list[Kill]]:
    """Sample for so long while the victims die; then let the spool empty, stop, and count."""
    path.start("broker", "collector", "agent")
    await asyncio.to_thread(wait_for, lambda: _sampling(path), "the first sample", 60.0, path)
    chaos = [Chaos(path, name, plan, random.Random(f"{seed} {name}")) for name in victims]
    for each in chaos:
        each.start()
    end_s = time.monotonic() + 60 * minutes
    while time.monotonic() < end_s:
        await asyncio.sleep(1)
        for part in path.parts.values():
            part.check()
    for each in chaos:
        await asyncio.to_thread(each.end)
    await _caught_up(path)
    await asyncio.to_thread(path.parts["agent"].stop)
    await _send_rest(path)
    await asyncio.to_thread(path.parts["collector"].stop)
    kills = sorted((kill for each in chaos for kill in each.kills), key=lambda kill: kill.from_ns)
    return await _outcome(path, [kill for kill in kills if kill.part == "agent"]), kills


def _sampling(path: WholePath) -> bool:
    return any(file.stat().st_size for file in path.spool_folder.glob("*.seg"))


async def _caught_up(path: WholePath) -> None:
    """Until the agent says that nothing but the last seconds waits."""
    settings = MqttSettings(url=path.broker_url)
    topic = node_topic(NODE, "status")
    async with (
        asyncio.timeout(CAUGHT_UP_S),
        MqttClient(settings, client_id="watch", subscribe=(topic,)) as client,
    ):
        while True:
            for message in await client.receive(100):
                try:
                    status = decode(message.payload, Status)
                except WireError as err:
                    raise SystemExit(f"a status that nobody can read: {err}") from err
                if status.online and not message.retained and status.spool_depth <= CAUGHT_UP:
                    return


async def _send_rest(path: WholePath) -> None:
    """What the agent had no time for before it stopped, sent as `thermogate up` does it later."""
    settings, clock = MqttSettings(url=path.broker_url), SystemClock()
    with Spool(path.spool_folder, SpoolSettings()) as spool:
        async with asyncio.timeout(CAUGHT_UP_S):
            await leftover.send(NODE, spool, UplinkSettings(), settings, clock, asyncio.Event())


async def _outcome(path: WholePath, deaths: list[Kill]) -> Outcome:
    points: list[Point] = []
    async with path.store() as store:
        async for chunk in store.samples(start_ns=0, end_ns=2**62, node=NODE):
            points += chunk
    last_ns = last_sample_ns(path.spool_folder)
    with Spool(path.spool_folder, SpoolSettings()) as spool:
        return compare(points, deaths, last_ns=last_ns, left=spool.depth, lost=spool.lost)


def compare(points: list[Point], deaths: list[Kill], *, last_ns: int, left: int, lost: int) -> Outcome:
    """What is stored against what was sampled; `last_ns` is the last sample of the agent's last life."""
    series = defaultdict(list)
    for point in points:
        series[f"{point.measurement}{point.device}"].append(point.time_ns)
    stamps = sorted({point.time_ns for point in points})
    counted = sorted((p for p in points if p.measurement == "agent"), key=lambda point: point.time_ns)
    grown = Counter[str]()
    missing = doubled = cut_short = 0
    begins = [0, *(kill.to_ns for kill in deaths)]
    ends = [*((kill.from_ns, kill.last_ns) for kill in deaths), (2**63, last_ns)]
    for born_ns, (died_ns, newest_ns) in zip(begins, ends, strict=True):
        grown += _growth([p.fields for p in counted if born_ns <= p.time_ns < died_ns])
        sampled = [ns for ns in stamps if born_ns <= ns < died_ns]
        if sampled:
            missing += round((sampled[-1] - sampled[0]) / NS) + 1 - len(sampled)
        cut_short += newest_ns >= born_ns and newest_ns not in sampled
        doubled += sum(later - earlier < NS // 20 for earlier, later in pairwise(sampled))
    doubled += sum(count - 1 for times in series.values() for count in Counter(times).values())
    return Outcome(
        ticks=grown["ticks_count"],
        skipped=grown["skipped_count"],
        late=grown["late_count"],
        missing=missing,
        doubled=doubled,
        cut_short=cut_short,
        left_in_spool=left,
        dropped=grown["spool_dropped_count"],
        lost=lost,
        points={name: len(times) for name, times in sorted(series.items())},
        absent={name: len(stamps) - len(set(times)) for name, times in sorted(series.items())},
    )


def _growth(counters: list[dict[str, float]]) -> Counter[str]:
    """What one life of the agent counted; ticks skipped before its first sample leave no gap."""
    if not counters:
        return Counter()
    first, last = counters[0], counters[-1]
    names = ("ticks_count", "late_count", "spool_dropped_count")
    grown = Counter({name: round(last[name]) for name in names})
    grown["skipped_count"] = round(last["skipped_count"] - first["skipped_count"])
    return grown


def last_sample_ns(spool_folder: Path) -> int:
    """Stamp of the last telemetry in the files of a spool."""
    for file in sorted(spool_folder.glob("*.seg"), reverse=True):
        samples = [entry for entry in scan(file.read_bytes()) if entry.kind == EntryKind.TELEMETRY]
        if samples:
            return int(samples[-1].payload.rsplit(b" ", 1)[1])
    return 0


def report(outcome: Outcome, kills: list[Kill], store: str) -> None:
    """The table, and the JSON object."""
    down_s = dict.fromkeys(("broker", "collector", "agent"), 0.0)
    for kill in kills:
        down_s[kill.part] += (kill.to_ns - kill.from_ns) / NS
    counts = Counter(kill.part for kill in kills)
    print(f"\n{GPUS} stub GPUs at 1 Hz, Mosquitto, {store}")
    for name, seconds in down_s.items():
        print(f"  {name:10} killed {counts[name]:3} times, down {seconds:7.1f} s")
    print(f"  {'series':10} {'points':>7} {'absent':>7}   (ticks of the node without this device)")
    for name, number in outcome.points.items():
        print(f"  {name:10} {number:7} {outcome.absent[name]:7}")
    for name in Outcome._fields[:-2]:
        print(f"  {name:16} {getattr(outcome, name):8}")
    print("every second of every device is in the store, once" if outcome.complete else "NOT COMPLETE")
    kill_list = [{"part": kill.part, "s": round((kill.to_ns - kill.from_ns) / NS, 1)} for kill in kills]
    found = {**outcome._asdict(), "complete": outcome.complete, "store": store}
    print(json.dumps({**found, "kills": counts, "down_s": down_s, "outages": kill_list}))


def main() -> int:
    """Run and print; exit status 1 when something is missing or double."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--embedded", action="store_true", help="the embedded store in place of InfluxDB")
    parser.add_argument("--kill-agent", action="store_true")
    parser.add_argument("--kill-collector", action="store_true")
    parser.add_argument(
        "--short", action="store_true", help="kills seconds apart, for a run of a minute or two"
    )
    args = parser.parse_args()
    victims = ["broker", *(name for name in ("agent", "collector") if getattr(args, f"kill_{name}"))]
    plan = SHORT if args.short else LONG
    with (
        tempfile.TemporaryDirectory() as folder,
        whole_path(Path(folder), *SETS, embedded=args.embedded) as path,
    ):
        outcome, kills = asyncio.run(run(path, args.minutes, plan, tuple(victims), args.seed))
    report(outcome, kills, "embedded store" if args.embedded else "InfluxDB 1.x")
    return 0 if outcome.complete else 1


if __name__ == "__main__":
    sys.exit(main())

"""How well a group is kept under its power cap: a closed loop of nodes, schedulers and the policy.

    python benchmarks/power_budget.py [--hours 2] [--seed 1] [--nodes 16]

Nodes of 8 GPUs (rated 5.6 kW, 1.4 kW more that no pace changes) run jobs that begin and end. What a job
asks for is recorded: the wall power of MLPerf trainings on such servers (tests/recordings/training).
A node obeys its pace after a delay, by a first-order lag, and its power hunts; the gate in between makes
a node wait for its next change (`gate.dwell_s`). Prints a table of scenarios and, last, one JSON object.
"""

import argparse
import csv
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from thermogate.analytics.config.power import PowerSettings
from thermogate.analytics.policies import power
from thermogate.analytics.policies.base import Drawer, GroupObservation, Verdict
from thermogate.core.clock import NS
from thermogate.core.decision import State

RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings" / "training"
START_NS = 1_763_712_000 * NS
RATED_W = 5600.0
FLOOR_W = 1400.0
IDLE_RATIO = 0.12


class Scenario(NamedTuple):
    """What is simulated. `busy` is the mean share of nodes with a job; `cap_share` the cap over the most that
    all could draw.

    `at_once`: every node gets its job in one second, after 5 minutes of nothing. `proportional`: a pace
    cuts what is drawn in proportion, as a smaller batch does; else it is a limit. `deaf` nodes never obey.
    """

    name: str
    nodes: int = 16
    hours: float = 2.0
    cap_share: float = 0.65
    busy: float = 0.9
    at_once: bool = False
    proportional: bool = False
    deaf: int = 0
    unmeasured: int = 0
    delay_s: int = 3
    dwell_s: float = 0.0
    obeyed: bool = True


class Outcome(NamedTuple):
    """What came of it. Shares are 0 to 1; a change is one of the pace or state of one node.

    `over_s` is the longest time on end above the cap, `over_share` the share of all time, `over_10s_share`
    that of the mean over 10 s, and `worst` the greatest such mean over the cap. `used` is the power drawn
    over the cap while more was asked for. `fairness` is Jain's index of what those got who asked for more
    than their share, over rated power: 1 is equal.
    """

    over_s: int
    over_share: float
    over_10s_share: float
    worst: float
    used: float
    fairness: float
    changes_per_node_hour: float
    most_changes: int
    held_share: float
    us_per_node: float


class Node:
    """One node: the job it runs, what it would draw, what it draws, and what it was told."""

    def __init__(self, name: str, rng: random.Random, traces: Sequence[Sequence[float]]) -> None:
        self.name = name
        self._rng = rng
        self._traces = traces
        self._trace: Sequence[float] = ()
        self._at = 0
        self.work_w = IDLE_RATIO * RATED_W
        self.asked_w = self.work_w
        self.told: list[tuple[int, float]] = []
        self.pace = 1.0

    def start(self) -> None:
        """Begin a job, one of the recorded."""
        self._trace, self._at = self._rng.choice(self._traces), 0

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._at < len(self._trace)

    def tick(self, second: int, scenario: Scenario) -> None:
        """One second: hear what was told `delay_s` ago, and draw accordingly. A held job waits."""
        while self.told and self.told[0][0] + scenario.delay_s <= second:
            self.pace = self.told.pop(0)[1]
        waits = self.pace <= 0.0
        asked = self._trace[self._at] if self.busy else IDLE_RATIO * RATED_W
        if self.busy and not waits:
            # Slower work takes longer: a job at half of its pace is half as far.
            self._at += 1 if self._rng.random() < min(1.0, self.pace * RATED_W / max(asked, 1.0)) else 0
        self.asked_w = asked
        wanted = IDLE_RATIO * RATED_W if waits else asked * self._rng.gauss(1.0, 0.03)
        if not waits:
            wanted = wanted * self.pace if scenario.proportional else min(wanted, self.pace * RATED_W)
        self.work_w += (max(wanted, IDLE_RATIO * RATED_W) - self.work_w) * (1.0 - math.exp(-1.0 / 2.0))


def traces() -> list[list[float]]:
    """What the recorded trainings ask for beyond the floor, in W, one value a second."""
    found = []
    for file in sorted(RECORDINGS.glob("h100_*.csv")):
        with file.open(newline="") as lines:
            rows = [(float(row["t_s"]), float(row["power_w"])) for row in csv.DictReader(lines)]
        values, at = [], 0
        for second in range(int(rows[-1][0])):
            while rows[at + 1][0] <= second:
                at += 1
            values.append(min(max(rows[at][1] - FLOOR_W, IDLE_RATIO * RATED_W), RATED_W))
        found.append(values)
    return found


class Loop:
    """A group under the policy, second by second."""

    def __init__(self, scenario: Scenario, settings: PowerSettings, seed: int) -> None:
        self.scenario = scenario
        self.settings = settings
        self.rng = random.Random(seed)
        recorded = traces()
        self.nodes = [Node(f"n{number:02}", self.rng, recorded) for number in range(scenario.nodes)]
        self.cap_w = scenario.cap_share * scenario.nodes * (RATED_W + FLOOR_W)
        self.state = power.initial()
        self.verdicts: dict[str, Verdict] = {}
        self.applied: dict[str, tuple[float, float]] = {}
        self.changes: dict[str, int] = {node.name: 0 for node in self.nodes}
        self.spent_s = 0.0

    def run(self, watch: Callable[["Loop", int, float], None]) -> None:
        """Play all of it; `watch` is called every second with the power of the group."""
        for second in range(int(self.scenario.hours * 3600)):
            self._jobs(second)
            for node in self.nodes:
                node.tick(second, self.scenario)
            total_w = sum(node.work_w + FLOOR_W for node in self.nodes)
            self._decide(second)
            watch(self, second, total_w)

    def _jobs(self, second: int) -> None:
        scenario = self.scenario
        if scenario.at_once:
            if second == 300:
                for node in self.nodes:
                    node.start()
            return
        for node in self.nodes:
            if not node.busy and self.rng.random() < 1.0 / (900.0 * (1.0 - scenario.busy) + 1.0):
                node.start()

    def _decide(self, second: int) -> None:
        observation = GroupObservation(
            target="feed-A",
            now_ns=START_NS + second * NS,
            cap_w=self.cap_w,
            drawers=tuple(self._drawer(number, node) for number, node in enumerate(self.nodes)),
        )
        began_s = time.perf_counter()
        self.state, self.verdicts = power.step(self.settings, self.state, observation)
        self.spent_s += time.perf_counter() - began_s
        for number, node in enumerate(self.nodes):
            self._publish(node, second, deaf=number < self.scenario.deaf or not self.scenario.obeyed)

    def _drawer(self, number: int, node: Node) -> Drawer:
        if number >= self.scenario.nodes - self.scenario.unmeasured:
            return Drawer(node=node.name, power_w=None, rated_w=RATED_W)
        return Drawer(node=node.name, power_w=node.work_w + FLOOR_W, rated_w=RATED_W, floor_w=FLOOR_W)

    def _publish(self, node: Node, second: int, *, deaf: bool) -> None:
        """The gate: a change waits until `dwell_s` have passed since the last one."""
        verdict = self.verdicts[node.name]
        asked = 0.0 if verdict.state is State.HOLD else verdict.pace
        before, since = self.applied.get(node.name, (1.0, -1e9))
        if asked != before and second - since >= self.scenario.dwell_s:
            self.applied[node.name] = asked, second
            self.changes[node.name] += 1
            if not deaf:
                node.told.append((second, asked))


def play(scenario: Scenario, settings: PowerSettings | None = None, seed: int = 1) -> Outcome:
    """Simulate, and measure."""
    loop = Loop(scenario, settings or PowerSettings(), seed)
    totals: list[float] = []
    used: list[float] = []
    fair: list[float] = []
    held = 0

    def watch(loop: Loop, second: int, total_w: float) -> None:
        nonlocal held
        totals.append(total_w)
        held += sum(pace == 0.0 for pace, _ in loop.applied.values())
        asked_w = sum(node.asked_w + FLOOR_W for node in loop.nodes)
        if second >= 600 and asked_w > 1.05 * loop.cap_w:
            used.append(total_w / loop.cap_w)
            limited = [
                node for node in loop.nodes if node.pace > 0.0 and node.asked_w > loop.state.level * RATED_W
            ]
            if loop.state.level < 1.0 and second % 10 == 0 and len(limited) > 1:
                fair.append(jain([node.work_w / RATED_W for node in limited]))

    loop.run(watch)
    means = [sum(totals[at - 10 : at]) / 10 for at in range(10, len(totals) + 1)]
    steps = len(totals) * scenario.nodes
    return Outcome(
        over_s=longest(totals, loop.cap_w),
        over_share=sum(total > loop.cap_w for total in totals) / len(totals),
        over_10s_share=sum(mean > loop.cap_w for mean in means) / len(means),
        worst=max(means) / loop.cap_w,
        used=sum(used) / len(used) if used else math.nan,
        fairness=sum(fair) / len(fair) if fair else math.nan,
        changes_per_node_hour=sum(loop.changes.values()) / scenario.nodes / scenario.hours,
        most_changes=max(loop.changes.values()),
        held_share=held / steps,
        us_per_node=loop.spent_s / steps * 1e6,
    )


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all are equal, 1/n when one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def longest(totals: Sequence[float], cap_w: float) -> int:
    """The longest run of seconds above the cap."""
    most = run = 0
    for total in totals:
        run = run + 1 if total > cap_w else 0
        most = max(most, run)
    return most


def scenarios(nodes: int, hours: float) -> list[Scenario]:
    """All that are printed."""
    base = Scenario("jobs come and go", nodes=nodes, hours=hours)
    return [
        base._replace(name="nobody obeys (shadow)", obeyed=False),
        base,
        base._replace(name="the gate's dwell of 60 s", dwell_s=60.0),
        base._replace(name="all jobs in one second", at_once=True, hours=min(hours, 1.0)),
        base._replace(name="pace as a smaller batch", proportional=True),
        base._replace(name="one node in eight deaf", deaf=nodes // 8),
        base._replace(name="one in eight unmeasured", unmeasured=nodes // 8),
        base._replace(name="a slow scheduler, 15 s", delay_s=15),
        base._replace(name="a cap that fits half of it", cap_share=0.42),
        base._replace(name="a cap that fits a third", cap_share=0.33),
    ]


def main() -> None:
    """Simulate every scenario and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(
        f"{'scenario':28} {'over cap on end':>15} {'of time':>8} {'10 s':>7} {'worst':>6} {'cap used':>9} "
        f"{'Jain':>6} {'changes/node/h':>14} {'held':>6} {'us/node':>8}"
    )
    summary = {}
    for scenario in scenarios(args.nodes, args.hours):
        outcome = play(scenario, seed=args.seed)
        print(
            f"{scenario.name:28} {outcome.over_s:13} s {outcome.over_share:8.2%} "
            f"{outcome.over_10s_share:7.2%} {outcome.worst:6.3f} {outcome.used:9.1%} {outcome.fairness:6.3f} "
            f"{outcome.changes_per_node_hour:14.1f} {outcome.held_share:6.1%} {outcome.us_per_node:8.1f}"
        )
        summary[scenario.name] = {
            name: None if isinstance(value, float) and math.isnan(value) else round(value, 4)
            for name, value in outcome._asdict().items()
        }
    print(json.dumps({"nodes": args.nodes, "hours": args.hours, "scenarios": summary}))


if __name__ == "__main__":
    main()

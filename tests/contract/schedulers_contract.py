"""A bench for adapters: virtual time, decisions by hand, what is reported, and worlds to act on.

An adapter takes part by a `World`: the adapter and the scheduler that it acts on, as a fake or for real, with
ways to look at that scheduler and to do in it what an operator does. Its module adds the world to WORLDS in
test_schedulers.py; every test there then runs on it.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.fakes import FakeClock, settle
from thermogate.core.admission import Admission
from thermogate.core.clock import NS
from thermogate.core.decision import Cjp, GateDecision, State, new_ulid
from thermogate.core.wire import encode, gate_topic
from thermogate.schedulers.adapter import ActionError, Adapter, Mark, Marks, Plan, Step
from thermogate.schedulers.journal import Journal
from thermogate.schedulers.obey import Obey
from thermogate.schedulers.standing import Standing, Target
from thermogate.schedulers.standings import Standings
from thermogate.schedulers.watch_settings import ObeySettings


class World(Protocol):
    """`World(clock, tmp_path)`: one scheduler and the adapter to it."""

    adapter: Adapter
    target: Target
    """One that the scheduler knows, free at the beginning."""
    unknown: Target
    """One of the same kind that it does not know."""
    signs: bool
    """Whether `found` can tell what is ours without a journal."""

    def held(self) -> bool:
        """Whether `target` is as a HOLD leaves it, by whomever."""
        ...

    def hold_by_hand(self) -> None:
        """An operator does to `target` what a HOLD would, with a reason of his own."""
        ...

    def release_by_hand(self) -> None:
        """An operator undoes what is set on `target`."""
        ...

    def break_down(self, broken: bool) -> None:
        """From now on the scheduler refuses or does not answer; or it does again."""
        ...

    @property
    def write_count(self) -> int:
        """Commands or requests that were meant to change something, so far."""
        ...


class Hand:
    """Implements `Following`: decisions by hand through the real `Standings`, reports in a list."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.state = Standings(Admission(None), clock)
        self.heard = asyncio.Event()
        self.reports = []
        self._changed = asyncio.Event()
        self._seq = itertools.count(1)

    def standing(self, kind, target):
        return self.state.get((kind, target))

    def standings(self):
        return self.state.all()

    async def changes(self):
        while True:
            self._changed.clear()
            for change in self.state.changes():
                yield change
            await self._changed.wait()

    def report(self, applied):
        self.reports.append(applied)

    def say(
        self, target: Target, state: str, pace: float = 1.0, mode: str = "enforce", for_s: float = 3600.0
    ):
        decision = decision_of(target, state, pace, mode, next(self._seq), self.clock.utc_ns(), for_s)
        self.state.take(gate_topic(*target), encode(decision))
        self._changed.set()
        return decision

    async def watch_the_clock(self) -> None:
        while True:
            await self.clock.sleep_until(self.clock.steady_s() + 5.0)
            self.state.expire()
            self._changed.set()


def decision_of(
    target: Target, state, pace=1.0, mode="enforce", seq=1, now_ns=0, for_s=3600.0
) -> GateDecision:
    return GateDecision(
        id=new_ulid(now_ns),
        seq=seq,
        kind=target[0],
        target=target[1],
        state=State(state),
        pace=pace,
        mode=mode,
        issued_at_ns=now_ns,
        expires_at_ns=now_ns + round(for_s * NS),
        policy="thermal",
        policy_version=1,
        why="gpu0 is 3 C from its limit of 90 C; $(reboot) `halt` 'x' \"y\"; \n& | > /dev/null",
        because=(),
        cjp=Cjp("none", "hot", "cool for 60 s"),
        inputs="0",
    )


class Bench:
    """One `Obey` on one world; `restart` ends it as kill -9 would, or in order, and starts another."""

    def __init__(self, world: World, clock: FakeClock, folder: Path) -> None:
        self.world = world
        self.clock = clock
        self.hand = Hand(clock)
        self.file = folder / "journal.json"
        self.settings = ObeySettings()
        self.dry_run = False
        self.tasks: list[asyncio.Task] = []
        self.stop = asyncio.Event()

    def start(self) -> None:
        self.journal = Journal(self.file, self.world.adapter.name)
        self.journal.open()
        self.obey = Obey(
            self.world.adapter,
            self.hand,
            self.journal,
            self.settings,
            self.clock,
            dry_run=self.dry_run,
            host="n0",
        )
        self.stop = asyncio.Event()
        self.tasks = [
            asyncio.create_task(self.obey.run(self.stop)),
            asyncio.create_task(self.hand.watch_the_clock()),
        ]

    async def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.tasks[0], 20)
        await self.kill()

    async def pass_s(self, seconds: float) -> None:
        """Virtual seconds, each with real time for whatever runs outside the loop."""
        for _ in range(round(seconds / 5) or 1):
            await self.clock.advance(min(seconds, 5.0))
            await asyncio.sleep(0.001)

    async def until(self, holds: Callable[[], object], most_s: int = 300) -> None:
        """Let virtual time pass until it holds."""
        passed_s = 0.0
        while passed_s < most_s:
            for _ in range(3):
                await settle()
                if holds():
                    return
                await asyncio.sleep(0.001)
            step_s = 0.5 if passed_s < 10 else 5.0
            await self.clock.advance(step_s)
            passed_s += step_s
        raise AssertionError(f"not within {most_s} s; reported: {self.outcomes}")

    @property
    def outcomes(self) -> list[str]:
        return [report.outcome for report in self.hand.reports]

    def say(self, state: str, **more):
        if state == "HOLD":
            more.setdefault("pace", getattr(self.world, "hold_pace", 1.0))
        return self.hand.say(self.world.target, state, **more)


@contextlib.asynccontextmanager
async def obeying(
    world: World, clock: FakeClock, folder: Path, *, dry_run: bool = False, heard: bool = True, **settings
):
    bench = Bench(world, clock, folder)
    bench.dry_run = dry_run
    bench.settings = ObeySettings(**settings)
    if heard:
        bench.hand.heard.set()
    bench.start()
    try:
        yield bench
    finally:
        await bench.kill()


class NotebookWorld:
    """The smallest scheduler there can be: who is held, and the reason. Shows what is asked of an adapter."""

    target: Target = ("node", "n17")
    unknown: Target = ("node", "n99")
    signs = True

    def __init__(self, clock: FakeClock, folder: Path) -> None:
        self.reasons: dict[str, str] = {"n17": "", "n18": ""}
        self.adapter = Notebook(self)
        self.broken = False
        self._writes = 0

    def held(self):
        return bool(self.reasons["n17"])

    def hold_by_hand(self):
        self.reasons["n17"] = "new fan, anna"

    def release_by_hand(self):
        self.reasons["n17"] = ""

    def break_down(self, broken):
        self.broken = broken

    @property
    def write_count(self):
        return self._writes

    def write(self, node, reason):
        self._writes += 1
        self.reasons[node] = reason

    def check(self):
        if self.broken:
            raise ActionError("the notebook is shut")


class Notebook:
    """Implements `Adapter` for it."""

    name = "notebook"
    kinds = ("node",)

    def __init__(self, world: NotebookWorld) -> None:
        self._world = world

    async def plan(self, target: Target, wanted: Standing, marks: Marks) -> Plan:
        self._world.check()
        node = target[1]
        there = self._world.reasons.get(node)
        mark = marks.get("hold")
        if there is None:
            return Plan(f"no node {node}", forgets=tuple(marks))
        ours = mark is not None and there == mark.detail
        if not wanted.held:
            if ours:
                return Plan(f"release {node}", (Step(f"release {node}", (node, ""), clears=("hold",)),))
            return Plan(f"{node} is not held by us", forgets=tuple(marks))
        if ours:
            return Plan("")
        if there:
            return Plan(f"{node} is held by somebody: {there}")
        if mark is not None and mark.done:
            return Plan(f"{node} was released by somebody")
        reason = f"thermogate: {wanted.why[:40]}"
        return Plan(f"hold {node}", (Step(f"hold {node}", (node, reason), sets={"hold": reason}),))

    async def perform(self, step: Step) -> None:
        self._world.check()
        self._world.write(*step.data)

    async def found(self):
        self._world.check()
        reasons = self._world.reasons.items()
        return {
            ("node", node): {"hold": Mark(reason)}
            for node, reason in reasons
            if reason.startswith("thermogate:")
        }

"""The nodes of a simulated fleet that one process runs, and what it says of them."""

import asyncio
import contextlib
import fnmatch
import resource
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from thermogate.agent.app import Agent
from thermogate.agent.simulated_feed import Jump, JumpingClock, SimulatedFeed
from thermogate.agent.simulated_journal import Journal
from thermogate.agent.spool import Spool
from thermogate.cli import simulate_fleet
from thermogate.cli.settings import ThermogateSettings
from thermogate.core.clock import NS, SystemClock
from thermogate.core.errors import UnavailableError

_INTERVAL_S = 1.0
_DRAIN_S = 60.0
"""How long the end of `--for` waits for acknowledgements: twice `agent.uplink.ack_timeout_s`."""
_HURRY_S = 6.0
"""How long Ctrl-C or SIGTERM does: collectors acknowledge every 5 s."""
_FILES_A_NODE = 8
"""Socket, its wake-up pair, the spool's lock and segments, the journal."""


class Jumps(msgspec.Struct, frozen=True):
    """Nodes whose name matches `pattern` have their clock set."""

    pattern: str
    jump: Jump


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What a process has done so far.

    Whatever was generated before `stored_until_ns` is stored; 0 until that can be said of any time.
    `waiting` messages are in the spools; `troubled` nodes have a spool that cannot write to its disk;
    `problem` is what is wrong with one of the nodes, in a sentence.
    """

    time_ns: int
    stored_until_ns: int
    nodes: int
    ticks: int = 0
    samples: int = 0
    skipped: int = 0
    waiting: int = 0
    dropped: int = 0
    lost: int = 0
    troubled: int = 0
    problem: str = ""
    cpu_s: float = 0.0
    node_s: float = 0.0
    ended: bool = False


class Node(msgspec.Struct, frozen=True):
    """What a simulated node is made of: all real but for the feed."""

    feed: SimulatedFeed
    journal: Journal
    spool: Spool
    agent: Agent


class Runner:
    """Runs every `of`-th node, from number `part` on: `await Runner(...).run(stop)`."""

    def __init__(
        self, folder: Path, settings: ThermogateSettings, part: int, of: int, jumps: Sequence[Jumps]
    ) -> None:
        self._folder = folder
        self._fleet = simulate_fleet.load(folder)
        self._settings = settings
        self._jumps = jumps
        self._indices = range(part, self._fleet.nodes, of)
        self._file = folder / f"progress-{part}.json"
        self._nodes: list[Node] = []
        self._snapshots: deque[tuple[int, list[int]]] = deque()
        self._stored_until_ns = 0
        self._began_s = time.monotonic()
        self._cpu_s = 0.0
        self.latest: Progress | None = None
        """What it said of itself within the last second."""

    async def run(self, stop: asyncio.Event, for_s: float | None, drain_s: float | None) -> Progress:
        """Generate for `for_s` seconds, or until `stop`; then wait until all is stored, `drain_s` at most.

        Without `drain_s` that is a minute, and once `stop` is set a few seconds.
        """
        _allow_files(len(self._indices) * _FILES_A_NODE + 100)
        over = asyncio.Event()
        async with AsyncExitStack() as stack:
            self._nodes = [self._node(stack, index) for index in self._indices]
            self._began_s, self._cpu_s = time.monotonic(), time.process_time()
            async with asyncio.TaskGroup() as group:
                agents = [group.create_task(node.agent.run(over)) for node in self._nodes]
                watching = group.create_task(self._watch())
                await _wait(stop, for_s)
                for node in self._nodes:
                    node.feed.end()
                await self._drain(stop, drain_s)
                over.set()
                await asyncio.wait(agents)
                watching.cancel()
            progress = self._look(ended=True)
            self._save(progress)
        return progress

    def _node(self, stack: AsyncExitStack, index: int) -> Node:
        name = self._fleet.name(index)
        jumps = [one.jump for one in self._jumps if fnmatch.fnmatchcase(name, one.pattern)]
        clock = JumpingClock(SystemClock(), jumps)
        journal = stack.enter_context(Journal(simulate_fleet.journal(self._folder, name)))
        feed = SimulatedFeed(self._fleet, index, journal, clock)
        settings = self._settings.agent
        spool = stack.enter_context(Spool(simulate_fleet.spool(self._folder, name), settings.spool, clock))
        agent = Agent(feed, spool, settings, self._settings.mqtt, clock)
        return Node(feed, journal, spool, agent)

    async def _drain(self, stop: asyncio.Event, drain_s: float | None) -> None:
        until_s = time.monotonic() + (_DRAIN_S if drain_s is None else drain_s)
        while self._waiting() and time.monotonic() < until_s:
            if drain_s is None and stop.is_set():
                drain_s, until_s = _HURRY_S, min(until_s, time.monotonic() + _HURRY_S)
            await asyncio.sleep(_INTERVAL_S / 10)

    async def _watch(self) -> None:
        while True:
            self._save(self._look())
            await asyncio.sleep(_INTERVAL_S)

    def _waiting(self) -> int:
        return sum(node.spool.depth for node in self._nodes)

    def _look(self, *, ended: bool = False) -> Progress:
        """How far the stores have come, by what the spools held a second ago, two, and so on."""
        now_ns = time.time_ns()
        self._snapshots.append((now_ns, [node.spool.newest_seq for node in self._nodes]))
        oldest = [node.spool.oldest_seq for node in self._nodes]
        while self._snapshots:
            at_ns, newest = self._snapshots[0]
            if any(first is not None and first <= last for first, last in zip(oldest, newest, strict=True)):
                break
            self._stored_until_ns = at_ns
            self._snapshots.popleft()
        lived_s = time.monotonic() - self._began_s
        return Progress(
            time_ns=now_ns,
            stored_until_ns=self._stored_until_ns,
            nodes=len(self._nodes),
            ticks=sum(node.journal.ticks for node in self._nodes),
            samples=sum(node.feed.samples for node in self._nodes),
            skipped=sum(node.feed.skipped for node in self._nodes),
            waiting=self._waiting(),
            dropped=sum(node.spool.dropped for node in self._nodes),
            lost=sum(node.spool.lost for node in self._nodes),
            troubled=sum(bool(node.spool.problem) for node in self._nodes),
            problem=next((said for node in self._nodes for said in node.agent.problems), ""),
            cpu_s=time.process_time() - self._cpu_s,
            node_s=len(self._nodes) * lived_s,
            ended=ended,
        )

    def _save(self, progress: Progress) -> None:
        self.latest = progress
        draft = self._file.with_suffix(".new")
        with contextlib.suppress(OSError):  # the next one will do
            draft.write_bytes(msgspec.json.encode(progress))
            draft.replace(self._file)


def together(parts: Sequence[Progress]) -> Progress:
    """What several processes have done."""
    return Progress(
        time_ns=min(part.time_ns for part in parts),
        stored_until_ns=min(part.stored_until_ns for part in parts),
        nodes=sum(part.nodes for part in parts),
        ticks=sum(part.ticks for part in parts),
        samples=sum(part.samples for part in parts),
        skipped=sum(part.skipped for part in parts),
        waiting=sum(part.waiting for part in parts),
        dropped=sum(part.dropped for part in parts),
        lost=sum(part.lost for part in parts),
        troubled=sum(part.troubled for part in parts),
        problem=next((part.problem for part in parts if part.problem), ""),
        cpu_s=sum(part.cpu_s for part in parts),
        node_s=sum(part.node_s for part in parts),
        ended=all(part.ended for part in parts),
    )


def sentence(progress: Progress) -> str:
    """One line for a person."""
    text = (
        f"{progress.nodes} nodes: {progress.samples:,} samples generated, {progress.waiting:,} messages wait"
    )
    behind_s = max(0.0, (progress.time_ns - progress.stored_until_ns) / NS)
    if not progress.waiting:
        text += ", all stored"
    elif progress.stored_until_ns:
        text += f", all stored up to {behind_s:.0f} s ago"
    trouble = (
        (progress.skipped, "ticks skipped"),
        (progress.dropped + progress.lost, "messages dropped"),
        (progress.troubled, "spools without a disk"),
    )
    for count, what in trouble:
        text += f", {count:,} {what}" if count else ""
    return text + (f"; {progress.problem}" if progress.problem else "")


async def _wait(stop: asyncio.Event, for_s: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await stop.wait()


def _allow_files(count: int) -> None:
    """Raises UnavailableError where this process may not open so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard or (soft < count and hard == resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    elif soft < count:
        raise UnavailableError(f"{count} open files are needed, {hard} are allowed: use --processes")

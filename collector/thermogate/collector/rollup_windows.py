"""Which windows have to be rolled up, and when. Pure."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from thermogate.collector.store.resolution import (
    LOOK_BACK_NS,
    STEP_NS,
    Resolution,
    Span,
    Window,
    ceil,
    floor,
    merged,
)

MINUTE_NS = STEP_NS["1m"]
HOUR_NS = STEP_NS["1h"]

_STAMP = re.compile(rb" ([0-9]+)\n")
_AHEAD_NS = 24 * HOUR_NS
"""Samples stamped further ahead come from a clock that is wrong: they are stored, and not rolled up."""
MANY = 256
"""More nodes than this in a window stand for all."""
_PAIRS = 100_000
"""Windows times nodes that are held, 10 MB; beyond, few nodes stand for all."""
_FEW = 8

ALL = b"*"
"""In place of a node: all nodes."""

Nodes = set[bytes] | None
"""Names; None: all nodes."""


def stamps(payload: bytes) -> tuple[bytes, Iterable[int]]:
    """The node and the stamps of a payload that `wire.check_telemetry` has passed, in a few microseconds.

    Lines of one tick have one stamp, which is looked for as text; only others are taken one by one.
    """
    begin = payload.index(b"=") + 1
    node = payload[begin : payload.index(b" ", begin)]
    last = payload[payload.rindex(b" ") :]
    if payload.count(last) == payload.count(b"\n") - 1:
        return node, (int(last),)
    return node, {int(stamp) for stamp in _STAMP.findall(payload, payload.index(b"\n") + 1)}


class Dirty:
    """Windows of one resolution whose samples have come since they were rolled up last.

    What is before `until_ns` has been rolled up once: windows there are late, and wait until nothing has
    come for them from one look to the next, as a backlog fills them in many steps.
    """

    def __init__(self, resolution: Resolution, until_ns: int) -> None:
        self.until_ns = until_ns
        self._step_ns = STEP_NS[resolution]
        self._nodes: dict[int, Nodes] = {}
        self._touched: set[int] = set()
        self._pairs = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, start_ns: int, nodes: Nodes) -> bool:
        """A window of these nodes. Returns whether it was not known to be dirty for them all."""
        if start_ns < self.until_ns:
            self._touched.add(start_ns)
        known = self._nodes.setdefault(start_ns, set())
        if known is None or (nodes is not None and known and nodes <= known):
            return False
        before = len(known)
        most = MANY if self._pairs < _PAIRS else _FEW
        if nodes is None or (start_ns < self.until_ns and len(known | nodes) > most):
            self._nodes[start_ns] = None
            self._pairs -= before
        else:
            known |= nodes
            self._pairs += len(known) - before
        return True

    def __contains__(self, start_ns: int) -> bool:
        return start_ns in self._nodes

    def has(self, start_ns: int, node: bytes) -> bool:
        """Whether a window is known to be dirty for a node."""
        nodes = self._nodes.get(start_ns, ())
        return nodes is None or node in nodes

    @property
    def late_count(self) -> int:
        """Windows before `until_ns`."""
        return sum(start_ns < self.until_ns for start_ns in self._nodes)

    def items(self) -> Iterator[tuple[int, Nodes]]:
        """Begin and nodes of every window."""
        return iter(self._nodes.items())

    def fresh(self, closed_ns: int) -> dict[int, Nodes]:
        """Windows from `until_ns` on that end at `closed_ns` or before."""
        return {
            start_ns: nodes
            for start_ns, nodes in self._nodes.items()
            if self.until_ns <= start_ns <= closed_ns - self._step_ns
        }

    def late(self) -> dict[int, Nodes]:
        """Windows before `until_ns` for which nothing has come since the last call, newest first."""
        touched, self._touched = self._touched, set()
        starts = sorted((start for start in self._nodes if start < self.until_ns), reverse=True)
        return {start: self._nodes[start] for start in starts if start not in touched}

    def take(self, start_ns: int) -> None:
        """A window is about to be rolled up: what comes from now on makes it dirty again."""
        nodes = self._nodes.pop(start_ns, None)
        self._pairs -= len(nodes or ())

    def leave(self, until_ns: int) -> None:
        """Somebody else makes the windows up to here."""
        if until_ns <= self.until_ns:
            return
        for start_ns in [start for start in self._nodes if self.until_ns <= start < until_ns]:
            self.take(start_ns)
        self.until_ns = until_ns

    def forget(self, before_ns: int) -> None:
        """Let go of windows that cannot be made anew any more."""
        for start_ns in [start for start in self._nodes if start < before_ns]:
            self.take(start_ns)


class Marker:
    """Marks the minutes that hold the samples of stored batches."""

    def __init__(self, dirty: Dirty) -> None:
        self._dirty = dirty

    def mark(self, payloads: Iterable[bytes], now_ns: int, oldest_ns: int) -> list[tuple[int, bytes]]:
        """What has to be noted lest a restart forget it: a late minute with its node, or one that is fresh
        and is marked for the first time with ALL.

        Stamps before `oldest_ns` are past their retention.
        """
        found = []
        dirty = self._dirty
        for payload in payloads:
            node, times = stamps(payload)
            for time_ns in times:
                start_ns = time_ns - time_ns % MINUTE_NS
                fresh = start_ns >= dirty.until_ns
                if fresh and dirty.has(start_ns, node):
                    continue
                if not oldest_ns <= start_ns < now_ns + _AHEAD_NS:
                    continue
                known = start_ns in dirty
                if dirty.add(start_ns, {node}) and not (fresh and known):
                    found.append((start_ns, ALL if fresh else node))
        return found


def runs(windows: Mapping[int, Nodes], step_ns: int) -> list[Window]:
    """Consecutive windows of the same nodes as one, in order."""
    found: list[Window] = []
    end_ns, last = -1, None
    for start_ns in sorted(windows):
        nodes = windows[start_ns]
        if found and start_ns == end_ns and nodes == last:
            found[-1] = Window(found[-1].start_ns, start_ns + step_ns, found[-1].nodes)
        else:
            names = (
                None if nodes is None or len(nodes) > MANY else tuple(sorted(node.decode() for node in nodes))
            )
            found.append(Window(start_ns, start_ns + step_ns, names))
        end_ns, last = start_ns + step_ns, nodes
    return found


def followed(minutes: Mapping[int, Nodes], until_ns: int) -> dict[int, Nodes]:
    """With the minutes after them, before `until_ns`: their first step may begin in what has changed."""
    found: dict[int, Nodes] = {}
    for start_ns, nodes in minutes.items():
        found[start_ns] = _union(found.get(start_ns, set()), nodes)
        for next_ns in range(start_ns + MINUTE_NS, start_ns + MINUTE_NS + LOOK_BACK_NS, MINUTE_NS):
            if next_ns < until_ns:
                found[next_ns] = _union(found.get(next_ns, set()), nodes)
    return found


def chunks(windows: Mapping[int, Nodes], most: int, all_nodes: int) -> Iterator[dict[int, Nodes]]:
    """Parts, each of about `most` windows times nodes, in the order given; None stands for `all_nodes`."""
    chunk: dict[int, Nodes] = {}
    pairs = 0
    for start_ns, nodes in windows.items():
        count = all_nodes if nodes is None else len(nodes)
        if chunk and pairs + count > most:
            yield chunk
            chunk, pairs = {}, 0
        chunk[start_ns] = nodes
        pairs += count
    if chunk:
        yield chunk


def uncovered(covered: Sequence[Span], start_ns: int, end_ns: int) -> tuple[Span, ...]:
    """The parts of [start_ns, end_ns) that none of the covered spans holds, in order."""
    edges = [start_ns, *itertools.chain.from_iterable(merged(covered)), end_ns]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return merged((max(first, start_ns), min(last, end_ns)) for first, last in gaps)


def newest_gap(
    covered: Mapping[Resolution, Sequence[Span]],
    until_ns: Mapping[Resolution, int],
    oldest_ns: int,
    most_ns: int,
) -> tuple[Resolution, Span] | None:
    """What is stored, as far back as `oldest_ns`, and not covered: its newest part, up to `most_ns`.

    Minutes first; hours only of minutes that are covered.
    """
    gaps = uncovered(covered.get("1m", ()), oldest_ns, until_ns["1m"])
    if gaps:
        first_ns, last_ns = gaps[-1]
        return "1m", (max(first_ns, last_ns - most_ns), last_ns)
    for first_ns, last_ns in reversed(covered.get("1m", ())):
        hours = ceil(first_ns, HOUR_NS), floor(min(last_ns, until_ns["1h"]), HOUR_NS)
        gaps = uncovered(covered.get("1h", ()), *hours) if hours[0] < hours[1] else ()
        if gaps:
            return "1h", (max(gaps[-1][0], gaps[-1][1] - 24 * HOUR_NS), gaps[-1][1])
    return None


def _union(one: Nodes, other: Nodes) -> Nodes:
    return None if one is None or other is None else one | other

"""What is asked for every second, in memory: newest samples, decisions in force, statuses of nodes."""

import threading
from collections.abc import Iterable

from thermogate.collector.store.rows import Identity, Row
from thermogate.core.decision import GateDecision
from thermogate.core.model import Status
from thermogate.core.wire import Point


class Newest:
    """Knows of each device the sample, and of each target the decision, with the newest stamp; and of
    each node the status that was seen last.
    """

    def __init__(self) -> None:
        self._rows: dict[Identity, Row] = {}
        self._points: dict[Identity, Point] = {}
        self._gates: dict[tuple[str, str], GateDecision] = {}
        self._statuses: dict[str, Status] = {}
        self._changing = threading.Lock()
        self._asking = threading.Lock()

    def load(
        self, points: Iterable[Point], decisions: Iterable[GateDecision], statuses: Iterable[Status]
    ) -> None:
        """Begin with what is stored."""
        self._points |= {(point.measurement, point.node, point.device): point for point in points}
        self.see((), decisions, statuses)

    def see(self, rows: Iterable[Row], decisions: Iterable[GateDecision], statuses: Iterable[Status]) -> None:
        """Learn what has been stored. What comes late replaces nothing newer."""
        with self._changing:
            for row in rows:
                known = self._rows.get(row.tags.identity)
                if known is None or row.time_ns > known.time_ns:
                    self._rows[row.tags.identity] = row
        for decision in decisions:
            target = (decision.kind, decision.target)
            seen = self._gates.get(target)
            if seen is None or _order(decision) > _order(seen):
                self._gates[target] = decision
        self._statuses |= {status.node: status for status in statuses}

    def forget(self, samples_before_ns: int, decisions_before_ns: int) -> None:
        """Let go of devices and targets of which nothing has come for long."""
        with self._changing:
            self._rows = {key: one for key, one in self._rows.items() if one.time_ns >= samples_before_ns}
            self._points = {key: one for key, one in self._points.items() if one.time_ns >= samples_before_ns}
        self._gates = {
            key: one for key, one in self._gates.items() if one.issued_at_ns >= decisions_before_ns
        }

    def points(self, since_ns: int) -> list[Point]:
        """The newest sample of every device that is not older than `since_ns`.

        Rows become samples when somebody asks, and once: most are replaced unseen. In any thread: while rows
        of a fleet become samples, which takes 30 ms, `see` goes on.
        """
        with self._asking:
            with self._changing:
                rows, self._rows = self._rows, {}
            fresh = [(identity, _point(row)) for identity, row in rows.items()]
            with self._changing:
                for identity, point in fresh:
                    known = self._points.get(identity)
                    if known is None or point.time_ns > known.time_ns:
                        self._points[identity] = point
                return [point for point in self._points.values() if point.time_ns >= since_ns]

    def gates(self) -> list[GateDecision]:
        """The newest decision of each target, ordered by (kind, target)."""
        return [self._gates[target] for target in sorted(self._gates)]

    def statuses(self) -> list[Status]:
        """The newest status of each node, ordered by node."""
        return [self._statuses[node] for node in sorted(self._statuses)]


def _order(decision: GateDecision) -> tuple[int, int, str]:
    return decision.issued_at_ns, decision.seq, decision.id


def _point(row: Row) -> Point:
    fields = dict(zip(row.names, row.values, strict=True))
    return Point(*row.tags.identity, row.tags.model, row.tags.origin, fields, row.time_ns)

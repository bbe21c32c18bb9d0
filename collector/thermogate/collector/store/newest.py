"""What is asked for every second, in memory: the newest sample of a device, the decision in force."""

from collections.abc import Iterable
from typing import cast

from thermogate.collector.store.rows import Identity, Row
from thermogate.core.decision import GateDecision
from thermogate.core.model import Origin
from thermogate.core.wire import Point, format_line


class Newest:
    """Knows of each device the sample, and of each target the decision, with the newest stamp."""

    def __init__(self) -> None:
        self._lines: dict[Identity, tuple[int, str]] = {}
        self._gates: dict[tuple[str, str], GateDecision] = {}

    def load(self, points: Iterable[Point], decisions: Iterable[GateDecision]) -> None:
        """Begin with what is stored."""
        for point in points:
            identity = (point.measurement, point.node, point.device)
            self._lines[identity] = (point.time_ns, _line(point))
        self.see((), decisions)

    def see(self, rows: Iterable[Row], decisions: Iterable[GateDecision]) -> None:
        """Learn what has been stored. What comes late replaces nothing newer."""
        for row in rows:
            seen_ns, _ = self._lines.get(row.tags.identity, (-1, ""))
            if row.time_ns > seen_ns:
                self._lines[row.tags.identity] = (row.time_ns, row.line)
        for decision in decisions:
            target = (decision.kind, decision.target)
            seen = self._gates.get(target)
            if seen is None or _order(decision) > _order(seen):
                self._gates[target] = decision

    def forget(self, samples_before_ns: int, decisions_before_ns: int) -> None:
        """Let go of devices and targets of which nothing has come for long."""
        self._lines = {key: one for key, one in self._lines.items() if one[0] >= samples_before_ns}
        self._gates = {
            key: one for key, one in self._gates.items() if one.issued_at_ns >= decisions_before_ns
        }

    def lines(self, since_ns: int) -> bytes:
        """The newest line of every device that is not older than `since_ns`."""
        return "\n".join(line for time_ns, line in self._lines.values() if time_ns >= since_ns).encode()

    def gates(self) -> list[GateDecision]:
        """The newest decision of each target, ordered by (kind, target)."""
        return [self._gates[target] for target in sorted(self._gates)]


def _order(decision: GateDecision) -> tuple[int, int, str]:
    return decision.issued_at_ns, decision.seq, decision.id


def _line(point: Point) -> str:
    origin = cast("Origin | None", point.origin or None)
    tags = (point.measurement, point.node, point.device, point.model)
    return format_line(*tags, origin, point.fields, point.time_ns).removesuffix("\n")

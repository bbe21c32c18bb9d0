"""What is stored of one simulated node against what it generated, sample by sample. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import isclose

import msgspec

from thermogate.agent.simulated import ORIGIN, Fleet, Played
from thermogate.agent.simulated_journal import Generated
from thermogate.core.wire import Point

_RELATIVE = 1e-12
"""VictoriaMetrics keeps decimals, InfluxDB and DuckDB the double itself: nothing is further off than this."""
_EXAMPLES = 20

_Device = tuple[str, str]


class Problem(msgspec.Struct, frozen=True):
    """One sample that is not as it was generated."""

    what: str
    node: str
    device: str
    time_ns: int
    text: str = ""


class Verdict(msgspec.Struct, kw_only=True):
    """What a comparison has found so far. `sent` are the samples that have to be stored.

    `stored` of them are; `missing` are not. `double` are stored once more than once; `differing` have other
    values or tags than were generated; `foreign` carry a simulated node's name and were not generated.
    `unsure` were generated in the instant in which the process was killed: they may be stored or not.
    """

    nodes: int = 0
    sent: int = 0
    stored: int = 0
    missing: int = 0
    double: int = 0
    differing: int = 0
    foreign: int = 0
    unsure: int = 0
    examples: list[Problem] = []

    @property
    def sound(self) -> bool:
        """Whether the store holds what was generated, once, and nothing else."""
        return not (self.missing or self.double or self.differing or self.foreign)


class NodeCheck:
    """Compares one node: `take` what is stored of it, in any pieces, then `finish`.

    Of one device points come in the order of time, as `Query.samples` has them, so that a double one follows
    the first. Stamps of a store that keeps only every `resolution_ns` are compared as it rounds them, down.
    """

    def __init__(
        self,
        fleet: Fleet,
        index: int,
        generated: Iterable[Generated],
        verdict: Verdict,
        resolution_ns: int = 1,
    ) -> None:
        self._verdict = verdict
        self._node = fleet.name(index)
        self._resolution_ns = resolution_ns
        ticks = sorted(generated, key=lambda one: one.time_ns)
        self._ticks: Sequence[Generated] = ticks
        self._stamps = [self._rounded(one.time_ns) for one in ticks]
        self._played: dict[_Device, Played] = {
            (played.device.kind, played.device.device): played for played in fleet.devices(index)
        }
        self._seen = {key: bytearray(len(ticks)) for key in self._played}

    def take(self, points: Iterable[Point]) -> None:
        """Compare some of what is stored; what belongs to other nodes or origins counts as foreign."""
        for point in points:
            self._take(point)

    def finish(self) -> None:
        """Count what is missing."""
        self._verdict.nodes += 1
        for key, played in self._played.items():
            for tick, seen in zip(self._ticks, self._seen[key], strict=True):
                if not played.trace.rows[played.row(tick.tick)]:
                    continue
                if not tick.certain:
                    self._verdict.unsure += 1
                    continue
                self._verdict.sent += 1
                self._verdict.stored += bool(seen)
                if not seen:
                    self._verdict.missing += 1
                    self._tell("missing", key, tick.time_ns)

    def _take(self, point: Point) -> None:
        key = (point.measurement, point.device)
        at = bisect_left(self._stamps, point.time_ns)
        known = at < len(self._stamps) and self._stamps[at] == point.time_ns
        if not known or key not in self._played or point.node != self._node:
            self._verdict.foreign += 1
            self._tell("foreign", key, point.time_ns)
            return
        at = self._same_stamp(key, at)
        seen, played = self._seen[key], self._played[key]
        if seen[at]:
            self._verdict.double += 1
            self._tell("double", key, point.time_ns)
            return
        seen[at] = 1
        wrong = _difference(point, played, self._ticks[at].tick)
        if wrong:
            self._verdict.differing += 1
            self._tell("differing", key, point.time_ns, wrong)

    def _same_stamp(self, key: _Device, at: int) -> int:
        """Of ticks that a coarse store rounds to one stamp the first that has not been seen."""
        stamp, last = self._stamps[at], at
        while last < len(self._stamps) and self._stamps[last] == stamp:
            if not self._seen[key][last]:
                return last
            last += 1
        return at

    def _rounded(self, time_ns: int) -> int:
        return time_ns - time_ns % self._resolution_ns

    def _tell(self, what: str, key: _Device, time_ns: int, text: str = "") -> None:
        if len(self._verdict.examples) < _EXAMPLES:
            self._verdict.examples.append(Problem(what, self._node, "".join(key), time_ns, text))


def _difference(point: Point, played: Played, tick: int) -> str:
    """What is not as generated, in a few words; "" when all is."""
    if (point.origin, point.model) != (ORIGIN, played.device.model):
        return f"origin {point.origin!r}, model {point.model!r}"
    expected = _values(played.trace.rows[played.row(tick)])
    for name in expected.keys() | point.fields.keys():
        value, stored = expected.get(name), point.fields.get(name)
        if value is None or stored is None or not isclose(value, stored, rel_tol=_RELATIVE):
            return f"{name} is {stored}, generated was {value}"
    return ""


def _values(fields: str) -> dict[str, float]:
    pairs = (pair.partition("=") for pair in fields.split(","))
    return {name: float(value.removesuffix("i")) for name, _, value in pairs if name}

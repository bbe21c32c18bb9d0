"""What a sound message may bring into a store: how many nodes and series, which fields and stamps.

Times come from the caller. `make bench NAME=limits` says what it costs: about a third of what it costs to
check the form, as every byte has to be looked at, for stamps and types on every line.
"""

import random
from collections.abc import Callable

from thermogate.collector import layout
from thermogate.collector.checking import Checked
from thermogate.collector.config import LimitSettings
from thermogate.collector.said import SignalLines
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision
from thermogate.core.errors import WireError
from thermogate.core.model import Event, Status
from thermogate.core.schema import MEASUREMENTS

_DAY_S = 86_400.0
_DAY_NS = round(_DAY_S * NS)
_SWEEP_NS = 60 * NS
_SIGNATURES = 32
"""Of one node: what it sends differs when a device does not answer, with its self-statistics, and where one
of its five shares of stalled time is so small that it is written with an exponent."""
_LOOK_AGAIN = 1 / 64
"""Of messages whose signature is known, those that are looked at all the same: digits in names."""
_ROOM = 1.25
"""A message that is longer than this times the longest so far may hold more names."""
_ALIKE = 4096
_NONE: frozenset[bytes] = frozenset()


class _Node:
    """What is known of one node. `seen_ns` is UTC, when something of it was last looked at."""

    __slots__ = ("longest", "seen_ns", "series", "signatures", "suspect")

    def __init__(self) -> None:
        self.series = _NONE
        self.signatures: tuple[int, ...] = ()
        self.longest = 0.0
        self.suspect = False
        self.seen_ns = 0


class Limits:
    """Remembers some hundred bytes a node; nodes that are alike share the names of their series.

    Stamps older than `retention_days` are for no store: InfluxDB refuses them, VictoriaMetrics drops
    them without a word. `draw` gives numbers from 0 to 1, by which messages are looked at again.
    """

    def __init__(
        self, settings: LimitSettings, retention_days: float, draw: Callable[[], float] = random.random
    ) -> None:
        self._settings = settings
        self._retention_days = retention_days
        self._draw = draw
        self._nodes: dict[str, _Node] = {}
        self._targets: dict[tuple[str, str], int] = {}
        self._extra: dict[bytes, set[bytes]] = {name.encode(): set() for name in MEASUREMENTS}
        self._alike: dict[frozenset[bytes], frozenset[bytes]] = {}
        self._swept_ns = 0
        self._targets_swept_ns = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def inspect(self, checked: Checked, utc_ns: int) -> None:
        """Raise WireError for what no store is to take of a message that `checking.check` has passed."""
        match checked.content:
            case bytes() as payload:
                assert checked.receipt is not None
                self._telemetry(checked.receipt.node, payload, utc_ns)
            case SignalLines() as signals:
                self._stamp(signals.time_ns, utc_ns, aged=True)
                series = frozenset(f"signal,device={device}".encode() for device in signals.devices)
                self._allow(signals.node, series, utc_ns)
            case Event() as event:
                self._stamp(event.time_ns, utc_ns, aged=True)
                of_device = f"event,{event.device_kind},{event.device}".encode()
                self._allow(event.node, frozenset([of_device]), utc_ns)
            case Status() as status:
                self._stamp(status.time_ns, utc_ns, aged=False)  # a last will is as old as its connection
                if len(status.devices) > self._settings.max_node_series:
                    raise WireError(
                        f"status names {len(status.devices)} devices{self._over('max_node_series')}"
                    )
                self._allow(status.node, _NONE, utc_ns)
            case GateDecision() as decision:
                self._stamp(decision.issued_at_ns, utc_ns, aged=False)
                self._target((decision.kind, decision.target), utc_ns)

    def knows(self, time_ns: int, utc_ns: int) -> bool:
        """Of telemetry with this stamp, whose series and fields its node is known to send: that it need not
        be inspected now. Raises WireError for the stamp.
        """
        self._stamp(time_ns, utc_ns, aged=True)
        return self._draw() >= _LOOK_AGAIN

    def _telemetry(self, name: str, payload: bytes, utc_ns: int) -> None:
        signature, stamp_ns = layout.signature(payload)
        self._stamp(stamp_ns, utc_ns, aged=True)
        node = self._nodes.get(name)
        known = node is not None and not node.suspect and signature in node.signatures
        if known and node is not None and len(payload) <= node.longest and self._draw() >= _LOOK_AGAIN:
            return
        try:
            found = layout.content(payload)
            for one_ns in found.stamps_ns:
                self._stamp(one_ns, utc_ns, aged=True)
            node = self._allow(name, found.series, utc_ns)
            self._learn(found.unknown)
        except WireError:
            if node is not None:
                node.suspect = node.suspect or known  # it looked as one that was sound
            raise
        node.longest = max(node.longest, len(payload) * _ROOM)
        if found.plain and len(found.stamps_ns) == 1 and signature not in node.signatures:
            node.signatures = (*node.signatures[1 - _SIGNATURES :], signature)

    def _allow(self, name: str, series: frozenset[bytes], utc_ns: int) -> _Node:
        """The node with these series added. Raises WireError when these are too many, or it is."""
        node = self._nodes.get(name)
        known = node.series if node is not None else _NONE
        if not series <= known:
            after = known | series
            if len(after) > self._settings.max_node_series:
                raise WireError(
                    f"node {name} has {len(after)} devices and models{self._over('max_node_series')}"
                )
            if len(self._alike) >= _ALIKE:
                self._alike.clear()
            known = self._alike.setdefault(after, after)
        if node is None:
            node = self._enrol(name, utc_ns)
        node.series = known
        node.seen_ns = utc_ns
        return node

    def _enrol(self, name: str, utc_ns: int) -> _Node:
        """Who has sent something sound is one of ours from now on, if there is room."""
        most = self._settings.max_nodes
        if len(self._nodes) >= most and not 0 <= utc_ns - self._swept_ns < _SWEEP_NS:
            self._swept_ns = utc_ns
            self._nodes = {one: node for one, node in self._nodes.items() if node.seen_ns >= utc_ns - _DAY_NS}
        if len(self._nodes) >= most:
            raise WireError(f"node {name} is one more{self._over('max_nodes')}")
        node = self._nodes[name] = _Node()
        return node

    def _target(self, target: tuple[str, str], utc_ns: int) -> None:
        most = self._settings.max_nodes
        if target not in self._targets and len(self._targets) >= most:
            if not 0 <= utc_ns - self._targets_swept_ns < _SWEEP_NS:
                self._targets_swept_ns = utc_ns
                self._targets = {one: seen for one, seen in self._targets.items() if seen >= utc_ns - _DAY_NS}
            if len(self._targets) >= most:
                raise WireError(
                    f"{' '.join(target)} is one more target of decisions{self._over('max_nodes')}"
                )
        self._targets[target] = utc_ns

    def _learn(self, unknown: frozenset[layout.Field]) -> None:
        """All unknown fields of a message, or none when one is too many."""
        new = [(measurement, name) for measurement, name in unknown if name not in self._extra[measurement]]
        for measurement in {measurement for measurement, _ in new}:
            names = sorted(name for of, name in new if of == measurement)
            room = self._settings.max_extra_fields - len(self._extra[measurement])
            if len(names) > room:
                text = (
                    f"{measurement.decode()} field {names[max(room, 0)].decode()} is one more unknown field"
                )
                raise WireError(text + self._over("max_extra_fields"))
        for measurement, name in new:
            self._extra[measurement].add(name)

    def _stamp(self, time_ns: int, utc_ns: int, *, aged: bool) -> None:
        ahead_s = (time_ns - utc_ns) / NS
        if ahead_s > self._settings.max_future_s:
            raise WireError(
                f"stamp {time_ns} is {ahead_s:.0f} s ahead of this clock{self._over('max_future_s')}"
            )
        if aged and -ahead_s > self._retention_days * _DAY_S:
            over = f", over the {self._retention_days:g} of collector.retention.raw_days"
            raise WireError(f"stamp {time_ns} is {-ahead_s / _DAY_S:.1f} days old{over}")

    def _over(self, setting: str) -> str:
        return f", over the {getattr(self._settings, setting):g} of collector.limits.{setting}"

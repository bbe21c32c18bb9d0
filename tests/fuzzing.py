"""Drives the ingest of a collector with whatever comes, and says what must never be."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.contract.making import NOW_NS
from tests.fakes import FakeClock
from tests.mutations import Said
from tests.unit.collector.fake_broker import FakeBroker, received
from thermogate.collector.acks import Acker
from thermogate.collector.config import CollectorSettings, LimitSettings
from thermogate.collector.counters import Counters
from thermogate.collector.ingest import Ingest
from thermogate.collector.quarantine import Quarantine
from thermogate.collector.store.base import Batch, Settling, Store
from thermogate.core.clock import NS
from thermogate.core.errors import WireError
from thermogate.core.mqtt import Message
from thermogate.core.schema import INTEGER_FIELDS, MEASUREMENTS
from thermogate.core.wire import Point, parse_points, split_topic

LIMITS = LimitSettings(max_nodes=50, max_node_series=40, max_extra_fields=16, node_msgs_per_s=500)
_STUCK_S = 60.0
_KNOWN = {name: {field.name for field in one.fields} for name, one in MEASUREMENTS.items()}
_ROOM_FOR_DIGITS = 40
"""Unknown names may pass behind a known layout until one of them is looked at (collector.layout)."""


class Watched:
    """A store, and what it has taken; the rest of it is that of the store inside."""

    def __init__(self, inside: Store) -> None:
        self._inside = inside
        self.taken: list[Batch] = []

    async def write(self, batch: Batch) -> Settling | None:
        settling = await self._inside.write(batch)
        self.taken.append(batch)
        return settling


class Fuzzed:
    """An ingest over a real store. `feed` raises AssertionError for what must never be."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = Watched(store)
        self.counters = Counters()
        self.broker = FakeBroker()
        self.series: set[tuple[str, str, str, str, str]] = set()
        """Measurement, node, device, model, origin of all that was stored."""
        self.fields: dict[str, set[str]] = {name: set() for name in MEASUREMENTS}
        self.seen: Counter[str] = Counter()
        """Messages by what became of them."""
        self._clock = FakeClock(NOW_NS)
        settings = CollectorSettings(limits=LIMITS)
        acker = Acker(self.broker, 1.0, self._clock, self.counters)
        quarantine = Quarantine(folder / "quarantine", 32 << 20, self._clock)
        self._ingest = Ingest(
            self.broker, self.store, acker, quarantine, self.counters, settings, self._clock
        )

    async def feed(self, said: Sequence[Said]) -> None:
        """Take these as one batch, and look at what became of them."""
        self._clock.pass_time(0.1)
        self.store.taken.clear()
        self.broker.acked.clear()
        self.broker.published.clear()
        before = self._accounts()
        messages = [received(topic, payload, mid=mid) for mid, (topic, payload) in enumerate(said, 1)]
        async with asyncio.timeout(_STUCK_S):
            await self._ingest.take(messages)
        after = self._accounts()
        assert self.broker.acked == messages, "the broker is acknowledged everything"
        self._check_accounts([one for one in messages if one.payload], after - before)
        self._check_stored({_node(one) for one in messages} - {""})
        self.seen += after - before

    def _accounts(self) -> Counter[str]:
        counters = self.counters.as_dict()
        names = ("messages", "quarantined", "withheld", "throttled", "quarantine_errors")
        return Counter({name: counters[name] for name in names})

    def _check_accounts(self, messages: Sequence[Message], became: Counter[str]) -> None:
        stored = sum(
            len(batch.telemetry) + len(batch.events) + len(batch.decisions) + len(batch.statuses)
            for batch in self.store.taken
        )
        assert became["messages"] == len(messages)
        rest = sum(count for name, count in became.items() if name != "messages")
        assert stored + rest == len(messages), f"{stored} stored, {became} of {len(messages)}"

    def _check_stored(self, nodes: set[str]) -> None:
        """Nothing of a node on whose topic nothing came, and nothing that some store cannot hold."""
        for batch in self.store.taken:
            for said in (*batch.events, *batch.statuses):
                assert said.node in nodes, f"{said} came on topics of {nodes}"
            for payload in batch.telemetry:
                for point in parse_points(payload):
                    assert point.node in nodes, f"{point} came on topics of {nodes}"
                    self._check_point(point)
        for name, fields in self.fields.items():
            extra = fields - _KNOWN[name]
            assert len(extra) <= LIMITS.max_extra_fields + _ROOM_FOR_DIGITS, f"{name} has {sorted(extra)}"
        for node, count in Counter(series[1] for series in self.series).items():
            assert count <= LIMITS.max_node_series, f"{node} has {count} series"

    def _check_point(self, point: Point) -> None:
        self.series.add((point.measurement, point.node, point.device, point.model, point.origin))
        self.fields[point.measurement] |= point.fields.keys()
        age_s = (NOW_NS - point.time_ns) / NS
        assert -2 * 86_400 < age_s < 31 * 86_400, f"{point} is of another time"
        for name, value in point.fields.items():
            assert math.isfinite(value), f"{point} has {name}={value}"
            if name in INTEGER_FIELDS and name in _KNOWN[point.measurement]:
                assert value == int(value), f"{point} has {name}={value}"


def _node(message: Message) -> str:
    """Whose topic it came on; "" of a topic that is no node's."""
    try:
        family, name, _ = split_topic(message.topic)
    except WireError:
        return ""
    return name if family == "node" else ""

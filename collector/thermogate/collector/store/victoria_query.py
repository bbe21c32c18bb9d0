"""Questions to VictoriaMetrics in MetricsQL and by export.

Windows are exact: `f(m[w])` at time t covers t - w < stamp <= t, so a range [a, b) is asked as w = b - a
at b - 1 ms, of functions that look at nothing before their window. What has no sample there has no value.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing

from thermogate.collector.store import victoria_usage
from thermogate.collector.store.base import DAY_NS, matching_kinds
from thermogate.collector.store.victoria_http import Exported, Row, VictoriaHttp
from thermogate.collector.store.victoria_text import MS, message, of_field, one_of, points, selector
from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision
from thermogate.core.model import Event, EventKind
from thermogate.core.query import Device, DeviceTime, Ranked, Reduction, Series, SeriesPoint, Usage
from thermogate.core.schema import Kind
from thermogate.core.wire import Point

_STEPS = 10_000
"""Asked for at a time: the server answers with 30,000 at most (-search.maxPointsPerTimeseries)."""
_REDUCED = '("avg_over_time","min_over_time","max_over_time","count_over_time")'
_FUNCTIONS: dict[Reduction, str] = {
    "mean": "avg_over_time",
    "min": "min_over_time",
    "max": "max_over_time",
}
_HOUR_MS = 3_600_000
_CHUNK_VALUES = 1_000_000
"""Held at a time while samples are read: about 80 MB."""

Span = tuple[int, int]
"""[start_ms, end_ms)."""


class VictoriaQuery:
    """The part of `Query` that is asked of an open `VictoriaHttp` alone."""

    def __init__(self, http: VictoriaHttp, database: str, clock: Clock) -> None:
        self._http = http
        self._database = database
        self._clock = clock
        self._retention_ns = 36_500 * DAY_NS

    async def series(
        self, device: Device, fields: tuple[str, ...], *, start_ns: int, end_ns: int, step_ns: int
    ) -> list[Series]:
        """As `Query.series`. A step of other than whole milliseconds is reduced here, sample by sample."""
        start_ms, end_ms = self._span(start_ns, end_ns)
        found = []
        for field in dict.fromkeys(fields):
            which = of_field(self._database, device.kind, field, node=device.node, device=device.device)
            if step_ns % MS:
                steps = _reduced(await self._exported(which, start_ms, end_ms), step_ns)
            else:
                steps = await self._steps(which, start_ms, end_ms, step_ns // MS)
            if steps:
                found.append(Series(device, field, tuple(steps)))
        return found

    async def top(
        self,
        kind: Kind,
        field: str,
        *,
        start_ns: int,
        end_ns: int,
        limit: int,
        by: Reduction = "mean",
        largest: bool = True,
    ) -> list[Ranked]:
        """As `Query.top`."""
        start_ms, end_ms = self._span(start_ns, end_ns)
        if start_ms >= end_ms:
            return []
        samples = f"{of_field(self._database, kind, field)}[{end_ms - start_ms}ms]"
        values: dict[Device, list[float]] = {}
        for row in await self._http.instant(f"{_FUNCTIONS[by]}({samples})", end_ms - 1):
            device = Device(row.metric["node"], kind, row.metric.get("device", ""))
            values.setdefault(device, []).append(float(row.value[1]))
        if by == "mean" and any(len(some) > 1 for some in values.values()):  # its model or origin changed
            ratio = f"sum(sum_over_time({samples})) by (node, device) / sum(count_over_time({samples}))"
            for row in await self._http.instant(f"{ratio} by (node, device)", end_ms - 1):
                device = Device(row.metric["node"], kind, row.metric.get("device", ""))
                values[device] = [float(row.value[1])]
        chosen = min if by == "min" else max
        ranked = [Ranked(device, chosen(some)) for device, some in values.items()]
        ranked.sort(key=lambda one: (-one.value if largest else one.value, one.device))
        return ranked[:limit]

    async def usage(self, times: Sequence[DeviceTime]) -> list[Usage | None]:
        """As `Query.usage`."""
        spans = [self._span(time.start_ns, time.end_ns) for time in times]
        devices = [time.device for time in times]
        return await victoria_usage.usage(self._http, self._database, devices, spans)

    async def events(
        self,
        *,
        start_ns: int,
        end_ns: int,
        node: str | None = None,
        without: Sequence[str] = (),
        kinds: Sequence[EventKind] = (),
        limit: int = 1000,
    ) -> list[Event]:
        """As `Query.events`."""
        matchers = [one_of("event", kinds)] if kinds else []
        which = self._selector("event_told", *matchers, **({} if node is None else {"node": node}))
        found: dict[tuple[int, str, str, str, str], Event] = {}
        async for labels in self._newest_first(which, start_ns, end_ns):
            for one in labels:
                event = message(one.metric, Event)
                key = (-event.time_ns, event.node, event.device_kind, event.device, event.event)
                if start_ns <= event.time_ns < end_ns and event.node not in without:
                    found[key] = event
            if len(found) >= limit:
                break
        return [found[key] for key in sorted(found)][:limit]

    async def decisions(
        self, *, start_ns: int, end_ns: int, target: str | None = None, limit: int = 1000
    ) -> list[GateDecision]:
        """As `Query.decisions`."""
        which = self._selector("decision_pace", **({} if target is None else {"target": target}))
        found: dict[str, GateDecision] = {}
        async for labels in self._newest_first(which, start_ns, end_ns):
            for one in labels:
                decision = message(one.metric, GateDecision)
                if start_ns <= decision.issued_at_ns < end_ns:
                    found[decision.id] = decision
            if len(found) >= limit:
                break
        newest = sorted(found.values(), key=lambda one: (one.issued_at_ns, one.seq, one.id), reverse=True)
        return newest[:limit]

    async def samples(
        self, *, start_ns: int, end_ns: int, node: str | None = None, device: str | None = None
    ) -> AsyncIterator[list[Point]]:
        """As `Query.samples`."""
        span = self._span(start_ns, end_ns)
        if span[0] >= span[1]:
            return
        for kind, number in matching_kinds(device):
            labels = {} if number is None else {"device": number}
            if node is None and (small := await self._small(self._selector(f"{kind}_", **labels), span)):
                yield points(kind, small)
                continue
            for its_node in [node] if node is not None else await self._nodes(kind, span):
                async with aclosing(self._samples_of_node(kind, its_node, labels, span)) as chunks:
                    async for chunk in chunks:
                        yield chunk

    async def _samples_of_node(
        self, kind: Kind, node: str, labels: Mapping[str, str], span: Span
    ) -> AsyncGenerator[list[Point], None]:
        """All in one go where it is little, else device by device."""
        which = self._selector(f"{kind}_", node=node, **labels)
        small = await self._small(which, span)
        if small is not None:
            if small:
                yield points(kind, small)
            return
        numbers = {labels.get("device", "") for labels in await self._http.series(which, *span)}
        for number in sorted(numbers):
            async with aclosing(self._samples_of(Device(node, kind, number), span)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _small(self, which: str, span: Span) -> list[Exported] | None:
        """Everything that matches; None when it is too much to be held."""
        exported, count = [], 0
        async with aclosing(self._http.export(which, span[0], span[1] - 1)) as series:
            async for one in series:
                exported.append(one)
                count += len(one.values)
                if count > _CHUNK_VALUES:
                    return None
        return exported

    async def _nodes(self, kind: Kind, span: Span) -> list[str]:
        return sorted(await self._http.label_values("node", self._selector(f"{kind}_"), *span))

    async def _samples_of(self, device: Device, span: Span) -> AsyncGenerator[list[Point], None]:
        """Piece by piece of the time; a piece with too much is read again as shorter ones."""
        which = self._selector(f"{device.kind}_", node=device.node, device=device.device)
        start_ms, end_ms = span
        length_ms = _HOUR_MS
        while start_ms < end_ms:
            until_ms = min(start_ms + length_ms, end_ms)
            exported = await self._small(which, (start_ms, until_ms))
            if exported is None and until_ms - start_ms > 1:
                length_ms = max(1, (until_ms - start_ms) // 8)
                continue
            if exported:
                yield points(device.kind, exported)
            if sum(len(one.values) for one in exported or ()) < _CHUNK_VALUES // 16:
                length_ms *= 4
            start_ms = until_ms

    async def _steps(self, which: str, start_ms: int, end_ms: int, step_ms: int) -> list[SeriesPoint]:
        """Whole steps in one go (or in runs of 10,000), the parts of one at both ends by themselves."""
        whole_ms, last_ms = -(-start_ms // step_ms) * step_ms, end_ms // step_ms * step_ms
        if whole_ms > last_ms:  # within one step
            whole_ms = last_ms = end_ms
        found = await self._one_step(which, start_ms, whole_ms, step_ms)
        for first_ms in range(whole_ms, last_ms, _STEPS * step_ms):
            until_ms = min(first_ms + _STEPS * step_ms, last_ms)
            rows = await self._http.ranged(
                f"aggr_over_time({_REDUCED}, {which}[{step_ms}ms])",
                first_ms + step_ms - 1,
                until_ms - 1,
                step_ms,
            )
            found += _merged(_values(rows), step_ms)
        return found + await self._one_step(which, last_ms, end_ms, step_ms)

    async def _one_step(self, which: str, start_ms: int, end_ms: int, step_ms: int) -> list[SeriesPoint]:
        if start_ms >= end_ms:
            return []
        rows = await self._http.instant(
            f"aggr_over_time({_REDUCED}, {which}[{end_ms - start_ms}ms])", end_ms - 1
        )
        return _merged(_values(rows), step_ms)

    async def _newest_first(self, which: str, start_ns: int, end_ns: int) -> AsyncIterator[list[Exported]]:
        """Series of messages in longer and longer pieces of the time, from its end."""
        start_ms, end_ms = self._span(start_ns // MS * MS, end_ns)
        end_ms = min(end_ms, self._clock.utc_ns() // MS + 48 * _HOUR_MS)
        length_ms = 50 * _HOUR_MS  # of which 48 are ahead: the server takes stamps of two days from now
        while start_ms < end_ms:
            begin_ms = max(start_ms, end_ms - length_ms)
            yield await self._exported(which, begin_ms, end_ms)
            end_ms, length_ms = begin_ms, 4 * length_ms

    async def _exported(self, which: str, start_ms: int, end_ms: int) -> list[Exported]:
        if start_ms >= end_ms:
            return []
        async with aclosing(self._http.export(which, start_ms, end_ms - 1)) as series:
            return [one async for one in series]

    def _selector(self, name: str, *matchers: str, **labels: str) -> str:
        return selector(self._database, name, *matchers, **labels)

    def _span(self, start_ns: int, end_ns: int) -> Span:
        """Whole milliseconds of what the server may have: nothing past its retention or two days ahead."""
        now_ns = self._clock.utc_ns()
        first_ns = max(start_ns, now_ns - self._retention_ns - DAY_NS, 0)
        return -(-first_ns // MS), -(-min(end_ns, now_ns + 3 * DAY_NS) // MS)


def _values(rows: Iterable[Row]) -> Iterator[tuple[str, int, float]]:
    """(reduction, UTC milliseconds, value) of every number in an answer."""
    for row in rows:
        for at_s, text in row.values or [row.value]:
            yield row.metric["rollup"], round(at_s * 1000), float(text)


def _merged(values: Iterable[tuple[str, int, float]], step_ms: int = 1) -> list[SeriesPoint]:
    """Steps, oldest first, from the reductions of one or more series of a device.

    A device has more than one when its model or origin has changed.
    """
    steps: dict[int, dict[str, list[float]]] = {}
    for reduction, time_ms, value in values:
        reductions = steps.setdefault(time_ms // step_ms * step_ms, {})
        reductions.setdefault(reduction, []).append(value)
    found = []
    for time_ms, by in sorted(steps.items()):
        counts = by["count_over_time"]
        total = sum(counts)
        mean = sum(m * n / total for m, n in zip(by["avg_over_time"], counts, strict=True))
        mean = by["avg_over_time"][0] if len(counts) == 1 else mean
        low, high = min(by["min_over_time"]), max(by["max_over_time"])
        found.append(SeriesPoint(time_ms * MS, mean, low, high, round(total)))
    return found


def _reduced(exported: Iterable[Exported], step_ns: int) -> list[SeriesPoint]:
    steps: dict[int, list[float]] = {}
    for one in exported:
        for time_ms, value in zip(one.timestamps, one.values, strict=True):
            if value is not None:
                steps.setdefault(time_ms * MS // step_ns * step_ns, []).append(value)
    return [
        SeriesPoint(time_ns, sum(values) / len(values), min(values), max(values), len(values))
        for time_ns, values in sorted(steps.items())
    ]

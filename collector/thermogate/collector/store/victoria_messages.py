"""The newest status of each node and decision about each target, in memory and refreshed from the server."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from typing import NamedTuple

from thermogate.collector.store.victoria_http import VictoriaHttp
from thermogate.collector.store.victoria_text import MS, message, one_of, renewed, selector, text_number
from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision
from thermogate.core.model import Status

_REFRESH_S = 5.0
"""Least time between two questions about what others have written: brokers give every collector every
status and decision, so there is hardly ever any."""
_MARGIN_MS = 60_000
"""What is asked for again: clocks of collectors differ, and a write is seen after a second or two."""
_NUMBERS = ("at_s", "at_ns", "depth", "text")
_NAMES_LENGTH = 4000

Span = tuple[int, int]
"""Both inclusive, in UTC milliseconds."""


class _Written(NamedTuple):
    time_ms: int
    text: int
    status: Status


class NewestMessages:
    """Begins with everything that the server has; from then on it asks for what was written since.

    A message is newer than another when it was written later (a status, whatever its stamp) or issued
    later (a decision).
    """

    def __init__(self, http: VictoriaHttp, database: str, clock: Clock) -> None:
        self._http = http
        self._database = database
        self._clock = clock
        self._statuses: dict[str, _Written] = {}
        self._gates: dict[tuple[str, str], GateDecision] = {}
        self._asked: dict[str, tuple[float, int]] = {}
        self._written_ms = 0
        self._asking = asyncio.Lock()

    def stamp(self) -> int:
        """A time for what is written next, UTC milliseconds: now, and later than the one before."""
        self._written_ms = max(self._clock.utc_ns() // MS, self._written_ms + 1)
        return self._written_ms

    def see(self, statuses: Iterable[Status], decisions: Iterable[GateDecision], written_ms: int) -> None:
        """Learn what has been written at this time."""
        for one in statuses:
            self._keep(_Written(written_ms, text_number(one), one))
        for decision in decisions:
            target = (decision.kind, decision.target)
            known = self._gates.get(target)
            if known is None or _order(decision) > _order(known):
                self._gates[target] = decision

    async def statuses(self, retention_ms: int) -> list[Status]:
        """As `Query.statuses`."""
        async with self._asking:
            if (span := self._due("status", retention_ms)) is not None:
                for written in await self._written_statuses(span):
                    self._keep(written)
                self._done("status", span)
        return [self._statuses[node].status for node in sorted(self._statuses)]

    async def gates(self, retention_ms: int) -> list[GateDecision]:
        """As `Query.gates`."""
        async with self._asking:
            if (span := self._due("gate", retention_ms)) is not None:
                for decision in await self._issued(span):
                    self.see((), [decision], 0)
                self._done("gate", span)
        since_ns = self._clock.utc_ns() - retention_ms * MS
        self._gates = {target: one for target, one in self._gates.items() if one.issued_at_ns >= since_ns}
        return [self._gates[target] for target in sorted(self._gates)]

    def _due(self, what: str, retention_ms: int) -> Span | None:
        """The times of writing to ask for now, if any."""
        now_ms = self._clock.utc_ns() // MS
        if what not in self._asked:
            return now_ms - retention_ms, now_ms + _MARGIN_MS
        asked_s, until_ms = self._asked[what]
        if self._clock.steady_s() - asked_s < _REFRESH_S:
            return None
        return min(until_ms, now_ms) - 2 * _MARGIN_MS, now_ms + _MARGIN_MS

    def _done(self, what: str, span: Span) -> None:
        self._asked[what] = (self._clock.steady_s(), span[1])

    def _keep(self, written: _Written) -> None:
        known = self._statuses.get(written.status.node)
        if known is None or written.time_ms >= known.time_ms:
            self._statuses[written.status.node] = written

    async def _written_statuses(self, span: Span) -> list[_Written]:
        """What is newer than what is known; texts are asked for only where they have changed."""
        newer: dict[str, dict[str, float]] = {}
        for node, numbers in (await self._numbers(span)).items():
            known = self._statuses.get(node)
            if len(numbers) == len(_NUMBERS) + 1 and (
                known is None or round(numbers["written"] * 1000) > known.time_ms
            ):
                newer[node] = numbers
        changed = {node for node in newer if self._text_of(node) != int(newer[node]["text"])}
        texts = await self._texts(sorted(changed), span) if changed else {}
        found = []
        for node, its in newer.items():
            one = texts.get(node) if node in changed else self._statuses[node].status
            if one is not None and text_number(one) == int(its["text"]):  # else it is not visible yet
                one = renewed(one, its["at_s"], its["at_ns"], its["depth"])
                found.append(_Written(round(its["written"] * 1000), int(its["text"]), one))
        return found

    async def _numbers(self, span: Span) -> dict[str, dict[str, float]]:
        """By node: the newest of _NUMBERS, and "written", the time in UTC seconds."""
        window = f"[{span[1] - span[0]}ms]"
        parts = []
        for name in _NUMBERS:
            samples = selector(self._database, f"status_{name}") + window
            parts.append(f'label_set(last_over_time({samples}), "number", "{name}", "__name__", "")')
        samples = selector(self._database, f"status_{_NUMBERS[0]}") + window
        parts.append(f'label_set(tlast_over_time({samples}), "number", "written")')
        found: dict[str, dict[str, float]] = {}
        for row in await self._http.instant(f"union({', '.join(parts)})", span[1]):
            found.setdefault(row.metric["node"], {})[row.metric["number"]] = float(row.value[1])
        return found

    async def _texts(self, nodes: list[str], span: Span) -> dict[str, Status]:
        """The newest text of each node; of more than asked for when they are too many to name."""
        few = sum(len(node) + 2 for node in nodes) <= _NAMES_LENGTH
        which = selector(self._database, "status_told", *([one_of("node", nodes)] if few else []))
        rows = await self._http.instant(
            f"topk(1, tlast_over_time({which}[{span[1] - span[0]}ms])) by (node)", span[1]
        )
        return {row.metric["node"]: message(row.metric, Status) for row in rows}

    def _text_of(self, node: str) -> int:
        known = self._statuses.get(node)
        return -1 if known is None else known.text

    async def _issued(self, span: Span) -> list[GateDecision]:
        """Decisions that were written in the span and are newer than what is known of their targets."""
        window = f"[{span[1] - span[0]}ms]"
        rows = await self._http.instant(
            f"max_over_time({selector(self._database, 'gate_issued_ms')}{window})", span[1]
        )
        issued = (((row.metric["kind"], row.metric["target"]), round(float(row.value[1]))) for row in rows)
        newer = [time_ms for target, time_ms in issued if time_ms > self._known_ms(target)]
        found: list[GateDecision] = []
        which = selector(self._database, "decision_pace")
        for first_ms, last_ms in _near(newer):
            async with aclosing(self._http.export(which, first_ms, last_ms)) as series:
                found += [message(one.metric, GateDecision) async for one in series]
        return found

    def _known_ms(self, target: tuple[str, str]) -> int:
        known = self._gates.get(target)
        return -1 if known is None else known.issued_at_ns // MS


def _near(times_ms: Iterable[int]) -> Iterator[Span]:
    """Spans over times that are less than a minute apart."""
    span: Span | None = None
    for time_ms in sorted(times_ms):
        if span is not None and time_ms - span[1] < 60_000:
            span = (span[0], time_ms)
            continue
        if span is not None:
            yield span
        span = (time_ms, time_ms)
    if span is not None:
        yield span


def _order(decision: GateDecision) -> tuple[int, int, str]:
    return decision.issued_at_ns, decision.seq, decision.id

"""The audit log compared with the decisions that a store has: each must be in both."""

import hashlib
from contextlib import suppress
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from thermogate.analytics.audit.records import Record
from thermogate.core import wire
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision
from thermogate.core.errors import WireError

_LIMIT = 1000
_LATE_NS = 60 * NS
"""The newest decisions may be on their way to the store."""


class Decisions(Protocol):
    """The part of `core.query.Query` that is asked."""

    async def decisions(
        self, *, start_ns: int, end_ns: int, target: str | None = None, limit: int = 1000
    ) -> list[GateDecision]:
        """Every decision issued in the range, newest first."""
        ...


class _Recorded(NamedTuple):
    n: int
    issued_at_ns: int
    digest: bytes


class Comparison:
    """Takes the records of a log, then asks the store for the same time, within [start_ns, end_ns)."""

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self._start_ns, self._end_ns = start_ns, end_ns
        self._recorded: dict[str, _Recorded] = {}

    def add(self, record: Record) -> None:
        """Take a record; what is no decision does not count, what cannot be read is found elsewhere."""
        if not record.decision:
            return
        with suppress(WireError):
            decision = record.gate_decision
            if self._start_ns <= decision.issued_at_ns < self._end_ns:
                self._recorded[decision.id] = _Recorded(record.n, decision.issued_at_ns, _digest(decision))

    async def compare(self, store: Decisions) -> list[str]:
        """What is in one of both only, or not the same in both, from the log's first decision to its last."""
        if not self._recorded:
            return []
        stamps = [one.issued_at_ns for one in self._recorded.values()]
        stored = await _all(store, min(stamps), max(stamps) + 1)
        return [*self._missing(stored, max(stamps)), *self._unknown(stored)]

    def _missing(self, stored: dict[str, GateDecision], last_ns: int) -> list[str]:
        return [
            f"record {one.n} (decision {name}) is in the log and not in the store"
            for name, one in self._recorded.items()
            if name not in stored and one.issued_at_ns < last_ns - _LATE_NS
        ]

    def _unknown(self, stored: dict[str, GateDecision]) -> list[str]:
        found = []
        for one in stored.values():
            recorded = self._recorded.get(one.id)
            about = f"decision {one.id} ({one.kind}/{one.target}, {one.state})"
            if recorded is None:
                found.append(f"{about} is in the store and not in the log")
            elif _digest(one) != recorded.digest:
                found.append(f"record {recorded.n}: {about} is another in the store")
        return found


def _digest(decision: GateDecision) -> bytes:
    """Of all that is decided; a store need not keep who signed."""
    return hashlib.sha256(wire.encode(replace(decision, issuer="", signature=""))).digest()[:16]


async def _all(store: Decisions, start_ns: int, end_ns: int) -> dict[str, GateDecision]:
    """Every decision of the range: from the newest back, a page at a time."""
    found: dict[str, GateDecision] = {}
    while True:
        page = await store.decisions(start_ns=start_ns, end_ns=end_ns, limit=_LIMIT)
        fresh = [one for one in page if one.id not in found]
        found.update((one.id, one) for one in fresh)
        if len(page) < _LIMIT or not fresh:
            return found
        end_ns = min(one.issued_at_ns for one in page) + 1  # those of the same instant again

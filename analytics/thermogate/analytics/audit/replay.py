"""Recorded decisions made again from their inputs: the same, or what differs."""

from typing import NamedTuple, Protocol

import msgspec

from thermogate.analytics.audit.records import Record
from thermogate.analytics.config import AnalyticsSettings
from thermogate.core.decision import GateDecision
from thermogate.core.errors import WireError

_BY_THE_KEY = {"issuer", "signature"}
_WHAT_IS_DONE = ("state", "pace", "mode")


class Recompute(Protocol):
    """What `thermogate.analytics.inputs.recompute` does."""

    def __call__(self, inputs: bytes, settings: AnalyticsSettings | None = None) -> GateDecision:
        """The unsigned decision that follows from `inputs`. Raises WireError."""
        ...


class Difference(NamedTuple):
    """One field of a decision, as recorded and as computed again."""

    field: str
    was: object
    would_be: object


class Again(NamedTuple):
    """A recorded decision, and the one of now; None with the `problem` when it cannot be made again."""

    n: int
    decision: GateDecision | None
    again: GateDecision | None
    differences: tuple[Difference, ...]
    problem: str


def replay(record: Record, recompute: Recompute, settings: AnalyticsSettings | None = None) -> Again:
    """Make the decision of a record again. It has to be the same but for who signed it.

    With `settings` it is asked what would have been done: then state, pace and mode are compared.
    """
    decision = None
    try:
        decision = record.gate_decision
        again = recompute(record.unpacked(), settings)
    except WireError as err:
        return Again(record.n, decision, None, (), str(err))
    fields = _WHAT_IS_DONE if settings is not None else _fields()
    pairs = ((name, getattr(decision, name), getattr(again, name)) for name in fields)
    return Again(
        record.n, decision, again, tuple(Difference(*pair) for pair in pairs if pair[1] != pair[2]), ""
    )


def _fields() -> tuple[str, ...]:
    return tuple(name for name in GateDecision.__struct_fields__ if name not in _BY_THE_KEY)


def as_json(again: Again) -> dict[str, object]:
    """For programs."""
    decision = again.decision
    said = {"n": again.n, "problem": again.problem}
    if decision is not None:
        said |= {"id": decision.id, "kind": decision.kind, "target": decision.target}
        said |= {"issued_at_ns": decision.issued_at_ns, "policy": decision.policy}
    differs = [{"field": one.field, "was": one.was, "would_be": one.would_be} for one in again.differences]
    return msgspec.to_builtins({**said, "differences": differs})  # type: ignore[no-any-return]

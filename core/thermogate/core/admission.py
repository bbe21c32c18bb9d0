"""What a subscriber obeys: a decision that is signed, for this target, of now, and not an older one again."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision
from thermogate.core.errors import SignatureError
from thermogate.core.wire import decode, split_topic

Seqs = dict[str, tuple[int, str]]
"""The newest decision of each target ("node/n17"): its `seq` and its `id`. Plain JSON."""

MOST_TARGETS = 1 << 17
"""More than there are targets in any fleet: what is remembered is bounded, whatever is published."""


class Checks(Protocol):
    """What `core.signing.TrustedKeys` does; a protocol, so that nothing here needs cryptography."""

    def check(self, payload: bytes, message: GateDecision, now_ns: int | None = None) -> None:
        """Pass, or raise SignatureError."""
        ...


class Admission:
    """Lets decisions in, or says why not. Keep `seqs` across restarts: else an old decision is let in
    again after one, for as long as it has not expired.

    `trusted=None` lets in what is unsigned: verification is then switched off on purpose.
    """

    def __init__(
        self,
        trusted: Checks | None,
        max_skew_s: float = 30.0,
        seqs: Mapping[str, Sequence[int | str]] | None = None,
    ) -> None:
        self._trusted = trusted
        self._max_skew_ns = int(max_skew_s * NS)
        self.seqs: Seqs = {name: (int(seq), str(last)) for name, (seq, last) in (seqs or {}).items()}

    def admit(self, topic: str, payload: bytes, now_ns: int) -> GateDecision:
        """The decision, to be obeyed until it expires. The same one again is let in again.

        Raises SignatureError with the reason, and WireError for what is no decision. Neither releases
        anything: what was decided before stands until it expires. That holds for an empty payload, too,
        which anybody can publish who can reach the topic.
        """
        family, kind, target = split_topic(topic)
        if not payload:
            raise SignatureError("unsigned", f"{topic} was emptied: what was decided stands until it expires")
        decision = decode(payload, GateDecision)
        if (family, kind, target) != ("gate", decision.kind, decision.target):
            raise SignatureError(
                "misplaced", f"a decision about {decision.kind} {decision.target[:128]} on {topic[:300]}"
            )
        if self._trusted is not None:
            self._trusted.check(payload, decision, now_ns)
        self._refuse_untimely(decision, now_ns)
        return decision

    def _refuse_untimely(self, decision: GateDecision, now_ns: int) -> None:
        """In this order: what is from the future must not be remembered, what has expired must."""
        ahead_ns = decision.issued_at_ns - now_ns
        if ahead_ns > self._max_skew_ns:
            raise SignatureError(
                "future",
                f"issued {ahead_ns / NS:.0f} s in the future: compare the clocks of gate and subscriber",
            )
        self._refuse_replayed(f"{decision.kind}/{decision.target}", decision)
        if not decision.valid_at(now_ns):
            late_s = (now_ns - decision.expires_at_ns) / NS
            raise SignatureError("expired", f"decision {decision.seq} expired {late_s:.0f} s ago")

    def _refuse_replayed(self, name: str, decision: GateDecision) -> None:
        seq, last = self.seqs.pop(name, (-1, ""))
        newest = (decision.seq, decision.id) if decision.seq > seq else (seq, last)
        self.seqs[name] = newest  # last in the order of the dictionary
        if len(self.seqs) > MOST_TARGETS:
            del self.seqs[next(iter(self.seqs))]
        if newest != (decision.seq, decision.id):
            raise SignatureError(
                "replayed", f"decision {decision.seq} is older than {seq}, which was let in before"
            )

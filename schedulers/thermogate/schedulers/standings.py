"""What is in force of every target: decisions in, changes out, expiry by the clock."""

import logging
from collections import Counter
from collections.abc import Mapping

import msgspec

from thermogate.core.admission import MOST_TARGETS, Admission
from thermogate.core.clock import NS, Clock
from thermogate.core.decision import GateDecision
from thermogate.core.errors import SignatureError, WireError
from thermogate.schedulers.standing import FREE, Change, Standing, Target, follow, printable, says

log = logging.getLogger(__name__)

_MOST_LOGGED = 1000
"""Reasons and targets of refusals that are told apart in the log; the counters go on."""


class Remembered(msgspec.Struct, frozen=True):
    """What outlives a restart: the newest `seq` and `id` of each target, and what was in force."""

    seqs: dict[str, tuple[int, str]] = {}
    standings: dict[str, Standing] = {}


class Standings:
    """Follows the decisions that `admission` lets in.

    What is in force ends at `expires_at_ns` by our UTC, and at the latest after the decision's whole length
    by the steady clock: a wall clock that is set back holds nobody for longer.
    """

    def __init__(self, admission: Admission, clock: Clock) -> None:
        self._admission = admission
        self._clock = clock
        self._standings: dict[Target, Standing] = {}
        self._ends_s: dict[Target, float] = {}
        self._before: dict[Target, Standing] = {}
        self._told: set[tuple[str, str]] = set()
        self.refused: Counter[str] = Counter()
        """Messages that were not obeyed, by reason."""
        self.admitted_count = 0

    def get(self, target: Target) -> Standing:
        """What is in force of it now; RUN at 1.0 when nothing is."""
        return self._standings.get(target, FREE)

    def all(self) -> Mapping[Target, Standing]:
        """Those about which something is said."""
        return dict(self._standings)

    def take(self, topic: str, payload: bytes) -> None:
        """A message came. What must not be obeyed is counted, and logged once for its reason and topic."""
        now_ns = self._clock.utc_ns()
        try:
            decision = self._admission.admit(topic, payload, now_ns)
        except WireError as err:
            self._refuse(topic, err)
            return
        target = (decision.kind, decision.target)
        if target not in self._standings and len(self._standings) >= MOST_TARGETS:
            self._refuse(topic, WireError(f"more than {MOST_TARGETS} targets"))
            return
        self.admitted_count += 1
        self._put(target, follow(self.get(target), decision))
        self._ends_s[target] = self._end_s(decision)

    def expire(self) -> None:
        """Let go what has ended by now."""
        now_ns, now_s = self._clock.utc_ns(), self._clock.steady_s()
        for target, standing in list(self._standings.items()):
            decision = standing.decision
            if decision is None or not decision.valid_at(now_ns) or now_s >= self._ends_s[target]:
                self._put(target, FREE)

    def next_end_s(self) -> float | None:
        """When, by the steady clock, the next one ends; None when nothing is in force."""
        return min(self._ends_s.values(), default=None)

    def changes(self) -> list[Change]:
        """What has changed since the last call; of several changes of one target the sum."""
        before, self._before = self._before, {}
        pairs = ((target, standing, self.get(target)) for target, standing in before.items())
        return [Change(*target, old, new) for target, old, new in pairs if says(old) != says(new)]

    def remember(self) -> Remembered:
        """What to keep over a restart."""
        standings = {"/".join(target): standing for target, standing in self._standings.items()}
        return Remembered(self._admission.seqs, standings)

    def resume(self, remembered: Remembered) -> None:
        """Go on from there; what has ended meanwhile is left out."""
        now_ns = self._clock.utc_ns()
        for standing in remembered.standings.values():
            decision = standing.decision
            if decision is not None and decision.valid_at(now_ns):
                target = (decision.kind, decision.target)
                self._put(target, standing)
                self._ends_s[target] = self._end_s(decision)

    def _put(self, target: Target, standing: Standing) -> None:
        before = self.get(target)
        self._before.setdefault(target, before)
        if standing is FREE:
            self._standings.pop(target, None)
            self._ends_s.pop(target, None)
        else:
            self._standings[target] = standing

    def _end_s(self, decision: GateDecision) -> float:
        left_ns = decision.expires_at_ns - max(decision.issued_at_ns, self._clock.utc_ns())
        return self._clock.steady_s() + left_ns / NS

    def _refuse(self, topic: str, err: WireError) -> None:
        reason = err.reason if isinstance(err, SignatureError) else "malformed"
        self.refused[reason] += 1
        if reason == "expired":  # as retained ones of yesterday are
            return
        if (reason, topic) not in self._told and len(self._told) < _MOST_LOGGED:
            self._told.add((reason, topic))
            log.warning("not obeyed, on %s: %s", printable(topic[:300]), printable(str(err)))

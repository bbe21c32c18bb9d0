"""What was done, said on `applied/` and in the log, once."""

import logging

from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision
from thermogate.core.gate_messages import Applied, Outcome
from thermogate.schedulers.following import Following
from thermogate.schedulers.standing import Standing, Target, printable

log = logging.getLogger(__name__)

_MOST_TEXT = 2000
"""Characters of a sentence or an action: errors of schedulers can be long, a message has 64 KiB."""
_MOST_ACTIONS = 20

_Said = tuple[Outcome, str, tuple[str, ...]]


class Reporting:
    """Says what an adapter did about a target, unless it has just said the same of it."""

    def __init__(self, scheduler: str, host: str, watch: Following, clock: Clock) -> None:
        self._scheduler = scheduler
        self._host = host
        self._watch = watch
        self._clock = clock
        self._said: dict[Target, _Said] = {}
        self._decisions: dict[Target, GateDecision] = {}

    def say(
        self, target: Target, standing: Standing, outcome: Outcome, text: str, actions: tuple[str, ...]
    ) -> None:
        """Publish and log it. What ends with nothing in force is of the decision that was the last."""
        if standing.decision is not None:
            self._decisions[target] = standing.decision
        decision = self._decisions.get(target)
        said = (outcome, printable(text), tuple(map(printable, actions)))
        if self._said.get(target) == said or (outcome == "nothing" and not standing.decision):
            return
        self._said[target] = said
        level = logging.WARNING if outcome == "failed" else logging.INFO
        log.log(level, "%s %s: %s%s", *target, "would " if outcome == "would" else "", said[1][:_MOST_TEXT])
        self._watch.report(self._applied(target, standing, decision, said))

    def forget_all_but(self, targets: set[Target]) -> None:
        """Forget what was said of others: they are free, and jobs are many."""
        for kept in (self._said, self._decisions):
            for target in kept.keys() - targets:
                del kept[target]

    def _applied(
        self, target: Target, standing: Standing, decision: GateDecision | None, said: _Said
    ) -> Applied:
        outcome, text, actions = said
        return Applied(
            scheduler=self._scheduler,
            host=self._host,
            kind=target[0],
            target=target[1],
            decision=decision.id if decision else "",
            seq=decision.seq if decision else 0,
            state=decision.state if standing.decision and decision else standing.state,
            mode=standing.mode,
            outcome=outcome,
            time_ns=self._clock.utc_ns(),
            text=text[:_MOST_TEXT],
            actions=tuple(action[:_MOST_TEXT] for action in actions[:_MOST_ACTIONS]),
        )

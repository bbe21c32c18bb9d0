"""A scheduler in memory that drains and resumes nodes, and fails at times, for the soak. Simulated."""

import random
from collections.abc import Mapping

from thermogate.core.decision import TargetKind
from thermogate.schedulers.adapter import ActionError, Mark, Marks, Plan, Step
from thermogate.schedulers.standing import Standing, Target

_SIGN = "thermogate"
_DRAIN = "drain"


class Cluster:
    """Implements `schedulers.adapter.Adapter`: what is drained and by whom; a share of the commands fails."""

    name = "soak"
    kinds: tuple[TargetKind, ...] = ("node",)

    def __init__(self, rng: random.Random, fails_share: float) -> None:
        self.drained: dict[str, str] = {}
        self.commands = self.failed = 0
        self._rng = rng
        self.fails_share = fails_share

    @property
    def ours(self) -> set[str]:
        """Nodes that are drained by the gate's word."""
        return {node for node, reason in self.drained.items() if reason.startswith(_SIGN)}

    async def plan(self, target: Target, wanted: Standing, marks: Marks) -> Plan:
        node = target[1]
        reason = self.drained.get(node)
        mark = marks.get(_DRAIN)
        if wanted.held:
            return self._hold(node, reason, mark, wanted)
        if mark is None:
            return Plan("")
        if reason is None or reason != mark.detail:
            return Plan(f"{node} is another's, or free", forgets=(_DRAIN,))
        return Plan(f"resume {node}", (Step(f"resume {node}", (node, None), clears=(_DRAIN,)),))

    def _hold(self, node: str, reason: str | None, mark: Mark | None, wanted: Standing) -> Plan:
        if mark is not None and mark.done:
            return Plan("")
        if reason is not None and (mark is None or reason != mark.detail):
            return Plan(f"{node} is drained by somebody: {reason}")
        if reason is not None:
            return Plan("")
        detail = f"{_SIGN}: {wanted.why}"
        return Plan(f"drain {node}", (Step(f"drain {node}", (node, detail), sets={_DRAIN: detail}),))

    async def perform(self, step: Step) -> None:
        self.commands += 1
        if self._rng.random() < self.fails_share:
            self.failed += 1
            raise ActionError("the scheduler does not answer (simulated)")
        node, reason = step.data  # type: ignore[misc]
        if reason is None:
            self.drained.pop(node, None)
        else:
            self.drained[node] = reason

    async def found(self) -> Mapping[Target, Marks]:
        return {("node", node): {_DRAIN: Mark(self.drained[node])} for node in self.ours}

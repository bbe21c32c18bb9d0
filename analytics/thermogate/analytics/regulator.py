"""One policy over a fleet: what is remembered of each node, and what is decided about it."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic

from thermogate.analytics import gate
from thermogate.analytics.config import GateSettings
from thermogate.analytics.gate import GateState
from thermogate.analytics.history import History, describe, observe_event, observe_points
from thermogate.analytics.policies.base import Observation, P, Policy, S
from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision
from thermogate.core.model import Event, Status
from thermogate.core.wire import Point


class Target(Generic[S]):
    """What is remembered of one node."""

    __slots__ = ("gate", "heard_s", "history", "state")

    def __init__(self, state: S, heard_s: float) -> None:
        self.history = History()
        self.state = state
        self.gate = GateState()
        self.heard_s = heard_s


class Regulator(Generic[P, S]):
    """Takes what nodes say and returns the decision to publish, if any.

    A node that has said nothing new for `forget_s` is forgotten; so is its state, whatever it was.
    """

    def __init__(
        self, policy: Policy[P, S], params: P, settings: GateSettings, *, forget_s: float, clock: Clock
    ) -> None:
        self._policy = policy
        self._params = params
        self._settings = settings
        self._forget_s = forget_s
        self._clock = clock
        self._targets: OrderedDict[str, Target[S]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._targets)

    def on_points(self, node: str, points: Iterable[Point]) -> GateDecision | None:
        """After the samples of one message; those that come late change nothing."""
        target = self._target(node)
        target.history, observation = observe_points(target.history, node, points)
        return self._decide(node, target, observation) if observation else None

    def on_event(self, event: Event) -> GateDecision | None:
        """After an event of a node."""
        target = self._target(event.node)
        return self._decide(event.node, target, observe_event(target.history, event))

    def on_status(self, status: Status) -> None:
        """Take the limits of a node's devices from its inventory."""
        if status.online:
            target = self._target(status.node)
            target.history = describe(target.history, status)

    def on_retained(self, decision: GateDecision) -> None:
        """Go on from a decision of before a restart, unless one was made since."""
        if decision.policy != self._policy.NAME or decision.kind != "node":
            return
        target = self._target(decision.target)
        if target.gate.last is None:
            target.gate = gate.recover(decision, self._clock.utc_ns())
            if target.gate.last:
                target.state = self._policy.resume(decision)

    def _decide(self, node: str, target: Target[S], observation: Observation) -> GateDecision | None:
        before = target.state
        target.state, verdict = self._policy.step(self._params, before, observation)
        target.heard_s = self._clock.steady_s()
        self._targets.move_to_end(node)
        now_ns = self._clock.utc_ns()
        if not gate.due(self._settings, target.gate, verdict, now_ns):
            return None
        name, version = self._policy.NAME, self._policy.VERSION
        target.gate, decision = gate.issue(
            self._settings,
            target.gate,
            verdict,
            observation,
            now_ns,
            policy=name,
            policy_version=version,
            inputs=gate.digest(name, version, self._params, before, observation),
        )
        return decision

    def _target(self, node: str) -> Target[S]:
        now_s = self._clock.steady_s()
        while self._targets:  # the one heard longest ago is the first
            oldest, target = next(iter(self._targets.items()))
            if now_s - target.heard_s < self._forget_s:
                break
            del self._targets[oldest]
        known = self._targets.get(node)
        if known is None:
            known = self._targets[node] = Target(self._policy.initial(), now_s)
        return known

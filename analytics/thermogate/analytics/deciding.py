"""From what is said of a target to its decision: the case is put together, weighed, and said when due."""

from typing import NamedTuple

from thermogate.analytics import gate
from thermogate.analytics.breaker import Breaker, Groups
from thermogate.analytics.combine import OPERATOR, Case, Silence, combine
from thermogate.analytics.config import AnalyticsSettings
from thermogate.analytics.inputs import pack
from thermogate.analytics.overrides import Overrides
from thermogate.analytics.targets import Job, Target
from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision, State
from thermogate.core.gate_messages import Override


class Decided(NamedTuple):
    """A decision, unsigned, and what it was made of."""

    decision: GateDecision
    inputs: bytes


class Decider:
    """Decides about one target at a time, so that what is held is counted exactly.

    `decided` grows until somebody takes it. `words` are what operators have said.
    """

    def __init__(self, settings: AnalyticsSettings, groups: Groups, clock: Clock) -> None:
        self._settings = settings.gate
        self._groups = groups
        self._clock = clock
        limits = settings.breaker
        self.nodes = Breaker(
            "nodes", limits.fleet_share, limits.least, groups=groups, group_share=limits.group_share
        )
        self.jobs = Breaker("jobs", limits.job_share, limits.least)
        self.words = Overrides()
        self.decided: list[Decided] = []

    def decide(self, target: Target) -> None:
        """Say what is to be said of the target now, if anything is.

        An operator's decision of before a restart stands until it expires or the word behind it comes: before
        that nobody knows whether it was taken back.
        """
        now_ns = self._clock.utc_ns()
        if target.awaits_word:
            if gate.in_force(target.gate, now_ns) is not None:
                return
            target.awaits_word = False
        case = self._case(target, now_ns)
        ruling = combine(case)
        if not gate.due(self._settings, target.gate, ruling, now_ns):
            return
        step = target.steps.get(ruling.policy)
        after = gate.after(target.gate)
        inputs = pack(self._settings, target.about, case, step, now_ns, after)
        digest = gate.digest(inputs)
        target.gate, decision = gate.issue(self._settings, target.gate, target.about, ruling, now_ns, digest)
        self.note(target)
        self.decided.append(Decided(decision, inputs))

    def note(self, target: Target) -> None:
        """Count the target as held, or no longer: a decision may have expired."""
        held = gate.is_held(target.gate, self._clock.utc_ns())
        self._breaker(target).set_held(target.name, held=held)

    def word(self, target: Target) -> Override | None:
        """What an operator says of the target now."""
        now_ns = self._clock.utc_ns()
        if isinstance(target, Job):
            return self.words.about_job(target.name, now_ns)
        return self.words.about_node(target.name, self._groups.of(target.name), now_ns)

    def _case(self, target: Target, now_ns: int) -> Case:
        held = gate.is_held(target.gate, now_ns)
        last = gate.in_force(target.gate, now_ns)
        by = last.policy if last is not None else ""
        said = tuple(target.said.values())
        if not held and self._is_silent(target):  # or what was let go for its silence would be held again
            said = tuple(one for one in said if one.verdict.state is State.RUN)
        return Case(
            said=said,
            by=by,
            holding=held,
            room=self._breaker(target).room(target.name),
            override=self.word(target),
            silence=self._silence(target) if held and by != OPERATOR else None,
            kept=gate.kept(self._settings, target.gate, now_ns),
        )

    def _is_silent(self, target: Target) -> bool:
        """Of a node; the devices of a job have nodes of their own."""
        lasted_s = self._clock.steady_s() - target.heard_s
        return not isinstance(target, Job) and lasted_s > self._settings.silent_s

    def _silence(self, target: Target) -> Silence | None:
        if not self._is_silent(target):
            return None
        lasted_s = self._clock.steady_s() - target.heard_s
        repairs = target.gate.held_as is State.REPAIR
        most_s = self._settings.silent_repair_s if repairs else self._settings.silent_most_s
        return Silence(lasted_s, most_s, lasted_s > most_s)

    def _breaker(self, target: Target) -> Breaker:
        return self.jobs if isinstance(target, Job) else self.nodes

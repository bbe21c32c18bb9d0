"""The engine: takes what nodes, jobs and operators say, and makes the decisions about them.

One process decides about a fleet (or its shard), in one thread. Policies, their combination and the gate are
pure; here is what is remembered, and in which order things happen.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from thermogate.analytics import gate, signals
from thermogate.analytics.breaker import Groups
from thermogate.analytics.combine import ENGINE, OPERATOR, STOPS, Said
from thermogate.analytics.config import AnalyticsSettings
from thermogate.analytics.deciding import Decided, Decider
from thermogate.analytics.groups import PowerGroups
from thermogate.analytics.history import describe, observe_event, observe_points
from thermogate.analytics.jobs import Jobs, observe_job
from thermogate.analytics.peers import FleetPeers
from thermogate.analytics.policies.base import Observation, Verdict
from thermogate.analytics.policies.registry import JOB_POLICIES, NODE_POLICIES
from thermogate.analytics.targets import Job, Node, Target
from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision, Mode
from thermogate.core.gate_messages import Override, Signals
from thermogate.core.model import Event, Status
from thermogate.core.wire import Point

_MAX_NODES = 50_000
"""Twice the largest fleet that this is for: names that a stranger invents do not fill the memory."""


class Out(NamedTuple):
    """What is to be told."""

    decided: list[Decided]
    signals: list[Signals]


class Engine:
    """Everything that is decided about; `take` hands out what there is to tell.

    A node that has said nothing new for `forget_s`, and against which nothing stands, is forgotten. Jobs are
    judged by the only gate of a fleet: of several, none sees all devices of a job.
    """

    def __init__(self, settings: AnalyticsSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._groups = Groups(settings.groups)
        self._decider = Decider(settings, self._groups, clock)
        self._nodes: OrderedDict[str, Node] = OrderedDict()
        self._job_targets: dict[str, Job] = {}
        self._jobs = Jobs()
        self._power = PowerGroups(settings, self._groups)
        self._peers = FleetPeers(settings.cooling)
        self._node_policies = _switched_on(settings, NODE_POLICIES)
        self._job_policies = _switched_on(settings, JOB_POLICIES) if settings.part[1] == 1 else []
        self._signals: list[Signals] = []
        self._baselines: dict[str, signals.NodeState] = {}
        self._learning = False

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def held(self) -> frozenset[str]:
        """The nodes that are held now, by what is enforced."""
        return self._decider.nodes.held

    def take(self) -> Out:
        """What there is to tell since the last call."""
        out = Out(self._decider.decided, self._signals)
        self._decider.decided, self._signals = [], []
        return out

    def on_points(self, name: str, points: Sequence[Point]) -> None:
        """After the samples of one message; those that come late change nothing."""
        node = self._node(name)
        if node is None:
            return
        for point in points:
            node.see(point)
        node.history, observation = observe_points(node.history, name, points)
        if observation is None:
            return
        node.heard_s = self._clock.steady_s()
        self._nodes.move_to_end(name)
        self._feel(node, observation.points)
        self._step(node, replace(observation, peers=self._peers.current, signals=node.signals))
        self._tell_signals(node, observation)

    def on_event(self, event: Event) -> None:
        """After an event of a node."""
        node = self._node(event.node)
        if node is not None:
            self._jobs.on_event(event)
            self._step(node, observe_event(node.history, event))

    def on_status(self, status: Status) -> None:
        """Take the limits of a node's devices from its inventory."""
        node = self._node(status.node) if status.online else None
        if node is not None:
            node.history = describe(node.history, status)

    def on_retained(self, decision: GateDecision) -> None:
        """Go on from a decision of before a restart, unless one was made since."""
        target = self._target(decision)
        if target is None or target.gate.last is not None:
            return
        recovered = gate.recover(self._settings.gate, decision, self._clock.utc_ns())
        target.gate = replace(recovered, eased_ns=target.gate.eased_ns)
        if recovered.last is not None:
            self._resume(target, decision)
            self._decider.note(target)

    def on_override(self, word: Override, guard_ns: int = 0) -> bool:
        """Take an operator's word, whose signature has been checked. One that is over takes another back.

        False for one that is older than what is known. `guard_ns` as in `Overrides.put`.
        """
        now_ns = self._clock.utc_ns()
        taken = self._decider.words.put(word, now_ns, guard_ns)
        if taken:
            for target in self._of(word.kind, word.target):
                target.awaits_word = False
            over = self._decider.words.drop_over(now_ns)
            self._decide_all((*self._spoken_of(), *self._ended(over)))
        return taken

    def guarded_ns(self, kind: str, target: str) -> int:
        """As `Overrides.guarded_ns`."""
        return self._decider.words.guarded_ns(kind, target)

    def on_history(self, decisions: Iterable[GateDecision]) -> None:
        """Learn from the store how often each target was let go within the last hour, oldest first."""
        now_ns = self._clock.utc_ns()
        last: dict[tuple[str, str], GateDecision] = {}
        for decision in decisions:
            before = last.get((decision.kind, decision.target))
            target = self._target(decision) if before is not None else None
            if before is not None and target is not None and target.gate.last is None:
                target.gate = gate.learn(target.gate, before, decision, now_ns)
            last[decision.kind, decision.target] = decision

    def learn(self, *, on: bool) -> None:
        """While it is on, states are brought up to date and nothing is decided: what comes is of before."""
        self._learning = on

    def baselines(self) -> dict[str, signals.NodeState]:
        """What each device's signals are measured against, of the nodes too that have been forgotten."""
        return {**self._baselines, **{name: node.signals_state for name, node in self._nodes.items()}}

    def adopt(self, baselines: dict[str, signals.NodeState]) -> None:
        """Go on from those of before a restart."""
        self._baselines = dict(baselines)

    def reconnected(self) -> None:
        """It was this end that was away: nobody has been silent."""
        now_s = self._clock.steady_s()
        for node in self._nodes.values():
            node.heard_s = now_s

    def tick(self) -> None:
        """What is not looked at when a node speaks: jobs, groups, silent nodes, words whose time has come."""
        self._forget()
        self._peers.refresh(self._nodes.values(), self._clock.steady_s())
        self._tick_jobs()
        self._decide_all(self._power.tick(self._nodes, self._clock.utc_ns()))
        held = [self._nodes[name] for name in sorted(self.held)]
        self._decide_all(held)
        for node in held:
            self._decider.note(node)
        over = self._decider.words.drop_over(self._clock.utc_ns())
        self._decide_all((*self._spoken_of(), *self._ended(over)))

    def _decide_all(self, targets: Iterable[Target]) -> None:
        if not self._learning:
            for target in targets:
                self._decider.decide(target)

    def _spoken_of(self) -> list[Target]:
        """The targets that operators speak of now, those too that nobody has heard of."""
        return [target for kind, name in self._decider.words.about() for target in self._of(kind, name)]

    def _ended(self, over: Iterable[Override]) -> list[Target]:
        return [target for word in over for target in self._of(word.kind, word.target)]

    def _of(self, kind: str, name: str) -> list[Target]:
        if kind == "job":
            return [self._job(name)]
        if kind == "node":
            node = self._node(name)
            return [node] if node is not None else []
        nodes = self._nodes.values()
        return [node for node in nodes if kind == "fleet" or name in self._groups.of(node.name)]

    def _feel(self, node: Node, points: tuple[Point, ...]) -> None:
        """Bring the node's signals up to date."""
        inventory = node.history.inventory
        node.signals_state, found = signals.step(
            self._settings.signals, node.signals_state, points, inventory
        )
        node.signals = {
            name: replace(told, incoherence=node.incoherence.get(name)) for name, told in found.items()
        }

    def _tell_signals(self, node: Node, observation: Observation) -> None:
        now_s = self._clock.steady_s()
        if self._learning or now_s - node.signals_said_s < self._settings.signals.every_s:
            return
        node.signals_said_s = now_s
        if node.signals:
            devices, now_ns = tuple(node.signals.values()), observation.now_ns
            told = Signals(node=node.name, time_ns=now_ns, devices=devices, origin=observation.origin)
            self._signals.append(told)

    def _step(self, node: Node, observation: Observation) -> None:
        node.origin = observation.origin
        node.said.pop(ENGINE, None)  # it speaks
        for policy, params, mode in self._node_policies:
            node.step(policy, params, mode, observation)
        self._decide_all((node,))

    def _tick_jobs(self) -> None:
        out_of_step: dict[str, dict[str, float]] = defaultdict(dict)
        held = self.held
        for name in self._jobs:
            job = self._job(name)
            self._decider.note(job)
            observation = observe_job(self._jobs, name, self._nodes, held=self._is_stopped(job, held))
            if observation is None:
                continue
            params = self._settings.signals
            job.signals_state, incoherence, _ = signals.step_job(params, job.signals_state, observation)
            for (name_of, device), value in incoherence.items():
                out_of_step[name_of][device] = value
            for policy, settings, mode in self._job_policies:
                job.step(policy, settings, mode, observation)
            self._decide_all((job,))
        for node in self._nodes.values():
            node.incoherence = out_of_step.get(node.name, {})
        for name in [name for name in self._job_targets if name not in self._jobs]:
            self._end_job(name)

    def _is_stopped(self, job: Job, held: frozenset[str]) -> bool:
        """Whether somebody but the policies about jobs holds it: an operator, or a node that it runs on."""
        word = self._decider.word(job)
        stopped = word is not None and word.state in STOPS
        return stopped or any(device.node in held for device in self._jobs.devices(job.name))

    def _end_job(self, name: str) -> None:
        """A job that has ended is decided about no more, unless an operator still speaks of it.

        One that was held counts until its decision expires: so long a scheduler keeps it, requeued perhaps.
        """
        job = self._job_targets[name]
        self._decider.note(job)
        if self._decider.word(job) is None and name not in self._decider.jobs.held:
            self._decider.jobs.forget(name)
            del self._job_targets[name]

    def _resume(self, target: Target, decision: GateDecision) -> None:
        """Continue the deciding policy from its decision, unless what the store told it says the same.

        Until it has seen the target again, what it said last stands.
        """
        if decision.policy == OPERATOR:
            target.awaits_word = self._decider.word(target) is None
            return
        said = target.said.get(decision.policy)
        if said is not None and said.verdict.state is decision.state:
            return
        if decision.policy == ENGINE and not target.said:
            target.said[ENGINE] = _said_before(decision, "enforce")
        policies = self._job_policies if isinstance(target, Job) else self._node_policies
        for policy, _, mode in policies:
            if decision.policy == policy.NAME:
                target.states[policy.NAME] = policy.resume(decision)
                target.said[policy.NAME] = _said_before(decision, mode)
        mode = self._power.resume(decision)
        if mode is not None:
            target.said[decision.policy] = _said_before(decision, mode)

    def _target(self, decision: GateDecision) -> Target | None:
        if decision.kind == "node":
            return self._node(decision.target)
        return self._job(decision.target) if decision.kind == "job" else None

    def _job(self, name: str) -> Job:
        known = self._job_targets.get(name)
        if known is None:
            known = self._job_targets[name] = Job(name, self._clock.steady_s())
            self._decider.jobs.see(name)
        return known

    def _node(self, name: str) -> Node | None:
        known = self._nodes.get(name)
        if known is None:
            if len(self._nodes) >= _MAX_NODES:
                return None
            known = self._nodes[name] = Node(name, self._clock.steady_s())
            known.signals_state = self._baselines.pop(name, known.signals_state)
            self._decider.nodes.see(name)
        return known

    def _forget(self) -> None:
        now_s, forget_s = self._clock.steady_s(), self._settings.forget_s
        for name, node in tuple(self._nodes.items()):  # the one heard longest ago is the first
            if now_s - node.heard_s < forget_s:
                return
            asks = any(one.verdict.asks for one in node.said.values())
            kept = asks and now_s - node.heard_s < self._settings.gate.silent_repair_s
            if name not in self.held and not kept:
                if len(self._baselines) < _MAX_NODES:
                    self._baselines[name] = node.signals_state
                del self._nodes[name]
                self._decider.nodes.forget(name)
                self._groups.forget(name)
                self._jobs.forget_node(name)


def _said_before(decision: GateDecision, mode: Mode) -> Said:
    """What the deciding policy said before a restart. What was not enforced is not because of that."""
    verdict = Verdict(decision.state, decision.pace, decision.why, decision.because, decision.cjp)
    mode = mode if decision.mode == "enforce" else "shadow"
    return Said(decision.policy, decision.policy_version, mode, verdict)


def _switched_on(settings: AnalyticsSettings, policies: Sequence[Any]) -> list[tuple[Any, Any, Any]]:
    """(policy, its settings, its mode) of those that are not off."""
    modes = settings.modes
    return [
        (policy, getattr(settings, policy.NAME), getattr(modes, policy.NAME))
        for policy in policies
        if getattr(modes, policy.NAME) != "off"
    ]

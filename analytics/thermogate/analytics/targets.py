"""What is remembered of each target: the policies' states, what they said last, and what the gate said."""

from typing import Any

from thermogate.analytics import signals
from thermogate.analytics.combine import Said
from thermogate.analytics.gate import About, GateState
from thermogate.analytics.history import History
from thermogate.analytics.inputs import Step
from thermogate.analytics.policies.base import MAX_DEVICES, device_name
from thermogate.core.decision import Mode, TargetKind
from thermogate.core.gate_messages import DeviceSignals
from thermogate.core.model import Origin
from thermogate.core.wire import Point


class Target:
    """One node or job. `steps` are the last steps of its policies, kept for the inputs of a decision.

    `awaits_word`: it goes on from an operator's decision of before a restart, whose word has not come yet.
    """

    __slots__ = ("awaits_word", "gate", "heard_s", "kind", "name", "origin", "said", "states", "steps")

    def __init__(self, kind: TargetKind, name: str, heard_s: float) -> None:
        self.kind = kind
        self.name = name
        self.origin: Origin | None = None
        self.heard_s = heard_s
        self.gate = GateState()
        self.awaits_word = False
        self.states: dict[str, Any] = {}
        self.said: dict[str, Said] = {}
        self.steps: dict[str, Step] = {}

    @property
    def about(self) -> About:
        """Of which target its decisions are."""
        return About(self.kind, self.name, self.origin)

    def step(self, policy: Any, params: Any, mode: Mode, observation: Any) -> None:
        """Take one step of a policy."""
        name, version = policy.NAME, policy.VERSION
        before = self.states.get(name)
        if before is None:
            before = policy.initial()
        self.states[name], verdict = policy.step(params, before, observation)
        self.said[name] = Said(name, version, mode, verdict)
        self.steps[name] = Step(name, version, params, before, observation)


class Node(Target):
    """What is remembered of a node beside: its samples so far, the newest of each device, its signals.

    `incoherence` of each device is that of the job it works for, from the last tick.
    """

    __slots__ = ("history", "incoherence", "newest", "signals", "signals_said_s", "signals_state")

    def __init__(self, name: str, heard_s: float) -> None:
        super().__init__("node", name, heard_s)
        self.history = History()
        self.newest: dict[str, Point] = {}
        self.signals_state = signals.initial()
        self.signals: dict[str, DeviceSignals] = {}
        self.signals_said_s = heard_s
        self.incoherence: dict[str, float] = {}

    def see(self, point: Point) -> None:
        """Keep the point when it is the newest of its device."""
        name = device_name(point.measurement, point.device)
        known = self.newest.get(name)
        room = known is not None or len(self.newest) <= MAX_DEVICES
        if room and (known is None or point.time_ns > known.time_ns):
            self.newest[name] = point


class Job(Target):
    """What is remembered of a job beside: how its devices keep step."""

    __slots__ = ("signals_state",)

    def __init__(self, name: str, heard_s: float) -> None:
        super().__init__("job", name, heard_s)
        self.signals_state = signals.initial_job()

"""What every policy meets: a pure step from what is seen of a target to what it should do.

No clock, no I/O, no logging, nothing random: the same states and observations give the same
verdicts live, in replay and in a backtest.
"""

from typing import Protocol, TypeVar

import msgspec

from thermogate.core.decision import Cjp, GateDecision, Reason, State, TargetKind
from thermogate.core.model import DeviceInfo, Event, Origin
from thermogate.core.wire import Point

P = TypeVar("P", contravariant=True)
S = TypeVar("S")

MAX_DEVICES = 256
"""Devices of one node, with MIG instances: more than any server has. No message can fill the memory."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen of one target at one instant.

    `now_ns` comes from the samples, not from a clock, and never goes back. `points` are newer than
    any before of their device, in order of time. `events` may be late. `inventory` is what the node
    says of its devices ("gpu0"): models and limits; empty until it has said so.
    """

    target: str
    now_ns: int
    kind: TargetKind = "node"
    points: tuple[Point, ...] = ()
    events: tuple[Event, ...] = ()
    inventory: dict[str, DeviceInfo] = {}
    origin: Origin | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What a policy would have a target do; `GateDecision` says what the fields mean."""

    state: State
    pace: float
    why: str
    because: tuple[Reason, ...]
    cjp: Cjp


class Policy(Protocol[P, S]):
    """A policy is a module with these names. `P` are its settings, `S` is its state."""

    NAME: str
    VERSION: int

    def initial(self) -> S:
        """The state of a target of which nothing is known."""
        ...

    def resume(self, decision: GateDecision, /) -> S:
        """The state that continues `decision`, which this policy made before a restart."""
        ...

    def step(self, params: P, state: S, observation: Observation, /) -> tuple[S, Verdict]:
        """The state after `observation`, and the verdict then. `state` is left as it was."""
        ...


def device_name(kind: str, device: str) -> str:
    """A device as people write it: "gpu0"."""
    return f"{kind}{device}"

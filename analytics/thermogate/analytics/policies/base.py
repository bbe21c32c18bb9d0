"""What every policy meets: a pure step from what is seen of a target to what it should do.

No clock, no I/O, no logging, nothing random: the same states and observations give the same
verdicts live, in replay and in a backtest. States are msgspec structs that JSON can carry: the audit
log keeps them, and computes every verdict again.
"""

from typing import Protocol, TypeVar

import msgspec

from thermogate.core.decision import Cjp, GateDecision, Reason, State, TargetKind
from thermogate.core.gate_messages import DeviceSignals
from thermogate.core.model import DeviceInfo, Event, Origin
from thermogate.core.wire import Point

P = TypeVar("P", contravariant=True)
S = TypeVar("S")

MAX_DEVICES = 256
"""Devices of one node, with MIG instances: more than any server has. No message can fill the memory."""


class Peers(msgspec.Struct, frozen=True):
    """Thermal resistance (K/W) of the devices of one model over the fleet, robustly.

    `spread_k_per_w` is 1.4826 times the median absolute deviation: the standard deviation of a normal one.
    """

    count: int
    median_k_per_w: float
    spread_k_per_w: float


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen of one node at one instant.

    `now_ns` comes from the samples, not from a clock, and never goes back. `points` are newer than
    any before of their device, in order of time. `events` may be late. `inventory` is what the node
    says of its devices ("gpu0"): models and limits; empty until it has said so. `peers` are by model.
    `signals` are those after `points`, by device ("gpu0").
    """

    target: str
    now_ns: int
    kind: TargetKind = "node"
    points: tuple[Point, ...] = ()
    events: tuple[Event, ...] = ()
    inventory: dict[str, DeviceInfo] = {}
    peers: dict[str, Peers] = {}
    signals: dict[str, DeviceSignals] = {}
    origin: Origin | None = None


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One device that a job has: `point` is its newest sample, None while there is none since `began_ns`.

    `manager` is the job's ("slurm", "pod", ...), `user` whose it is; `signals` as in Observation.
    """

    node: str
    device: str
    began_ns: int
    point: Point | None = None
    signals: DeviceSignals | None = None
    manager: str = ""
    user: str = ""


class JobObservation(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen of one job: every device that it has now. `now_ns` is the newest stamp of its samples.

    `held`: another policy or an operator holds it, or a node that it runs on, so that it cannot work.
    """

    target: str
    now_ns: int
    members: tuple[Member, ...]
    kind: TargetKind = "job"
    origin: Origin | None = None
    held: bool = False


class Drawer(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a group and what it draws: the sum of its devices, or of the node where that is measured.

    None where nothing is measured. `rated_w` is the sum of its devices' rated power, `floor_w` what of
    `power_w` no pace changes (CPUs, fans). `pace` is what is asked of it by others now.
    """

    node: str
    power_w: float | None
    rated_w: float | None
    floor_w: float = 0.0
    pace: float = 1.0
    held: bool = False


class GroupObservation(msgspec.Struct, frozen=True, kw_only=True):
    """What the nodes of one group draw; `now_ns` is the newest stamp of their samples."""

    target: str
    now_ns: int
    cap_w: float
    drawers: tuple[Drawer, ...]
    origin: Origin | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What a policy would have a target do; `GateDecision` says what the fields mean.

    `urgent`: a lower pace does not wait for the dwell.
    """

    state: State
    pace: float
    why: str
    because: tuple[Reason, ...]
    cjp: Cjp
    urgent: bool = False

    @property
    def asks(self) -> bool:
        """Whether it asks for anything: a RUN at full pace does not."""
        return self.state is not State.RUN or self.pace < 1.0


O = TypeVar("O", contravariant=True)  # noqa: E741 - what is observed


class TargetPolicy(Protocol[P, O, S]):
    """A policy about one target is a module with these names. `P` are its settings, `S` is its state."""

    NAME: str
    VERSION: int

    def initial(self) -> S:
        """The state of a target of which nothing is known."""
        ...

    def resume(self, decision: GateDecision, /) -> S:
        """The state that continues `decision`, which this policy made before a restart."""
        ...

    def step(self, params: P, state: S, observation: O, /) -> tuple[S, Verdict]:
        """The state after `observation`, and the verdict then. `state` is left as it was."""
        ...


Policy = TargetPolicy[P, Observation, S]
JobPolicy = TargetPolicy[P, JobObservation, S]


class GroupPolicy(Protocol[P, S]):
    """A policy about a group, which says something about each of its nodes."""

    NAME: str
    VERSION: int

    def initial(self) -> S:
        """The state of a group of which nothing is known."""
        ...

    def resume(self, decisions: dict[str, GateDecision], /) -> S:
        """The state that continues what this policy decided about the group's nodes before a restart."""
        ...

    def step(self, params: P, state: S, observation: GroupObservation, /) -> tuple[S, dict[str, Verdict]]:
        """The state after `observation`, and the verdict about each node of it, by name."""
        ...


def device_name(kind: str, device: str) -> str:
    """A device as people write it: "gpu0"."""
    return f"{kind}{device}"


def full_power_w(point: Point, info: DeviceInfo | None) -> float | None:
    """Full power of a device in watts: what its node calls rated, or the limit in force where that is more.

    A power cap lowers the limit in force, and must not make what is drawn under it look like full power.
    """
    limit_w = point.fields.get("power_limit_w")
    rated_w = info.rated_power_w if info is not None else None
    if limit_w is None or (rated_w is not None and rated_w >= limit_w):
        return rated_w
    return limit_w

"""Samples and whole traces for the tests of the regulator's signals, and machines that play them."""

from collections.abc import Callable, Iterable

from thermogate.analytics import signals
from thermogate.analytics.config import SignalSettings
from thermogate.analytics.policies.base import JobObservation, Member
from thermogate.core.clock import NS
from thermogate.core.gate_messages import DeviceSignals
from thermogate.core.model import DeviceInfo
from thermogate.core.wire import Point

START_NS = 1_763_712_000 * NS
RATED_W = 400.0
LIMIT_C = 90.0


def at(second: float) -> int:
    """UTC nanoseconds of a second of the trace."""
    return START_NS + round(second * NS)


def sample(second: float, *, device: str = "gpu0", node: str = "n1", **fields: float | None) -> Point:
    """A sample with these fields; one that is None is absent."""
    present = {name: float(value) for name, value in fields.items() if value is not None}
    return Point(device[:3], node, device[3:], "", "", present, at(second))


def gpu(second: float, **fields: float | None) -> Point:
    """A sample of a GPU at three quarters of its power and 60 C, with what is said otherwise."""
    usual = {
        "rle": 0.5,
        "power_w": 300.0,
        "power_limit_w": RATED_W,
        "temp_c": 60.0,
        "temp_limit_c": LIMIT_C,
    }
    return sample(second, **{**usual, **fields})


class Node:
    """One node's signals, fed sample by sample."""

    def __init__(self, inventory: dict[str, DeviceInfo] | None = None, **settings: float) -> None:
        self.params = SignalSettings(**settings)
        self.inventory = inventory or {}
        self.state = signals.initial()
        self.found: dict[str, DeviceSignals] = {}

    def hear(self, *points: Point) -> dict[str, DeviceSignals]:
        """Take each sample as a message; the signals after the last."""
        for point in points:
            self.state, self.found = signals.step(self.params, self.state, (point,), self.inventory)
        return self.found

    def last(self, device: str = "gpu0") -> DeviceSignals:
        """The signals of a device after the last message."""
        return self.found[device]


class Job:
    """One job's incoherence, looked at every second."""

    def __init__(self, **settings: float) -> None:
        self.params = SignalSettings(**settings)
        self.state = signals.initial_job()
        self.found: dict[tuple[str, str], float] = {}
        self.job: float | None = None

    def run(
        self, seconds: Iterable[float], loads: dict[tuple[str, str], Callable[[float], float | None]]
    ) -> None:
        """Each device draws what its function says, as a share of its rated power; None is not measured."""
        for second in seconds:
            members = []
            for (node, device), load in loads.items():
                ratio = load(second)
                power_w = None if ratio is None else ratio * RATED_W
                point = sample(second, device=device, node=node, power_w=power_w, power_limit_w=RATED_W)
                members.append(Member(node=node, device=device, began_ns=0, point=point))
            self.look(second, members)

    def look(self, second: float, members: Iterable[Member]) -> None:
        """One observation."""
        seen = JobObservation(target="4711", now_ns=at(second), members=tuple(members))
        self.state, self.found, self.job = signals.step_job(self.params, self.state, seen)


def gpus(count: int) -> list[tuple[str, str]]:
    """Names of devices, eight on a node."""
    return [(f"n{index // 8}", f"gpu{index % 8}") for index in range(count)]

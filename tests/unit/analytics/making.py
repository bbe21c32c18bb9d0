"""Samples, events and whole traces for the tests of the gate."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from thermogate.analytics.config import (
    ConsistencySettings,
    CoolingSettings,
    HardwareSettings,
    ThermalSettings,
)
from thermogate.analytics.history import History, describe, observe_event, observe_points
from thermogate.analytics.policies import consistency, cooling, hardware, thermal
from thermogate.analytics.policies.base import Peers, Verdict
from thermogate.core.clock import NS
from thermogate.core.decision import State
from thermogate.core.model import DeviceInfo, Event, EventKind, Status
from thermogate.core.wire import Point

NODE = "n17"
START_NS = 1_763_712_000 * NS
LIMIT_C = 90.0


def at(second: float) -> int:
    """UTC nanoseconds of a second of the trace."""
    return START_NS + round(second * NS)


def point(second: float, *, device: str = "gpu0", origin: str = "", **fields: float | None) -> Point:
    """A sample of a busy device with a limit of 90 C; a field that is None is absent."""
    values = {"util_ratio": 0.95, "temp_limit_c": LIMIT_C, **fields}
    present = {name: float(value) for name, value in values.items() if value is not None}
    return Point(device[:3], NODE, device[3:], "", origin, present, at(second))


def event(second: float, kind: EventKind, *, device: str = "gpu0", **data: float | str) -> Event:
    """An event of a device; `device` "" is the node itself."""
    return Event(
        node=NODE,
        event=kind,
        time_ns=at(second),
        text="",
        device_kind="gpu" if device else "",
        device=device[3:],
        data=data,
    )


def inventory(*uuids: str, model: str = "x", rated_power_w: float | None = None) -> Status:
    """A node that lists GPUs of these UUIDs as gpu0, gpu1, ...; "" is a number that no GPU has."""
    devices = tuple(
        DeviceInfo(kind="gpu", device=str(n), model=model, uuid=uuid, rated_power_w=rated_power_w)
        for n, uuid in enumerate(uuids)
        if uuid
    )
    return Status(node=NODE, online=True, time_ns=1, devices=devices)


Heard = Point | Event | Status


_SETTINGS: dict[str, type[Any]] = {
    "thermal": ThermalSettings,
    "hardware": HardwareSettings,
    "cooling": CoolingSettings,
    "consistency": ConsistencySettings,
}


class Watched:
    """One node under one policy alone, the thermal one here: takes what it is given, keeps every verdict.

    Every tenth state goes through JSON and must come back the same, as in the audit log.
    """

    policy: Any = thermal

    def __init__(self, **settings: float) -> None:
        self.params = _SETTINGS[self.policy.NAME](**settings)
        self.history = History()
        self.peers: dict[str, Peers] = {}
        self.state = self.policy.initial()
        self.verdicts: list[tuple[float, Verdict]] = []

    def hear(self, *heard: Heard | Sequence[Point]) -> Verdict:
        """Take samples (several together are one message) and events in this order."""
        for item in heard:
            if isinstance(item, Status):
                self.history = describe(self.history, item)
                continue
            if isinstance(item, Event):
                seen = observe_event(self.history, item)
            else:
                points = [item] if isinstance(item, Point) else item
                self.history, new = observe_points(self.history, NODE, points)
                if new is None:
                    continue
                seen = new
            seen = replace(seen, peers=self.peers) if self.peers else seen
            if len(self.verdicts) % 10 == 0:
                before, self.state = self.state, through_json(self.state)
                assert self.state == before
            self.state, verdict = self.policy.step(self.params, self.state, seen)
            self.verdicts.append(((seen.now_ns - START_NS) / NS, verdict))
        return self.verdicts[-1][1]

    def changes(self) -> list[tuple[float, State]]:
        """(second, state) wherever the state changed, from RUN."""
        found, before = [], State.RUN
        for second, verdict in self.verdicts:
            if verdict.state is not before:
                found.append((second, verdict.state))
                before = verdict.state
        return found

    def verdict_at(self, second: float) -> Verdict:
        """The verdict of the observation at `second`."""
        return next(verdict for when, verdict in self.verdicts if when == second)


class WatchedHardware(Watched):
    """One node under the hardware policy."""

    policy = hardware


class WatchedCooling(Watched):
    """One node under the cooling policy."""

    policy = cooling


class WatchedConsistency(Watched):
    """One node under the consistency policy."""

    policy = consistency


def through_json(struct: Any) -> Any:
    """The same, written and read again."""
    return msgspec.json.decode(msgspec.json.encode(struct), type=type(struct))


def trace(temps: Iterable[float], *, start: float = 0, **fields: float | None) -> list[Point]:
    """One sample a second with these temperatures."""
    return [point(start + second, temp_c=temp, **fields) for second, temp in enumerate(temps)]


def heating(*, to_c: float, rate_c_per_s: float = 0.25, from_c: float = 70.0) -> list[float]:
    """40 s at `from_c`, then rising to `to_c`, a value a second."""
    steps = round((to_c - from_c) / rate_c_per_s)
    return [from_c] * 40 + [from_c + rate_c_per_s * step for step in range(1, steps + 1)]


def collapsing(begins: Iterable[int], until: int, *, lasts: int = 5, **fields: float | None) -> list[Point]:
    """Samples of a hot device at 80 C that collapses at the seconds `begins`."""
    ill = {second + n for second in begins for n in range(lasts)}
    return [
        point(second, **{"temp_c": 80.0, "collapse": float(second in ill), **fields})
        for second in range(until)
    ]

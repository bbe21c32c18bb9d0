"""Faults that events tell of: a GPU that is lost, a driver that hangs. In any order of arrival."""

from msgspec import Struct
from msgspec.structs import replace

from thermogate.analytics.config import ThermalSettings
from thermogate.analytics.policies.base import MAX_DEVICES, device_name
from thermogate.analytics.policies.thermal.alarms import Alarm, Finding, Rule, key_of
from thermogate.core.clock import NS
from thermogate.core.decision import Reason
from thermogate.core.model import Event, EventKind
from thermogate.core.wire import Point

_BEGINS: dict[EventKind, Rule] = {"gpu_lost": "lost", "driver_hung": "hung"}
_ENDS: dict[EventKind, Rule] = {"gpu_back": "lost", "driver_back": "hung"}
ALL_GPUS = "gpu"
"""The device of a fault that is of no one GPU."""


class Fault(Struct, frozen=True, kw_only=True):
    """One fault of one device: when it last began and when it last ended (0: not yet)."""

    rule: Rule
    device: str
    began_ns: int = 0
    ended_ns: int = 0

    @property
    def lasts(self) -> bool:
        """Whether it has begun and not ended since."""
        return self.began_ns > self.ended_ns


Faults = dict[str, Fault]


def after_event(faults: Faults, event: Event, seen_ns: dict[str, int]) -> Faults:
    """The faults after an event. `seen_ns` is the newest sample of each device.

    A device that has sent a sample after the fault began has answered, whatever arrives later.
    """
    rule = _BEGINS.get(event.event) or _ENDS.get(event.event)
    if rule is None:
        return faults
    device = device_name(event.device_kind, event.device) if event.device else ALL_GPUS
    key = key_of(rule, device)
    before = faults.get(key, Fault(rule=rule, device=device))
    if event.event in _ENDS:
        after = replace(before, ended_ns=max(before.ended_ns, event.time_ns))
    else:
        answered_ns = max((ns for name, ns in seen_ns.items() if _is_of(name, device)), default=0)
        after = replace(
            before,
            began_ns=max(before.began_ns, event.time_ns),
            ended_ns=max(before.ended_ns, answered_ns),
        )
    if key not in faults and (not after.lasts or len(faults) >= MAX_DEVICES):
        return faults
    return {**faults, key: after}


def after_point(faults: Faults, point: Point) -> Faults:
    """The faults after a sample: a device that answers is there, and so is its driver."""
    name = device_name(point.measurement, point.device)
    return {
        key: replace(fault, ended_ns=max(fault.ended_ns, point.time_ns))
        if _is_of(name, fault.device)
        else fault
        for key, fault in faults.items()
    }


def judge_fault(params: ThermalSettings, fault: Fault, now_ns: int) -> Finding:
    """What a fault says: it fires once it has lasted longer than the grace."""
    lasted_s = (now_ns - fault.began_ns) / NS
    if not fault.lasts or lasted_s <= params.fault_grace_s:
        return Finding(calm=not fault.lasts)
    reason = Reason(
        metric="gpu_lost_s" if fault.rule == "lost" else "driver_hung_s",
        value=round(lasted_s, 1),
        threshold=params.fault_grace_s,
        unit="s",
        device=fault.device,
    )
    return Finding(
        Alarm(rule=fault.rule, device=fault.device, since_ns=fault.began_ns, pace=0.0, because=(reason,))
    )


def _is_of(name: str, device: str) -> bool:
    return name == device or (device == ALL_GPUS and name.startswith(ALL_GPUS))

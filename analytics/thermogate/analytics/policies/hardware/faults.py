"""Faults that events tell of: GPUs that are lost, drivers that hang, XIDs. In any order of arrival."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from thermogate.analytics.config import HardwareSettings
from thermogate.analytics.policies.alarms import Alarm, Finding, key_of
from thermogate.analytics.policies.base import MAX_DEVICES, device_name
from thermogate.analytics.policies.hardware.counters import Counters
from thermogate.analytics.policies.hardware.xids import BY_RULE, metric_of, rule_of
from thermogate.core.clock import NS
from thermogate.core.decision import Reason
from thermogate.core.model import DeviceInfo, Event, EventKind

ALL_GPUS = "gpu"
"""The device of a fault that is of no one GPU."""
_BEGINS: dict[EventKind, str] = {"gpu_lost": "lost", "driver_hung": "hung"}
_ENDS: dict[EventKind, str] = {"gpu_back": "lost", "driver_back": "hung"}
_MAX_REPEATS = 16


class Fault(Struct, frozen=True, kw_only=True):
    """One fault of one device: when it last began, and when it was last seen to be over (0: not yet).

    `stamps` are those of an XID. `uuid` is of the GPU that has it, "" where the node did not say, and
    `gpus` how many the node had then.
    """

    rule: str
    device: str
    began_ns: int = 0
    ended_ns: int = 0
    stamps: tuple[int, ...] = ()
    uuid: str = ""
    gpus: int = 0

    @property
    def lasts(self) -> bool:
        """Whether it has begun and not ended since."""
        return self.began_ns > self.ended_ns


Faults = dict[str, Fault]
Inventory = Mapping[str, DeviceInfo]


def after_event(
    faults: Faults, event: Event, counters: Mapping[str, Counters], inventory: Inventory
) -> Faults:
    """The faults after an event.

    A GPU that has sent a sample after it was lost has answered, and counters that began anew after an XID
    have mended it, whatever arrives later.
    """
    device = device_name(event.device_kind, event.device) if event.device else ALL_GPUS
    if event.event == "xid":
        return _after_xid(faults, event, device, counters, inventory)
    if event.event in ("gpu_back", "gpu_found"):
        faults = _reset(faults, device, event.time_ns)
    rule = _BEGINS.get(event.event) or _ENDS.get(event.event)
    if rule is None:
        return faults
    key = key_of(rule, device)
    before = faults.get(key) or _fault(rule, device, inventory)
    if event.event in _ENDS:
        after = replace(before, ended_ns=max(before.ended_ns, event.time_ns))
    else:
        answered_ns = max((c.seen_ns for name, c in counters.items() if is_of(name, device)), default=0)
        after = replace(
            before,
            began_ns=max(before.began_ns, event.time_ns),
            ended_ns=max(before.ended_ns, answered_ns),
        )
    return _kept(faults, key, after)


def after_sample(faults: Faults, name: str, counters: Counters) -> Faults:
    """The faults after a sample: a GPU that answers is there, and so is its driver; counters that have
    begun anew say that it was reset."""
    return {
        key: replace(fault, ended_ns=max(fault.ended_ns, _proved_ns(fault, counters)))
        if _is_about(fault, name, counters)
        else fault
        for key, fault in faults.items()
    }


def after_inventory(faults: Faults, inventory: Inventory, counters: Mapping[str, Counters]) -> Faults:
    """The faults of GPUs that are no longer in the node are over.

    There are as many without it, so that another one has come; or fewer, and counters of the others have
    begun anew since. Without that, the agent alone was started again, and does not see a GPU that is lost.
    """
    listed = {info.uuid for info in inventory.values()}
    if not listed:
        return faults
    seen_ns = max((c.seen_ns for c in counters.values()), default=0)
    anew_ns = max((c.anew_ns for c in counters.values()), default=0)
    after = dict(faults)
    for key, fault in faults.items():
        if not fault.lasts or not fault.uuid or fault.uuid in listed or seen_ns <= fault.began_ns:
            continue
        if _count(inventory) >= fault.gpus or anew_ns > fault.began_ns:
            after[key] = replace(fault, ended_ns=seen_ns)
    return after


def judge_fault(params: HardwareSettings, fault: Fault, alarm: Alarm | None, now_ns: int) -> Finding:
    """What a fault says: a loss fires once it has lasted longer than the grace, an XID by its number."""
    if not fault.lasts:
        return Finding(calm=True)
    reason = _xid_reason(params, fault) if fault.stamps else _silence_reason(params, fault, now_ns)
    if reason is None:
        return Finding(calm=False if alarm else None)
    fired = Alarm(rule=fault.rule, device=fault.device, since_ns=fault.began_ns, pace=0.0, because=(reason,))
    return Finding(fired)


def is_of(name: str, device: str) -> bool:
    """Whether a fault of `device` is of the GPU of this name."""
    return name == device or (device == ALL_GPUS and name.startswith(ALL_GPUS))


def _is_about(fault: Fault, name: str, counters: Counters) -> bool:
    """Whether a fault is of the GPU with these counters: numbers change when an agent starts anew."""
    if fault.uuid and counters.uuid:
        return fault.uuid == counters.uuid
    return is_of(name, fault.device)


def _after_xid(
    faults: Faults, event: Event, device: str, counters: Mapping[str, Counters], inventory: Inventory
) -> Faults:
    number = event.data.get("xid")
    rule = rule_of(int(number)) if isinstance(number, int | float) else ""
    if rule not in BY_RULE:
        return faults
    key = key_of(rule, device)
    before = faults.get(key) or _fault(rule, device, inventory)
    count = event.data.get("count", 1)
    times = min(int(count), _MAX_REPEATS) if isinstance(count, int | float) else 1
    if event.time_ns in before.stamps:
        return faults  # the same event once more
    stamps = sorted((*before.stamps, *[event.time_ns] * max(times, 1)))[-_MAX_REPEATS:]
    anew_ns = max((c.anew_ns for name, c in counters.items() if is_of(name, device)), default=0)
    after = replace(
        before,
        began_ns=stamps[-1],
        ended_ns=max(before.ended_ns, anew_ns),
        stamps=tuple(stamps),
    )
    return _kept(faults, key, after)


def _kept(faults: Faults, key: str, after: Fault) -> Faults:
    if key not in faults and (not after.lasts or len(faults) >= MAX_DEVICES):
        return faults
    return {**faults, key: after}


def _reset(faults: Faults, device: str, time_ns: int) -> Faults:
    """The faults after the GPU was away and is back: what a reset mends is mended."""
    return {
        key: replace(fault, ended_ns=max(fault.ended_ns, time_ns))
        if is_of(device, fault.device) and fault.stamps and not _needs_replacing(fault)
        else fault
        for key, fault in faults.items()
    }


def _proved_ns(fault: Fault, counters: Counters) -> int:
    """Until when the fault is over by a sample of its GPU; 0 when it proves nothing."""
    if not fault.stamps:
        return counters.seen_ns
    return 0 if _needs_replacing(fault) else counters.anew_ns


def _needs_replacing(fault: Fault) -> bool:
    """Whether only another GPU ends it; where the node does not say which is which, a reset has to do."""
    return BY_RULE[fault.rule].remedy == "replace" and bool(fault.uuid)


def _xid_reason(params: HardwareSettings, fault: Fault) -> Reason | None:
    repeats = BY_RULE[fault.rule].repeats
    oldest_ns = fault.stamps[-1] - int(params.xid_window_s * NS)
    count = sum(max(oldest_ns, fault.ended_ns) < stamp for stamp in fault.stamps)
    needed = params.xid_repeat_count if repeats else 1
    if count < needed:
        return None
    return Reason(
        metric=metric_of(int(fault.rule.removeprefix("xid"))),
        value=float(count),
        threshold=float(needed),
        window_s=params.xid_window_s if repeats else 0.0,
        device=fault.device,
    )


def _silence_reason(params: HardwareSettings, fault: Fault, now_ns: int) -> Reason | None:
    lasted_s = (now_ns - fault.began_ns) / NS
    if fault.rule not in _ENDS.values() or lasted_s <= params.grace_s:
        return None
    return Reason(
        metric="gpu_lost_s" if fault.rule == "lost" else "driver_hung_s",
        value=round(lasted_s, 1),
        threshold=params.grace_s,
        unit="s",
        device=fault.device,
    )


def _fault(rule: str, device: str, inventory: Inventory) -> Fault:
    info = inventory.get(device)
    return Fault(rule=rule, device=device, uuid=info.uuid if info else "", gpus=_count(inventory))


def _count(inventory: Inventory) -> int:
    return sum(info.kind == "gpu" and not info.parent for info in inventory.values())

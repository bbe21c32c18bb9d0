"""What the hardware policy remembers of a node, and how samples, events and a restart change it."""

import msgspec

from thermogate.analytics.config import HardwareSettings
from thermogate.analytics.policies.alarms import key_of
from thermogate.analytics.policies.base import Observation, device_name
from thermogate.analytics.policies.hardware.counters import Counters, take
from thermogate.analytics.policies.hardware.faults import (
    Fault,
    Faults,
    after_event,
    after_inventory,
    after_sample,
)
from thermogate.analytics.policies.hardware.xids import BY_RULE, XIDS, metric_of, rule_of
from thermogate.analytics.policies.standing import Standing, resumed
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision

_RULE_OF = {
    "gpu_lost_s": "lost",
    "driver_hung_s": "hung",
    "ecc_uncorrected_count": "uncorrected",
    "ecc_corrected_count": "corrected",
    "power_brake_s": "brake",
} | {metric_of(number): rule_of(number) for number in XIDS}
"""Which rule a reason of a decision is of."""

_AHEAD_NS = 60 * NS
"""An event may be newer than the newest sample by as much; one from further ahead has a wrong clock, and
would be newer than all that could end it."""


class HardwareState(msgspec.Struct, frozen=True):
    """What the policy remembers of a node: its GPUs' counters, their faults, and what stands against it."""

    counters: dict[str, Counters] = {}
    faults: Faults = {}
    standing: Standing = Standing()


def initial() -> HardwareState:
    """A node of which nothing is known: it runs."""
    return HardwareState()


def resume(decision: GateDecision) -> HardwareState:
    """A node that `decision` holds: its faults last until something says that they are over.

    Which GPU had them is not known any more, so that a reset has to do for a replacement.
    """
    standing = resumed(decision, _RULE_OF)
    faults: Faults = {}
    for alarm in standing.alarms.values():
        if alarm.rule in ("lost", "hung") or alarm.rule in BY_RULE:
            began_ns = max(alarm.since_ns, 1)
            stamps = (began_ns,) if alarm.rule in BY_RULE else ()
            fault = Fault(rule=alarm.rule, device=alarm.device, began_ns=began_ns, stamps=stamps)
            faults[key_of(alarm.rule, alarm.device)] = fault
    return HardwareState(faults=faults, standing=standing)


def absorb(
    params: HardwareSettings, state: HardwareState, observation: Observation
) -> tuple[dict[str, Counters], Faults]:
    """Counters and faults after the samples and events."""
    inventory, faults = observation.inventory, state.faults
    counters = dict(state.counters)
    for point in observation.points:
        if point.measurement != "gpu":
            continue
        name = device_name("gpu", point.device)
        info = inventory.get(name)
        counters[name] = take(params, counters.get(name), point, info.uuid if info else "")
        if faults:
            faults = after_sample(faults, name, counters[name])
    latest_ns = observation.now_ns + _AHEAD_NS
    for event in observation.events:
        if event.time_ns > latest_ns:
            event = msgspec.structs.replace(event, time_ns=latest_ns)
        faults = after_event(faults, event, counters, inventory)
    if faults:
        faults = after_inventory(faults, inventory, counters)
    return _fresh(params, counters, observation.now_ns), faults


def _fresh(params: HardwareSettings, counters: dict[str, Counters], now_ns: int) -> dict[str, Counters]:
    oldest_ns = now_ns - int(params.away_s * NS)
    if all(seen.seen_ns > oldest_ns for seen in counters.values()):
        return counters
    return {name: seen for name, seen in counters.items() if seen.seen_ns > oldest_ns}

"""What the thermal policy remembers of a node, and how samples, events and a restart change it."""

import msgspec

from thermogate.analytics.config import ThermalSettings
from thermogate.analytics.policies.base import Observation, Verdict, device_name
from thermogate.analytics.policies.thermal.alarms import FAULTS, Alarm, Rule, key_of
from thermogate.analytics.policies.thermal.evidence import Device, take
from thermogate.analytics.policies.thermal.faults import Fault, Faults, after_event, after_point
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, State

_RULE_OF: dict[str, Rule] = {
    "gpu_lost_s": "lost",
    "driver_hung_s": "hung",
    "temp_c": "heat",
    "time_to_limit_s": "heat",
    "collapse": "collapse",
}


class ThermalState(msgspec.Struct, frozen=True):
    """What the policy remembers of a node: its devices, their faults, and what stands against it.

    `since_ns` is when the alarms began after the last RUN. `cleared` is what is said of their end.
    """

    devices: dict[str, Device] = {}
    faults: Faults = {}
    alarms: dict[str, Alarm] = {}
    since_ns: int = 0
    cleared: Verdict | None = None


def initial() -> ThermalState:
    """A node of which nothing is known: it runs."""
    return ThermalState()


def resume(decision: GateDecision) -> ThermalState:
    """A node that `decision` holds: its alarms stand until their release conditions are met.

    Samples from before the restart are not known, so only what the decision says is kept.
    """
    alarms: dict[str, Alarm] = {}
    faults: Faults = {}
    for reason in decision.because if decision.state is not State.RUN else ():
        rule = _RULE_OF.get(reason.metric)
        if rule is None:
            continue
        key = key_of(rule, reason.device)
        because = (*alarms[key].because, reason) if key in alarms else (reason,)
        alarms[key] = Alarm(
            rule=rule, device=reason.device, since_ns=reason.since_ns, pace=decision.pace, because=because
        )
        if rule in FAULTS:
            faults[key] = Fault(rule=rule, device=reason.device, began_ns=reason.since_ns)
    since_ns = min((alarm.since_ns for alarm in alarms.values()), default=0)
    return ThermalState(faults=faults, alarms=alarms, since_ns=since_ns)


def absorb(
    params: ThermalSettings, state: ThermalState, observation: Observation
) -> tuple[dict[str, Device], Faults]:
    """Devices and faults after the samples and events; devices silent for long are forgotten."""
    oldest_ns = observation.now_ns - int(params.stale_s * NS)
    devices = {name: device for name, device in state.devices.items() if device.seen_ns > oldest_ns}
    faults = state.faults
    for point in observation.points:
        name = device_name(point.measurement, point.device)
        before = devices.get(name, Device())
        devices[name] = take(params, before, point, observation.inventory.get(name))
        faults = after_point(faults, point) if faults else faults
    for event in observation.events:
        faults = after_event(faults, event, {name: device.seen_ns for name, device in devices.items()})
    return devices, faults

"""What the thermal policy remembers of a node, and how samples and a restart change it."""

import msgspec

from thermogate.analytics.config import ThermalSettings
from thermogate.analytics.policies.base import Observation, device_name
from thermogate.analytics.policies.standing import Standing, resumed
from thermogate.analytics.policies.thermal.evidence import Device, take
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision

_RULE_OF = {
    "slowed_ratio": "slowdown",
    "temp_c": "heat",
    "time_to_limit_s": "heat",
    "collapse": "collapse",
}
"""Which rule a reason of a decision is of."""


class ThermalState(msgspec.Struct, frozen=True):
    """What the policy remembers of a node: its devices, and what stands against it."""

    devices: dict[str, Device] = {}
    standing: Standing = Standing()


def initial() -> ThermalState:
    """A node of which nothing is known: it runs."""
    return ThermalState()


def resume(decision: GateDecision) -> ThermalState:
    """A node that `decision` holds: its alarms stand until their release conditions are met."""
    return ThermalState(standing=resumed(decision, _RULE_OF))


def absorb(params: ThermalSettings, state: ThermalState, observation: Observation) -> dict[str, Device]:
    """The devices after the samples; those silent for long are forgotten."""
    oldest_ns = observation.now_ns - int(params.stale_s * NS)
    devices = {name: device for name, device in state.devices.items() if device.seen_ns > oldest_ns}
    for point in observation.points:
        name = device_name(point.measurement, point.device)
        before = devices.get(name) or Device()
        devices[name] = take(params, before, point, observation.inventory.get(name))
    return devices

"""What the cooling policy remembers of a node, and how a restart changes it."""

import msgspec

from thermogate.analytics.policies.cooling.window import Device
from thermogate.analytics.policies.standing import Standing, resumed
from thermogate.core.decision import GateDecision

_RULE_OF = {"thermal_resistance_k_per_w": "resistance", "robust_z": "resistance"}


class CoolingState(msgspec.Struct, frozen=True):
    """What the policy remembers of a node: its GPUs' resistances, and what stands against it."""

    devices: dict[str, Device] = {}
    standing: Standing = Standing()


def initial() -> CoolingState:
    """A node of which nothing is known: it runs."""
    return CoolingState()


def resume(decision: GateDecision) -> CoolingState:
    """A node that `decision` holds: its devices have to show again that they are among their peers."""
    return CoolingState(standing=resumed(decision, _RULE_OF))

"""The power budget, version 1, as the protocol `policies.base.GroupPolicy` wants it."""

from thermogate.analytics.policies.power.memory import PowerState, initial, resume
from thermogate.analytics.policies.power.policy import step

__all__ = ["NAME", "VERSION", "PowerState", "initial", "resume", "step"]

NAME = "power"
VERSION = 1

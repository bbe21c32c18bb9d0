"""The thermal policy, version 2, as the protocol `policies.base.Policy` wants it."""

from thermogate.analytics.policies.thermal.memory import ThermalState, initial, resume
from thermogate.analytics.policies.thermal.policy import step

__all__ = ["NAME", "VERSION", "ThermalState", "initial", "resume", "step"]

NAME = "thermal"
VERSION = 2

"""The hardware policy, version 1, as the protocol `policies.base.Policy` wants it."""

from thermogate.analytics.policies.hardware.memory import HardwareState, initial, resume
from thermogate.analytics.policies.hardware.policy import step

__all__ = ["NAME", "VERSION", "HardwareState", "initial", "resume", "step"]

NAME = "hardware"
VERSION = 1

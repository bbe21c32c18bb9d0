"""The health policy, version 1, as the protocol `policies.base.Policy` wants it."""

from thermogate.analytics.policies.health.memory import HealthState, initial, resume
from thermogate.analytics.policies.health.policy import step

__all__ = ["NAME", "VERSION", "HealthState", "initial", "resume", "step"]

NAME = "health"
VERSION = 1

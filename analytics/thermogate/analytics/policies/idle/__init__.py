"""The idle policy, version 1, as the protocol `policies.base.JobPolicy` wants it."""

from thermogate.analytics.policies.idle.memory import IdleState, initial, resume
from thermogate.analytics.policies.idle.policy import step

__all__ = ["NAME", "VERSION", "IdleState", "initial", "resume", "step"]

NAME = "idle"
VERSION = 1

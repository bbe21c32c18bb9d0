"""The consistency policy, version 1, as the protocol `policies.base.Policy` wants it."""

from thermogate.analytics.policies.consistency.memory import ConsistencyState, initial, resume
from thermogate.analytics.policies.consistency.policy import step

__all__ = ["NAME", "VERSION", "ConsistencyState", "initial", "resume", "step"]

NAME = "consistency"
VERSION = 1

"""The cooling policy, version 1, as the protocol `policies.base.Policy` wants it."""

from thermogate.analytics.policies.cooling.fleet import distribution, resistances
from thermogate.analytics.policies.cooling.memory import CoolingState, initial, resume
from thermogate.analytics.policies.cooling.policy import step

__all__ = ["NAME", "VERSION", "CoolingState", "distribution", "initial", "resistances", "resume", "step"]

NAME = "cooling"
VERSION = 1

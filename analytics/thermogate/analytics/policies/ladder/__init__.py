"""The RLE pace ladder, version 1, as the protocol `policies.base.Policy` wants it."""

from thermogate.analytics.policies.ladder.memory import LadderState, initial, resume
from thermogate.analytics.policies.ladder.policy import step

__all__ = ["NAME", "VERSION", "LadderState", "initial", "resume", "step"]

NAME = "ladder"
VERSION = 1

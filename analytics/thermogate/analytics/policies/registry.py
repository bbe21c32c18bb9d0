"""Which policies there are, and what each is about. Its settings are the field of its name in `analytics`."""

from typing import Any

from thermogate.analytics.policies import consistency, cooling, hardware, health, idle, ladder, power, thermal
from thermogate.analytics.policies.base import GroupPolicy, JobPolicy, Policy

NODE_POLICIES: tuple[Policy[Any, Any], ...] = (hardware, thermal, cooling, consistency, health, ladder)
"""Of two that ask for the same, the first decides."""
JOB_POLICIES: tuple[JobPolicy[Any, Any], ...] = (idle,)
GROUP_POLICIES: tuple[GroupPolicy[Any, Any], ...] = (power,)

"""The regulator's signals of a device and of a job, pure and incremental. docs/signals.md has the
formulas."""

from thermogate.analytics.signals.job import JobState, initial_job, step_job
from thermogate.analytics.signals.node import NodeState, initial, step

__all__ = ["JobState", "NodeState", "initial", "initial_job", "step", "step_job"]

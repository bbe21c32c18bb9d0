"""Whose work a device does: spans of jobs, from the processes on it and their cgroups."""

from collections.abc import Mapping
from typing import Protocol

from thermogate.core.model import Event
from thermogate.core.schema import Kind

DeviceKey = tuple[Kind, str]


class JobTracker(Protocol):
    """Turns the processes on devices into events where a job begins and ends."""

    def step(self, users: Mapping[DeviceKey, tuple[int, ...]], time_ns: int) -> list[Event]:
        """Events of one tick. A device that is not in `users` was not asked now: nothing changes on it."""
        ...

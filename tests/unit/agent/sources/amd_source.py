"""A source of AMD GPUs over a small tree, as its tests need it."""

from tests.fakes import FakeClock
from tests.unit.agent.sources.amd_tree import AmdTree
from thermogate.agent.sources.amd import AmdSettings, AmdSource
from thermogate.agent.sources.base import Fields, Reading
from thermogate.agent.sources.host import HostSettings

ONE = "0000:05:00.0"
TWO = "0000:26:00.0"
PATIENT = AmdSettings(read_timeout_s=30, open_timeout_s=30)
"""For a machine that is busy with other things."""


def over(tree: AmdTree, clock: FakeClock, settings: AmdSettings = PATIENT) -> AmdSource:
    """A source of what the tree says."""
    return AmdSource(settings, HostSettings(sysfs_root=str(tree.sysfs)), clock)


def fields(source: AmdSource) -> dict[str, Fields]:
    """What each GPU says in one reading that has no events."""
    readings, events = source.read()
    assert events == []
    return {reading.device: reading.fields for reading in readings}


def pids(readings: list[Reading]) -> dict[str, tuple[int, ...] | None]:
    """The processes on each GPU, None where they were not asked for."""
    return {reading.device: reading.pids for reading in readings}

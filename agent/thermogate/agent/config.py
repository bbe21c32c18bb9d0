"""Settings of the agent."""

from typing import Literal

import msgspec

from thermogate.agent.budget import BudgetSettings
from thermogate.agent.sources.amd import AmdSettings
from thermogate.agent.sources.cpu import CpuSettings
from thermogate.agent.sources.host import HostSettings
from thermogate.agent.sources.nvidia import NvidiaSettings
from thermogate.agent.spool import SpoolSettings
from thermogate.agent.throttle import ThrottleSettings
from thermogate.core.config import Settings


class RleSettings(Settings, frozen=True):
    """Which RLE is computed on the node."""

    profile: Literal["monitor", "core", "headroom"] = "monitor"
    """The published profile; docs/rle.md says how they differ."""
    max_gap_s: float = 10.0
    """A longer silence starts RLE afresh: 10 s is the stability window of `monitor`."""


class SamplerSettings(Settings, frozen=True):
    """How long sources may take, and what is said of them and of the clock."""

    open_timeout_s: float = 12.0
    """Wait for slow sources at the start, 2 s more than the NVIDIA driver is given; then sample without."""
    hung_after_s: float = 3.0
    """Silence of a source that is reported: three ticks, so that a slow one is not."""
    idle_interval_s: float = 5.0
    """How often a source that has found nothing is asked again: a node without AMD GPUs need not pay for
    them every second."""
    clock_jump_s: float = 0.5
    """A wall clock that moved this much against the steady one was set; NTP slews 0.0005 s a second."""


class JobSettings(Settings, frozen=True):
    """How it is found out whose work a device does."""

    grace_s: float = 60.0
    """A job that has no process on a device for less than this goes on: frameworks restart their workers."""
    silent_after_s: float = 3600.0
    """The jobs on a device that has not been asked for this long end where they were last seen: it was
    lost or taken out; a driver that hangs comes back sooner, or after a reboot."""
    recheck_s: float = 300.0
    """How often the group and user of a process that stays are read again: it may be moved to another."""
    save_interval_s: float = 30.0
    """How often the file of open spans is renewed when nothing begins or ends: half of `grace_s`, so that
    an agent that is started again at once finds its spans fresh enough."""
    max_processes: int = 256
    """Processes of one device that are looked at; the first look at one takes about 0.1 ms."""
    max_jobs: int = 32
    """Spans that are open on one device at a time, so that nobody can flood the spool with events."""
    name_timeout_s: float = 2.0
    """How long the directory of users may take for a name; the number stands in for it until it answers."""
    stuck_after_s: float = 30.0
    """A look that takes longer is reported: six times the 5 s after which sources ask again."""


class UplinkSettings(Settings, frozen=True):
    """How the spool is sent."""

    window: int = 100
    """Messages on their way without a collector's acknowledgement; iotcore's own window is 100. With
    VictoriaMetrics, which is acknowledged some 20 s later, a backlog needs 20 times backlog_per_s."""
    ack_timeout_s: float = 30.0
    """Send again after this. Collectors acknowledge every 5 s, and with VictoriaMetrics 21 s after the write
    at most."""
    backlog_per_s: float = 200.0
    """Old messages a second beside the live ones: an hour's outage is caught up in 18 s."""
    status_interval_s: float = 60.0
    """How often the retained status is renewed, with the depth of the spool."""


class AgentSettings(Settings, frozen=True):
    """What one node's agent does."""

    node: str = ""
    """Name of the node on the wire; empty: the host's name."""
    period_s: float = 1.0
    """Time between samples."""
    selfstats_interval_s: float = 10.0
    """How often the agent reports its own cost, late ticks and spool, and what it had to drop."""
    rle: RleSettings = msgspec.field(default_factory=RleSettings)
    sampler: SamplerSettings = msgspec.field(default_factory=SamplerSettings)
    throttle: ThrottleSettings = msgspec.field(default_factory=ThrottleSettings)
    budget: BudgetSettings = msgspec.field(default_factory=BudgetSettings)
    uplink: UplinkSettings = msgspec.field(default_factory=UplinkSettings)
    jobs: JobSettings = msgspec.field(default_factory=JobSettings)
    nvidia: NvidiaSettings = msgspec.field(default_factory=NvidiaSettings)
    amd: AmdSettings = msgspec.field(default_factory=AmdSettings)
    cpu: CpuSettings = msgspec.field(default_factory=CpuSettings)
    host: HostSettings = msgspec.field(default_factory=HostSettings)
    spool: SpoolSettings = msgspec.field(default_factory=SpoolSettings)

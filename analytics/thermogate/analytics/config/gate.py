"""What is common to the decisions of all policies: how long they hold, how they change, how many at once."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec

from thermogate.analytics.config.kinds import Count, Mode, NotNegative, Positive, Share
from thermogate.core.config import Settings


class ModeSettings(Settings, frozen=True):
    """What each policy may do: `off`, `shadow` (it says what it would decide and nobody acts) or `enforce`.

    Watch a policy in shadow on your own fleet first.
    """

    thermal: Mode = "shadow"
    hardware: Mode = "shadow"
    cooling: Mode = "shadow"
    consistency: Mode = "shadow"
    health: Mode = "shadow"
    idle: Mode = "shadow"
    power: Mode = "shadow"
    """Says nothing until a group has a `power_cap_w`."""
    ladder: Mode = "off"
    """A pace for every dip of efficiency: for those who want the published ladder."""


class GateSettings(Settings, frozen=True):
    """What is common to the decisions of all policies."""

    moved: ClassVar[Mapping[str, str]] = {"mode": "analytics.modes.thermal, and one of each other policy"}

    ttl_s: Positive = 120.0
    """A decision says nothing after this. A gate that is being restarted is back within it, and a
    fleet whose gate has died runs on within two minutes."""
    renew_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    """A decision that still stands is renewed after this share of `ttl_s`, so that one lost
    renewal or a late sample does not let it expire."""
    dwell_s: NotNegative = 60.0
    """Least time between two changes about one target: a scheduler needs about a minute to
    checkpoint and stop a job. Going to REPAIR does not wait: a lost GPU harms every minute."""
    eased_most_count: Count = 6
    """So often in an hour a target may go to a less grave state; then it stays where it is until the first of
    these is an hour old. What is let go every ten minutes and fires again is not mended, and each time
    costs a checkpoint. Going to REPAIR, and what an operator says, do not wait."""
    tick_s: Positive = 1.0
    """How often jobs, groups and silent nodes are looked at: as often as nodes sample."""
    silent_s: Positive = 30.0
    """A node that is held and has said nothing new for this gets SYNC: what is held stays. Shorter than
    `ttl_s`, or its decision would expire and a node that nobody sees would be released."""
    silent_most_s: Positive = 1800.0
    """After this without a word from it SYNC ends too, and with it what was held: somebody has had half an
    hour to look, and what is lost for good is for its scheduler to notice."""
    silent_repair_s: Positive = 86_400.0
    """The same of a node that is to be repaired: it is switched off for that, often for hours, and must not
    come back as well. A day later it is given up, so that what is scrapped does not fill the breaker."""

    def __post_init__(self) -> None:
        renew_s = self.ttl_s * self.renew_share
        if self.dwell_s > renew_s:
            # A decision must not expire only because its change has to wait.
            raise ValueError(f"dwell_s {self.dwell_s:g} is longer than ttl_s * renew_share = {renew_s:g}")
        if self.silent_s + self.tick_s > renew_s:
            raise ValueError(f"silent_s + tick_s is longer than ttl_s * renew_share = {renew_s:g}")


class BreakerSettings(Settings, frozen=True):
    """How much may be held or drained at once. What is beyond is decided in shadow only, and says so."""

    fleet_share: Share = 0.1
    """Of the nodes that are heard: a mistake of a threshold, or hot air everywhere, must not stop a fleet."""
    group_share: Share = 0.5
    """Of the nodes of one group (`analytics.groups`): a hot rack loses half at most, and cools by that."""
    job_share: Share = 0.25
    """Of the jobs that run: idle ones are few, unless utilization is no longer measured."""
    least: Count = 1
    """So many may be held in any case: a share of a small fleet is less than one."""


class GroupSettings(Settings, frozen=True):
    """Nodes that share something: a rack, a row, a power feed."""

    name: str
    nodes: tuple[str, ...]
    """Names, with shell patterns: "n1[0-9]", "rack3-*"."""
    power_cap_w: Positive | None = None
    """Watts that its nodes may draw together; without it the group only bounds what is held."""


class RecallSettings(Settings, frozen=True):
    """What is read from the store at the start, so that a restart forgets nothing."""

    url: str = ""
    """The HTTP API of a collector, "http://collector:8420"; empty: nothing is read, and policies begin with
    what is retained on the broker. `thermogate up` reads its own store."""
    token_file: str = ""
    """A file whose first line is the token to ask with."""
    ca_file: str = ""
    """Authorities to trust with https; empty: those of the system."""
    samples_s: Positive = 180.0
    """Samples of this time before now: several windows of the thermal policy."""
    events_s: Positive = 86_400.0
    """Events of this time before now: which jobs run, and which faults stand. Most jobs are shorter."""
    most_s: Positive = 20.0
    """The gate waits no longer for it: decisions in force expire after `gate.ttl_s`."""

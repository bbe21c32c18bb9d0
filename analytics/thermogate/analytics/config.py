"""Settings of analytics: every threshold of the gate, its unit and its reason."""

from typing import Annotated, Literal

import msgspec

from thermogate.core.config import Settings

_Positive = Annotated[float, msgspec.Meta(gt=0)]
_NotNegative = Annotated[float, msgspec.Meta(ge=0)]
_Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class GateSettings(Settings, frozen=True):
    """What is common to the decisions of all policies."""

    mode: Literal["shadow", "enforce"] = "shadow"
    """`shadow` says what would be decided and nobody acts; watch it on your own fleet first."""
    ttl_s: _Positive = 120.0
    """A decision says nothing after this. A gate that is being restarted is back within it, and a
    fleet whose gate has died runs on within two minutes."""
    renew_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    """A decision that still stands is renewed after this share of `ttl_s`, so that one lost
    renewal or a late sample does not let it expire."""
    dwell_s: _NotNegative = 60.0
    """Least time between two changes about one target: a scheduler needs about a minute to
    checkpoint and stop a job. Going to REPAIR does not wait: a lost GPU harms every minute."""

    def __post_init__(self) -> None:
        renew_s = self.ttl_s * self.renew_share
        if self.dwell_s > renew_s:
            # A decision must not expire only because its change has to wait.
            raise ValueError(f"dwell_s {self.dwell_s:g} is longer than ttl_s * renew_share = {renew_s:g}")


class ThermalSettings(Settings, frozen=True):
    """Thresholds of the thermal policy. docs/gate.md says how they were chosen and what they do."""

    collapse_count: _Count = 3
    """HOLD at this many collapses of one device within `collapse_window_s`: one is an incident,
    two may be one that a cool sample cut in two, three are a pattern."""
    collapse_window_s: _Positive = 600.0
    """Ten minutes: several times the thermal time constant of a heat sink (about 1 to 3 min)."""
    collapse_near_c: _Positive = 15.0
    """Only collapses that begin under load within this of the limit count: efficiency also falls
    when a cold device takes up work, or work pauses, and that is no matter of heat."""
    collapse_release_s: _Positive = 300.0
    """Released after this time without a collapse: half the window, so that a device that starts
    again after every pause is held again by its next collapse."""

    heat_time_s: _Positive = 60.0
    """HOLD below this time to the temperature limit: what a checkpoint takes, and the evidence
    that the collapse detector of RLE asks for."""
    heat_near_c: _Positive = 5.0
    """Only within this of the limit, as in the collapse detector of RLE. Further off, warming up
    looks the same: with 10 C, healthy recordings fire that end 10 C below their limit."""
    heat_at_limit_c: _NotNegative = 2.0
    """HOLD within this of the limit under load, heating or not: a device that slows itself down
    stands still there. 2 C are the step (1 C) and the hunting of a fan (1 C)."""
    heat_window_s: _Positive = 30.0
    """Time over which heating is measured. On a sensor with steps of 1 C one step reads as at most
    0.05 C/s over 30 s, and as 1 C/s over one sample."""
    heat_count: Annotated[int, msgspec.Meta(ge=3)] = 4
    """Least samples in the window; 4 lets a node that samples every 10 s take part."""
    heat_release_time_s: _Positive = 120.0
    """Released at more than this to the limit: twice `heat_time_s`."""
    heat_release_c: _NotNegative = 5.0
    """Released at this or more below the limit; above `heat_at_limit_c` by more than a fan hunts."""
    heat_release_s: _Positive = 60.0
    """Both for this long on end: the time constant of a GPU's heat sink, so that a pause in the
    work does not pass for a cure."""

    load_util_ratio: _Share = 0.60
    """Under load is a device this busy or more, as in the collapse detector of RLE,"""
    load_power_ratio: _Share = 0.75
    """or one that draws this share or more of its rated power,"""
    load_share: _Share = 0.5
    """in this share of the samples of the window: work has pauses of seconds."""

    pace_ambient_c: float = 30.0
    """Air at the device, for the pace: a warm aisle. Hotter air makes the true pace lower."""
    pace_margin_c: _Positive = 10.0
    """The pace aims this far below the limit: twice the release margin, for what it neglects."""
    pace_least_ratio: _Share = 0.2
    """Never asked to go below this: much less than idle power cannot be had."""
    pace_most_ratio: _Share = 0.9
    """A HOLD always asks for less than full power, and this is the least step that cools."""
    pace_step_ratio: _Share = 0.05
    """Paces are rounded down to this, so that a degree more or less is not a new decision."""

    fault_grace_s: _NotNegative = 30.0
    """REPAIR when a GPU is lost or its driver hangs for longer: a driver reset takes some 10 s."""
    fault_release_s: _Positive = 60.0
    """Released when it has answered for this long on end: one that comes and goes stays out."""

    stale_s: _Positive = 300.0
    """A device that has not said for this long what a HOLD rests on no longer holds its node."""

    def __post_init__(self) -> None:
        for low, high in (
            ("heat_time_s", "heat_release_time_s"),
            ("heat_at_limit_c", "heat_release_c"),
            ("pace_least_ratio", "pace_most_ratio"),
        ):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} must be less than {high}")


class AnalyticsSettings(Settings, frozen=True):
    """What the analytics process does."""

    client_id: str = "thermogate-analytics"
    """Its name at the broker. One gate runs for a fleet, or one for each shard, which adds its number; a
    second of the same name takes its place."""
    shard: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,3}/[1-9][0-9]{0,2}$")] = "0/1"
    """Which part of the fleet this gate decides about: "0/2" and "1/2" are two halves, by a hash of the
    node's name. One process takes some 1,000 nodes on a core (docs/scale.md)."""
    forget_s: _Positive = 600.0
    """A node silent for this long is forgotten: longer than a server takes to start again, so that
    a hot node does not restart into a clean slate, and its decisions have expired long since."""
    gate: GateSettings = msgspec.field(default_factory=GateSettings)
    thermal: ThermalSettings = msgspec.field(default_factory=ThermalSettings)

    def __post_init__(self) -> None:
        index, count = self.part
        if index >= count:
            raise ValueError(f"shard {self.shard}: of {count} parts the last is {count - 1}/{count}")

    @property
    def part(self) -> tuple[int, int]:
        """(index, count) of `shard`."""
        index, _, count = self.shard.partition("/")
        return int(index), int(count)

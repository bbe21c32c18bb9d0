"""Settings of analytics: every threshold of the gate, its unit and its reason."""

from typing import Annotated

import msgspec

from thermogate.analytics.config.audit import AuditSettings
from thermogate.analytics.config.consistency import ConsistencySettings
from thermogate.analytics.config.cooling import CoolingSettings
from thermogate.analytics.config.gate import (
    BreakerSettings,
    GateSettings,
    GroupSettings,
    ModeSettings,
    RecallSettings,
)
from thermogate.analytics.config.hardware import HardwareSettings
from thermogate.analytics.config.health import HealthSettings
from thermogate.analytics.config.idle import IdleSettings
from thermogate.analytics.config.kinds import Positive
from thermogate.analytics.config.ladder import LadderSettings
from thermogate.analytics.config.power import PowerSettings
from thermogate.analytics.config.signals import SignalSettings
from thermogate.analytics.config.thermal import ThermalSettings
from thermogate.core.config import Settings

__all__ = [
    "AnalyticsSettings",
    "AuditSettings",
    "BreakerSettings",
    "ConsistencySettings",
    "CoolingSettings",
    "GateSettings",
    "GroupSettings",
    "HardwareSettings",
    "HealthSettings",
    "IdleSettings",
    "LadderSettings",
    "ModeSettings",
    "PowerSettings",
    "RecallSettings",
    "SignalSettings",
    "ThermalSettings",
]


class AnalyticsSettings(Settings, frozen=True):
    """What the analytics process does."""

    client_id: str = "thermogate-analytics"
    """Its name at the broker. One gate runs for a fleet, or one for each shard, which adds its number; a
    second of the same name takes its place."""
    shard: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,3}/[1-9][0-9]{0,2}$")] = "0/1"
    """Which part of the fleet this gate decides about: "0/2" and "1/2" are two halves, by a hash of the
    node's name. One process takes some 500 nodes on half a core (docs/scale.md)."""
    forget_s: Positive = 600.0
    """A node silent for this long is forgotten: longer than a server takes to start again, so that
    a hot node does not restart into a clean slate, and its decisions have expired long since."""
    key_file: str = ""
    """The key that signs decisions; empty: `keys/gate.key` in the data folder, made at the first start."""
    trusted_file: str = ""
    """Whose retained decisions and whose overrides count; empty: `keys/trusted` in the data folder."""
    audit: AuditSettings = msgspec.field(default_factory=AuditSettings)
    modes: ModeSettings = msgspec.field(default_factory=ModeSettings)
    gate: GateSettings = msgspec.field(default_factory=GateSettings)
    breaker: BreakerSettings = msgspec.field(default_factory=BreakerSettings)
    groups: tuple[GroupSettings, ...] = ()
    recall: RecallSettings = msgspec.field(default_factory=RecallSettings)
    signals: SignalSettings = msgspec.field(default_factory=SignalSettings)
    thermal: ThermalSettings = msgspec.field(default_factory=ThermalSettings)
    hardware: HardwareSettings = msgspec.field(default_factory=HardwareSettings)
    consistency: ConsistencySettings = msgspec.field(default_factory=ConsistencySettings)
    cooling: CoolingSettings = msgspec.field(default_factory=CoolingSettings)
    health: HealthSettings = msgspec.field(default_factory=HealthSettings)
    idle: IdleSettings = msgspec.field(default_factory=IdleSettings)
    power: PowerSettings = msgspec.field(default_factory=PowerSettings)
    ladder: LadderSettings = msgspec.field(default_factory=LadderSettings)

    def __post_init__(self) -> None:
        index, count = self.part
        if index >= count:
            raise ValueError(f"shard {self.shard}: of {count} parts the last is {count - 1}/{count}")
        capped = [group.name for group in self.groups if group.power_cap_w is not None]
        if capped and count > 1:
            raise ValueError(
                f"group {capped[0]} has a power cap, for which one gate must see all its nodes: no shards"
            )
        names = [group.name for group in self.groups]
        if len(set(names)) < len(names):
            raise ValueError(f"two groups are called {next(n for n in names if names.count(n) > 1)}")

    @property
    def part(self) -> tuple[int, int]:
        """(index, count) of `shard`."""
        index, _, count = self.shard.partition("/")
        return int(index), int(count)

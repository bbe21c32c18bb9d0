"""Settings of what obeys the gate."""

import msgspec

from thermogate.core.config import Settings
from thermogate.schedulers.kubernetes.settings import KubernetesSettings
from thermogate.schedulers.power_caps.settings import PowerCapSettings
from thermogate.schedulers.slurm.settings import SlurmSettings
from thermogate.schedulers.watch_settings import ObeySettings, WatchSettings


class SchedulerSettings(Settings, frozen=True):
    """What schedulers do about decisions."""

    dry_run: bool = True
    """Say what would be done and do nothing, not even undo. Read a day of it before switching it off."""
    watch: WatchSettings = msgspec.field(default_factory=WatchSettings)
    obey: ObeySettings = msgspec.field(default_factory=ObeySettings)
    power_caps: PowerCapSettings = msgspec.field(default_factory=PowerCapSettings)
    slurm: SlurmSettings = msgspec.field(default_factory=SlurmSettings)
    kubernetes: KubernetesSettings = msgspec.field(default_factory=KubernetesSettings)

"""What a program needs of the configuration to follow the gate: other sections need other packages."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from thermogate.core import config
from thermogate.core.mqtt import MqttSettings
from thermogate.schedulers.watch_settings import WatchSettings

_READ = ("THERMOGATE_DATA_DIR", "THERMOGATE_LOG_LEVEL", "THERMOGATE_MQTT_", "THERMOGATE_SCHEDULERS_WATCH_")


class _Schedulers(msgspec.Struct, frozen=True):
    watch: WatchSettings = msgspec.field(default_factory=WatchSettings)


class Configured(msgspec.Struct, frozen=True):
    """Sections and settings as in systemd/thermogate.toml; what else stands there is not looked at."""

    data_dir: str = ""
    log_level: Literal["", "DEBUG", "INFO", "WARNING", "ERROR"] = ""
    mqtt: MqttSettings = msgspec.field(default_factory=MqttSettings)
    schedulers: _Schedulers = msgspec.field(default_factory=_Schedulers)


def load(file: Path | None, environ: Mapping[str, str], sets: Iterable[str] = ()) -> Configured:
    """File, then THERMOGATE_MQTT_..., THERMOGATE_SCHEDULERS_WATCH_..., then `sets`. Raises ConfigError."""
    read = {name: value for name, value in environ.items() if name.startswith(_READ)}
    return config.load(Configured, file=file, environ=read, sets=sets)

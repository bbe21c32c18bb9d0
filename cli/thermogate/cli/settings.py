"""One configuration for every command: each reads its own sections."""

import argparse
import os
from pathlib import Path
from typing import Literal

import msgspec

from thermogate.agent.config import AgentSettings
from thermogate.analytics.config import AnalyticsSettings
from thermogate.cli import credentials, rundir
from thermogate.cli.checks.config import DoctorSettings
from thermogate.collector.config import CollectorSettings
from thermogate.core import config
from thermogate.core.clock import NS
from thermogate.core.config import Settings
from thermogate.core.errors import ConfigError
from thermogate.core.mqtt import MqttSettings
from thermogate.dashboard.otlp_settings import OtlpSettings
from thermogate.dashboard.settings import DashboardSettings
from thermogate.dashboard.times import parse_duration
from thermogate.schedulers.settings import SchedulerSettings


class UpSettings(Settings, frozen=True):
    """What only `thermogate up` reads."""

    mqtt_listen: str = "127.0.0.1:1883"
    """Where the embedded broker listens; when that port is taken and this was not given, any free one."""
    demo: bool = True
    """Play the shipped recordings when this machine has no GPU and no --replay is given."""
    status_interval_s: float = 60.0
    """How often the status line is printed where it cannot be painted over (not a terminal)."""


class ThermogateSettings(Settings, frozen=True):
    """The whole configuration, as in systemd/thermogate.toml."""

    data_dir: str = ""
    """Spools, store and quarantine; empty: $STATE_DIRECTORY, else $XDG_DATA_HOME/thermogate."""
    log_level: Literal["", "DEBUG", "INFO", "WARNING", "ERROR"] = ""
    """Empty: INFO for a service, and for `up`, which has its own status line, WARNING."""
    mqtt: MqttSettings = msgspec.field(default_factory=MqttSettings)
    agent: AgentSettings = msgspec.field(default_factory=AgentSettings)
    collector: CollectorSettings = msgspec.field(default_factory=CollectorSettings)
    analytics: AnalyticsSettings = msgspec.field(default_factory=AnalyticsSettings)
    dashboard: DashboardSettings = msgspec.field(default_factory=DashboardSettings)
    schedulers: SchedulerSettings = msgspec.field(default_factory=SchedulerSettings)
    otlp: OtlpSettings = msgspec.field(default_factory=OtlpSettings)
    up: UpSettings = msgspec.field(default_factory=UpSettings)
    doctor: DoctorSettings = msgspec.field(default_factory=DoctorSettings)


def add_arguments(parser: argparse.ArgumentParser, *, runs: bool = True) -> None:
    """`--config`, `--set` and `--data-dir`; and `--for` where it runs until it is told to stop."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="sets",
        metavar="KEY=VALUE",
        help="a setting, such as agent.node=n17",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where spools and the store live")
    if runs:
        parser.add_argument("--for", dest="for_s", metavar="TIME", help="stop after this time, such as 60s")


def load(args: argparse.Namespace, **flags: str | None) -> ThermogateSettings:
    """File, environment, credentials, `--set`, then flags such as `mqtt.url`. Raises ConfigError."""
    given = {"data_dir": args.data_dir, **{name.replace("__", "."): value for name, value in flags.items()}}
    flags_given = (f"{name}={value}" for name, value in given.items() if value is not None)
    sets = [*credentials.as_sets(os.environ), *args.sets, *flags_given]
    return config.load(ThermogateSettings, file=args.config, environ=os.environ, sets=sets)


def for_s(args: argparse.Namespace) -> float | None:
    """Seconds of `--for`. Raises ConfigError."""
    if args.for_s is None:
        return None
    try:
        return parse_duration(args.for_s) / NS
    except ConfigError as err:
        raise ConfigError(f"--for {err}") from err


def data_dir(settings: ThermogateSettings) -> Path:
    """The data folder, absolute."""
    return Path(settings.data_dir).expanduser().absolute() if settings.data_dir else rundir.default_data_dir()

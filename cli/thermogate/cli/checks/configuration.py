"""The configuration that the service has, found and loaded as it would be."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from thermogate.cli import credentials, rundir
from thermogate.cli.checks.finding import AS_ROOT, Finding, fail, ok
from thermogate.cli.checks.people import READ, Person, closed, lock_holder, service_user
from thermogate.cli.checks.unit import UnitLook
from thermogate.cli.layout import Layout
from thermogate.cli.live import node_name
from thermogate.cli.rundir import Running
from thermogate.cli.settings import ThermogateSettings
from thermogate.core import config
from thermogate.core.errors import ConfigError
from thermogate.core.mqtt_settings import MqttSettings, parse_url

Hidden = Literal["", "refused", "encrypted"]
"""Why not all secrets could be read: only root may, or only the running service has them."""


class Configured(msgspec.Struct):
    """What was loaded, or the defaults where `valid` is false."""

    settings: ThermogateSettings
    valid: bool
    node: str
    folder: Path
    mqtt: MqttSettings
    findings: list[Finding]
    secrets_hidden: Hidden = ""


def find(
    args: argparse.Namespace, environ: Mapping[str, str], layout: Layout, unit: UnitLook | None = None
) -> Configured:
    """Load what the arguments name, else what the installed service has, else the defaults.

    `unit` is what systemd gives the service, and counts where its file of settings does.
    """
    file = args.config or (layout.config if _is_there(layout.config) else None)
    name = str(file) if file else "no file: the defaults"
    if unit is None or file != layout.config:
        unit = UnitLook()
    environ = {**environ, **unit.environ}
    try:
        sets, hidden = _secrets(file, environ, unit)
        loaded = config.load(ThermogateSettings, file=file, environ=environ, sets=[*sets, *_flags(args)])
        parse_url(loaded.mqtt.url)
    except ConfigError as err:
        return _invalid(err, name, layout)
    folder = _folder(loaded, environ, layout)
    mqtt, where = loaded.mqtt, ""
    running = None if args.broker else _running(folder)
    if running is not None:
        mqtt = msgspec.structs.replace(mqtt, url=running.broker_url)
        where = f"; broker of the thermogate that runs as process {running.pid}"
    node = node_name(loaded.agent)
    findings = [ok("configuration.settings", f"{name}; node {node}, {mqtt.url}{where}")]
    if file is not None and file == layout.config:
        findings += readable(file, service_user())
    return Configured(loaded, True, node, folder, mqtt, findings, hidden)


def _invalid(err: ConfigError, name: str, layout: Layout) -> Configured:
    cure = "correct it there; docs/settings.md lists every setting, systemd/thermogate.toml is an example"
    if isinstance(err.__cause__, PermissionError):
        cure = AS_ROOT
    finding = fail("configuration.settings", name, str(err), cure)
    settings = ThermogateSettings()
    node = node_name(settings.agent)
    return Configured(settings, False, node, layout.state, settings.mqtt, [finding])


def readable(file: Path, user: Person | None) -> list[Finding]:
    """A failure where root reads the settings and the service, which starts as `user`, may not."""
    refused = closed(user, file, READ) if user else None
    if user is None or refused is None:
        return []
    cause = f"the agent's user {user.name} may not read it: {refused.text}"
    cure = f"chmod {'o+rx' if refused.path != str(file) else 'o+r'} {refused.path}; passwords stand elsewhere"
    return [fail("configuration.readable", str(file), cause, cure)]


def _flags(args: argparse.Namespace) -> list[str]:
    given = {"mqtt.url": args.broker, "agent.node": args.node, "data_dir": args.data_dir}
    return [*args.sets, *(f"{name}={value}" for name, value in given.items() if value is not None)]


def _secrets(file: Path | None, environ: Mapping[str, str], unit: UnitLook) -> tuple[list[str], Hidden]:
    """Credentials as the service gets them, from where they lie; whether some could not be read."""
    if "CREDENTIALS_DIRECTORY" in environ or file is None:
        return credentials.as_sets(environ), ""
    hidden: Hidden = "encrypted" if unit.encrypted and unit.credentials is None else ""
    folder = unit.credentials or file.parent / "credentials"
    if not _is_there(folder):
        return [], hidden
    if not os.access(folder, os.R_OK | os.X_OK):
        return [], "refused"
    return credentials.as_sets({"CREDENTIALS_DIRECTORY": str(folder)}), hidden


def _folder(loaded: ThermogateSettings, environ: Mapping[str, str], layout: Layout) -> Path:
    """The data folder: as set, else the first of the service's and this user's where a spool lies."""
    if loaded.data_dir:
        return Path(loaded.data_dir).expanduser().absolute()
    folders = [layout.state, rundir.default_data_dir()]
    if "STATE_DIRECTORY" in environ:
        folders.reverse()
    return next((folder for folder in folders if _is_there(folder / "spool")), folders[0])


def _running(folder: Path) -> Running | None:
    """The `thermogate up` that holds the folder; unlike rundir.running without touching its lock."""
    holder, found = lock_holder(folder / "lock"), rundir.announced(folder)
    return found if holder and found and holder.pid == found.pid else None


def _is_there(path: Path) -> bool:
    """Whether it exists, also where it may not be looked at."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True

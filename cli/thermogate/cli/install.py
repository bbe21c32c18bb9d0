"""`thermogate agent install`: the agent as a systemd service of this machine."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from thermogate.cli import layout, reach, service, toml_edit
from thermogate.cli.hand import Hand
from thermogate.cli.layout import UNIT, USER, Layout
from thermogate.cli.live import node_name
from thermogate.cli.settings import ThermogateSettings
from thermogate.core import __version__, certificate, config
from thermogate.core.errors import ConfigError, UnavailableError
from thermogate.core.mqtt_settings import MqttSettings, parse_url
from thermogate.core.mqtt_tls import Credentials
from thermogate.core.wire import is_name

_NEW_CONFIG = """\
# thermogate on this machine, begun by `thermogate agent install`, and yours to edit: another install changes
# nothing here but the settings that it is given. docs/settings.md lists every setting with its reason.
"""
_SECRETS = ("password_file", "ca_file", "cert_file", "key_file")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks for."""

    values: Mapping[str, toml_edit.Value]
    """Settings by their names, such as mqtt.url."""
    secrets: Mapping[str, Path]
    """Files to copy, by the name of the setting that is their path."""
    program: Path
    start: bool = True


def run(args: argparse.Namespace) -> int:
    """Install on this machine. Raises ConfigError or UnavailableError with what is in the way."""
    if not args.dry_run:
        require_root("install")
    request = Request(
        values=_values(args),
        secrets={f"mqtt.{name}": path for name in _SECRETS if (path := getattr(args, name))},
        program=reach.program(),
        start=not args.no_start,
    )
    install(request, Layout(), Hand(service.say, dry_run=args.dry_run))
    if not args.dry_run:
        service.report("see it", f"systemctl status {UNIT}")
        service.report("its log", f"journalctl -u {UNIT}")
        service.report("check it", f"{request.program} doctor")
    return 0


def require_root(verb: str) -> None:
    """Raise UnavailableError for anybody else."""
    if os.geteuid() != 0:
        raise UnavailableError(f"only root can {verb} a service: sudo thermogate agent {verb} ...")


def _values(args: argparse.Namespace) -> dict[str, toml_edit.Value]:
    given = {"mqtt.url": args.broker, "agent.node": args.node, "mqtt.username": args.username}
    values: dict[str, toml_edit.Value] = {key: value for key, value in given.items() if value is not None}
    for item in args.sets:
        key, found, text = item.partition("=")
        if not found:
            raise ConfigError(f"--set {item}: expected section.key=value")
        values[key.strip()] = toml_edit.parsed(text)
    return values


def install(request: Request, at: Layout, do: Hand) -> None:
    """Bring the machine to what is asked for, and the service to run with it."""
    _require_systemd(at, running=request.start)
    secrets = {name: _read(path) for name, path in request.secrets.items()}
    text = _config_text(request, at)
    _make_user(do)
    do.folder(at.folder, 0o755)
    do.folder(at.credentials, 0o700)
    for name, data in secrets.items():
        do.write(at.credentials / name, data, 0o600)
    do.edit(at.config, text.encode(), 0o644)
    _write_units(request, at, do, secrets)
    open_rapl(at, do)
    _start(request, at, do)


def _require_systemd(at: Layout, *, running: bool) -> None:
    """Raise UnavailableError where there is no systemd, or it does not run and has to."""
    if running and not at.systemd.is_dir():
        raise UnavailableError(
            f"systemd does not run this machine (there is no {at.systemd}): in an image, use --no-start;"
            " elsewhere start `thermogate agent` by what does run it"
        )


def _config_text(request: Request, at: Layout) -> str:
    """The configuration with what is asked for. Raises ConfigError before anything is touched."""
    known = at.config if at.config.exists() else None
    if not known and "mqtt.url" not in request.values:
        raise ConfigError("--broker is needed: mqtts://HOST[:8883], where the collectors listen")
    _check_values(request.values)
    values = dict(request.values)
    values.update({name: str(at.credentials / name) for name in request.secrets})
    sets = [f"{key}={toml_edit.literal(value)}" for key, value in values.items()]
    settings = config.load(ThermogateSettings, file=known, sets=sets)
    if known:
        reach.check_config(known)
    _warn(settings, _checked(settings.mqtt, request.secrets), secrets=bool(request.secrets))
    text = known.read_text(encoding="utf-8") if known else _NEW_CONFIG
    return toml_edit.with_values(text, values, str(at.config))


def _check_values(values: Mapping[str, toml_edit.Value]) -> None:
    """Raise ConfigError for a text that cannot be meant, and a name that would silently become another."""
    for key, value in values.items():
        if not f"{key}{value}".isprintable():
            name = key if key.isprintable() else ascii(key)
            raise ConfigError(f"{name}: has characters that cannot be printed")
    node = values.get("agent.node")
    if isinstance(node, str) and node and not is_name(node):
        raise ConfigError(
            f"agent.node {node!r}: expected 1 to 128 of the characters A-Z a-z 0-9 . _ -, and not . or .."
        )


def _warn(settings: ThermogateSettings, mqtt: MqttSettings, *, secrets: bool) -> None:
    """Say of what will start all the same that it may not be what is wanted."""
    encrypts = parse_url(mqtt.url)[2]
    if not encrypts and secrets:
        service.say(f"! {mqtt.url} is not encrypted: mqtts:// keeps passwords and telemetry to yourself")
    user = mqtt.username
    if not user and encrypts and mqtt.cert_file:
        user = certificate.read(mqtt.cert_file).name
    node = node_name(settings.agent)
    if user and user != node:
        by_host = "" if settings.agent.node else ", after its host,"
        service.say(
            f"! this node's name is {node!r}{by_host} and its user at the broker {user!r}: with the access"
            " list of systemd/mosquitto the broker drops all that it sends, and nothing is stored;"
            f" if the node is {user!r}, install again with --node"
        )


def _checked(mqtt: MqttSettings, secrets: Mapping[str, Path]) -> MqttSettings:
    """As the agent will have it, with credentials from where they are now.

    Raises ConfigError that names the one that will not do.
    """
    given = {name.removeprefix("mqtt."): str(path) for name, path in secrets.items()}
    if "password_file" in given and not mqtt.username:
        raise ConfigError("--password-file needs --username: whose password it is")
    now = msgspec.structs.replace(mqtt, **given)
    Credentials(now).load()
    return now


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise ConfigError(f"{path}: cannot read: {err.strerror}") from err


def _make_user(do: Hand) -> None:
    if not do.ask("id", "-u", USER):
        do.run("systemd-sysusers", str(layout.shipped("thermogate-sysusers.conf")))


def _write_units(request: Request, at: Layout, do: Hand, secrets: Mapping[str, bytes]) -> None:
    do.write(at.unit, layout.unit_text(request.program).encode(), 0o644)
    kept = {path.name for path in at.credentials.glob("*_file")} if at.credentials.is_dir() else set()
    lines = [f"LoadCredential={name}:{at.credentials / name}\n" for name in sorted(kept | secrets.keys())]
    if lines:
        text = "# The service gets copies of its own; only root reads the originals.\n[Service]\n"
        do.write(at.credentials_drop_in, (text + "".join(lines)).encode(), 0o644)
    else:
        do.remove(at.credentials_drop_in)


def open_rapl(at: Layout, do: Hand) -> None:
    """Let the service read RAPL: a rule for counters to come at a boot, and by hand those that are here."""
    if at.udev_rule.parent.is_dir():
        do.write(at.udev_rule, layout.shipped("70-thermogate.rules").read_bytes(), 0o644)
    for counter in at.energy_counters():
        if counter.stat().st_mode & 0o777 != 0o440 or counter.group() != USER:
            do.owner(counter, group=USER, mode=0o440)


def _start(request: Request, at: Layout, do: Hand) -> None:
    if at.systemd.is_dir() and do.changed:
        do.run("systemctl", "daemon-reload")
    if do.ask("systemctl", "is-enabled", UNIT) != "enabled":
        do.run("systemctl", "enable", UNIT)
    if not request.start:
        return
    if not do.changed and _runs_this_version(do):
        service.say(f"{UNIT} runs already, and nothing was changed")
        return
    try:
        do.run("systemctl", "restart", UNIT)  # returns when it is READY, which is its first sample
    except UnavailableError as err:
        said = do.ask("journalctl", "--no-pager", "--output=cat", "--lines=10", "-u", UNIT)
        raise UnavailableError(f"{UNIT} does not start:\n{said}\n{err}") from err
    if not do.dry_run:
        service.say(f"{UNIT}: {_status(do)}")


def _runs_this_version(do: Hand) -> bool:
    """After an upgrade, what runs is what was there before."""
    active = do.ask("systemctl", "is-active", UNIT) == "active"
    return active and _status(do).startswith(f"{__version__}: ")


def _status(do: Hand) -> str:
    return do.ask("systemctl", "show", "--property=StatusText", "--value", UNIT)

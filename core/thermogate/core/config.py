"""Settings: a TOML file, then the environment, then `--set`, into frozen msgspec structs.

Every struct of settings forbids unknown fields, so a misspelt key is an error that names its place.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from thermogate.core.errors import ConfigError

ENV_PREFIX = "THERMOGATE_"
_NO_SETTINGS = ("THERMOGATE_TOKEN",)
"""What commands that ask read: no setting, and no misspelt one."""

T = TypeVar("T", bound=msgspec.Struct)
_Path = tuple[str, ...]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every struct of settings."""


def load(
    of: type[T], *, file: Path | None = None, environ: Mapping[str, str] = {}, sets: Iterable[str] = ()
) -> T:
    """Settings of type `of`, later layers over earlier ones.

    `environ` names a setting THERMOGATE_SECTION_KEY; `sets` are "section.key=value". A value is
    read as TOML where it is TOML and as text otherwise. Raises ConfigError that names the layer,
    the key and what was expected.
    """
    tree: dict[str, Any] = {}
    origins: dict[_Path, str] = {}
    if file is not None:
        tree = _read_toml(file)
        origins.update({path: str(file) for path, _ in _leaves(tree)})
    for path, text in _from_environ(of, environ):
        name = ENV_PREFIX + "_".join(path).upper()
        _put(tree, path, _value(text), name)
        origins[path] = name
    for item in sets:
        key, found, text = item.partition("=")
        if not found:
            raise ConfigError(f"--set {item}: expected section.key=value")
        path = tuple(key.strip().split("."))
        _put(tree, path, _value(text), f"--set {item}")
        origins[path] = f"--set {item}"
    try:
        return msgspec.convert(tree, of)
    except msgspec.ValidationError as err:
        raise ConfigError(_explain(str(err), origins, file)) from err


def first_line(file: str, setting: str) -> str:
    """The secret in `file`. Raises ConfigError that names the setting."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{setting} {file}: cannot read a secret: {err}") from err
    if not lines:
        raise ConfigError(f"{setting} {file}: is empty")
    return lines[0].strip()


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as err:
        raise ConfigError(f"{file}: cannot read the configuration: {err.strerror}") from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"{file}: not valid TOML: {err}") from err


def _from_environ(of: type[msgspec.Struct], environ: Mapping[str, str]) -> Iterable[tuple[_Path, str]]:
    known = {ENV_PREFIX + "_".join(path).upper(): path for path in _setting_paths(of)}
    for name, text in sorted(environ.items()):
        if not name.startswith(ENV_PREFIX) or name in _NO_SETTINGS:
            continue
        if name not in known:
            raise ConfigError(f"environment variable {name} names no setting")
        yield known[name], text


def _setting_paths(of: type[msgspec.Struct], prefix: _Path = ()) -> Iterable[_Path]:
    hints = get_type_hints(of)
    for field in msgspec.structs.fields(of):
        path = (*prefix, field.encode_name)
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield from _setting_paths(hint, path)
        else:
            yield path


def _leaves(tree: Mapping[str, Any], prefix: _Path = ()) -> Iterable[tuple[_Path, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*prefix, key))
        yield (*prefix, key), value


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(tree: dict[str, Any], path: _Path, value: Any, origin: str) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{origin}: {key} is a value, not a section")
    tree[path[-1]] = value


def _explain(text: str, origins: Mapping[_Path, str], file: Path | None) -> str:
    """Turn msgspec's "what - at `$.section.key`" into "where: key: what"."""
    what, _, at = text.partition(" - at ")
    path = tuple(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", at))
    unknown = re.search(r"unknown field `([^`]*)`", what)
    if unknown:
        path = (*path, unknown[1])
        what = "no such setting"
    origin = next(
        (origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins), str(file or "settings")
    )
    return f"{origin}: {'.'.join(path)}: {what[0].lower()}{what[1:].replace('`', '')}"

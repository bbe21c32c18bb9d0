"""Settings: a TOML file, then the environment, then `--set`, into frozen msgspec structs.

Every struct of settings forbids unknown fields, so a misspelt key is an error that names its place.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from thermogate.core.errors import ConfigError

ENV_PREFIX = "THERMOGATE_"
_NO_SETTINGS = ("THERMOGATE_TOKEN", "THERMOGATE_GATE", "THERMOGATE_PACE_FILE")
"""What commands that ask read, and what `thermogate run` tells its program: no settings."""

T = TypeVar("T", bound=msgspec.Struct)
_Path = tuple[str, ...]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every struct of settings."""

    moved: ClassVar[Mapping[str, str]] = {}
    """Keys that an earlier version had here, and the settings that took their place."""


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
        raise ConfigError(_explain(str(err), of, origins, file)) from err


def first_line(file: str, setting: str) -> str:
    """The secret in `file`. Raises ConfigError that names the setting."""
    if not file:
        raise ConfigError(f"{setting} is not set: it names a file whose first line is the secret")
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
            raise ConfigError(f"environment variable {name} names no setting{_instead_of_variable(of, name)}")
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


def _explain(text: str, of: type[msgspec.Struct], origins: Mapping[_Path, str], file: Path | None) -> str:
    """Turn msgspec's "what - at `$.section.key`" into "where: key: what"."""
    what, _, at = text.partition(" - at ")
    path = tuple(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", at))
    unknown = re.search(r"unknown field `([^`]*)`", what)
    if unknown:
        path = (*path, unknown[1])
        what = f"no such setting{_instead(of, path)}"
    elif what.startswith("Invalid enum value"):
        what += _choices(of, path)
    origin = next(
        (origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins),
        next((origin for at, origin in origins.items() if at[: len(path)] == path), str(file or "settings")),
    )
    return f"{origin}: {'.'.join(path)}: {what[0].lower()}{what[1:].replace('`', '')}"


def _instead(of: type[msgspec.Struct], path: _Path) -> str:
    """What to write instead of a setting that there is not; "" when nothing is like it."""
    *at, key = path
    section = _section(of, at)
    if section is None:
        return ""
    moved = section.moved.get(key) if issubclass(section, Settings) else None
    if moved:
        return f"; it is {moved} now"
    like = difflib.get_close_matches(key, section.__struct_encode_fields__, 1)
    return f"; is it {'.'.join((*at, like[0]))}?" if like else ""


def _choices(of: type[msgspec.Struct], path: _Path) -> str:
    section = _section(of, path[:-1])
    hint = get_type_hints(section).get(path[-1]) if section is not None else None
    return f": expected one of {', '.join(get_args(hint))}" if get_origin(hint) is Literal else ""


def _instead_of_variable(of: type[msgspec.Struct], name: str, prefix: _Path = ()) -> str:
    """The same of a variable: only what has moved can be told from it."""
    section = _section(of, prefix)
    if section is None:
        return ""
    for key in section.moved if issubclass(section, Settings) else ():
        if ENV_PREFIX + "_".join((*prefix, key)).upper() == name:
            return _instead(of, (*prefix, key))
    found = (_instead_of_variable(of, name, (*prefix, field)) for field in section.__struct_encode_fields__)
    return next(filter(None, found), "")


def _section(of: type[msgspec.Struct], path: Iterable[str]) -> type[msgspec.Struct] | None:
    """The struct of a section; None when the path leads to a value, or nowhere."""
    for key in path:
        hint = get_type_hints(of).get(key)
        if not (isinstance(hint, type) and issubclass(hint, msgspec.Struct)):
            return None
        of = hint
    return of

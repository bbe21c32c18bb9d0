"""Change settings in a TOML file that a person keeps: their comments, order and other settings stay."""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from thermogate.core.errors import ConfigError

Value = str | bool | int | float


def with_values(text: str, values: Mapping[str, Value], file: str) -> str:
    """`text` with `values`, whose keys are such as "mqtt.url"; `file` names it in errors.

    Only whole lines `key = value` below a header `[section]` are changed or added. The result is
    read back: where it does not say exactly what was asked for, as with inline tables, this raises
    ConfigError and somebody has to edit by hand.
    """
    wanted = _read(text, file)
    changed = text
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        if _get(wanted, key) != value:
            _put(wanted, key, value, file)
            changed = _with_line(changed, section, name, literal(value))
    try:
        same = tomllib.loads(changed) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        lines = "; ".join(f"{key} = {literal(value)}" for key, value in values.items())
        raise ConfigError(
            f"{file} is written in a way that cannot be changed line by line; set there: {lines}"
        )
    return changed


def parsed(text: str) -> Value:
    """A value as `--set` takes it: TOML where it is TOML, text otherwise."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    if not isinstance(value, Value):
        raise ConfigError(f"{text}: expected a number, a text, true or false")
    return value


def _with_line(text: str, section: str, name: str, value: str) -> str:
    lines = text.splitlines(keepends=True)
    begin, end = _section(lines, section)
    if begin < 0:
        gap = "\n" if text and not text.endswith("\n\n") else ""
        end_of_line = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{end_of_line}{gap}[{section}]\n{name} = {value}\n"
    for number in range(begin, end):
        match = re.fullmatch(
            rf'(\s*{name}\s*=\s*)("(?:[^"\\]|\\.)*"|[^"#\s]+)(\s*(?:#.*)?\n?)', lines[number]
        )
        if match:
            lines[number] = f"{match[1]}{value}{match[3]}"
            return "".join(lines)
    while end > begin and not lines[end - 1].split("#")[0].strip():
        end -= 1  # after the section's last setting, before what introduces the next section
    if end and not lines[end - 1].endswith("\n"):
        lines[end - 1] += "\n"
    return "".join([*lines[:end], f"{name} = {value}\n", *lines[end:]])


def _section(lines: list[str], section: str) -> tuple[int, int]:
    """The lines below the section's header, up to the next one; (-1, -1) without such a section."""
    headers = [number for number, line in enumerate(lines) if re.match(r"\s*\[", line)]
    if not section:
        return 0, headers[0] if headers else len(lines)
    for place, number in enumerate(headers):
        if re.fullmatch(rf"\s*\[\s*{re.escape(section)}\s*\]\s*(#.*)?", lines[number].rstrip("\n")):
            return number + 1, headers[place + 1] if place + 1 < len(headers) else len(lines)
    return -1, -1


def literal(value: Value) -> str:
    """`value` as it is written in TOML."""
    text = json.dumps(value, ensure_ascii=False)  # JSON's texts, numbers, true and false are TOML's too,
    return text.replace("\x7f", "\\u007f")  # but for DEL, which TOML wants escaped


def _read(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(f"{file}: not valid TOML: {err}") from err


def _get(tree: Mapping[str, Any], key: str) -> Any:
    node: Any = tree
    for name in key.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def _put(tree: dict[str, Any], key: str, value: Value, file: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{file}: {section} is a value, not a section")
    tree[name] = value

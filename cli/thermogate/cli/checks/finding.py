"""What a check of `thermogate doctor` came to."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

PROGRAM = str(Path(sys.executable).with_name("thermogate"))
"""As a cure names it: sudo does not look where it is installed."""
AS_ROOT = f"run it again as root: sudo {PROGRAM} doctor"

State = Literal["ok", "warn", "fail", "n/a"]


class Finding(msgspec.Struct, frozen=True):
    """One line of the answer. `check` is GROUP.NAME; `warn` and `fail` say cause and cure as well.

    `fail` keeps samples from being measured, kept or stored; `warn` will, or makes them poorer.
    The cure is a command or an edit that an operator can make.
    """

    check: str
    state: State
    found: str
    cause: str = ""
    cure: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", found)


def absent(check: str, found: str) -> Finding:
    """There is nothing to check here, and why."""
    return Finding(check, "n/a", found)


def warn(check: str, found: str, cause: str, cure: str) -> Finding:
    """Samples go on, poorer or not for long."""
    return Finding(check, "warn", found, cause, cure)


def fail(check: str, found: str, cause: str, cure: str) -> Finding:
    """Samples are not measured, not kept or not stored."""
    return Finding(check, "fail", found, cause, cure)


def duration(seconds: float) -> str:
    """For a person: "3.2 s", "12 min", "5.1 h", "3.0 days"."""
    for limit, unit, size in ((120.0, "s", 1.0), (7200.0, "min", 60.0), (172800.0, "h", 3600.0)):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.1f} days"


def plural(count: int, what: str) -> str:
    """For a person: "1 message", "2 messages"."""
    return f"{count} {what}" + "s" * (count != 1)


def size(count: float) -> str:
    """For a person: bytes in binary units, such as "12.5 MiB"."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1000:  # three digits say all of it
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"


def span(names: Sequence[str]) -> str:
    """Names of devices made short: "gpu0-gpu2, gpu4" for gpu0, gpu1, gpu2 and gpu4."""
    rows: list[list[str]] = []
    for name in names:
        if rows and name == _next(rows[-1][-1]):
            rows[-1].append(name)
        else:
            rows.append([name])
    return ", ".join(f"{row[0]}-{row[-1]}" if len(row) > 2 else ", ".join(row) for row in rows)


def _next(name: str) -> str:
    kind = name.rstrip("0123456789")
    return f"{kind}{int(name.removeprefix(kind) or 0) + 1}"

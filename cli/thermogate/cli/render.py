"""Plain tables and times for people; the same commands give JSON to programs."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from thermogate.core.clock import NS

ABSENT = "-"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; numbers to the right, text to the left."""
    body = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *body]) for i in range(len(header))]
    right = [all(_is_number(row[i]) for row in body) and bool(body) for i in range(len(header))]
    lines = []
    for row in [list(header), *body]:
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def number(value: float | None, digits: int = 0, unit: str = "") -> str:
    """`value` with `digits` decimals; "-" when it is absent."""
    return ABSENT if value is None else f"{value:.{digits}f}{unit}"


def percent(ratio: float | None) -> str:
    """A ratio of 0 to 1 as per cent; "-" when it is absent."""
    return ABSENT if ratio is None else f"{100 * ratio:.0f}%"


def node(name: str, origin: str | None) -> str:
    """The node's name, with "(replay)" or "(simulated)" when its samples are not measured now."""
    return f"{name} ({origin})" if origin else name


def local_time(time_ns: int) -> str:
    """Local date and time to the second."""
    return datetime.fromtimestamp(time_ns / NS, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def json_text(value: Any) -> str:
    """Indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def show(text: str) -> None:
    """Print and flush, so that a pipe sees it now."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def repaint(text: str) -> None:
    """On a terminal, replace what was shown before."""
    show(f"\x1b[H\x1b[2J{text}" if sys.stdout.isatty() else text)


def _is_number(cell: str) -> bool:
    return cell == ABSENT or cell.rstrip("%").lstrip("+-").replace(".", "", 1).isdigit()

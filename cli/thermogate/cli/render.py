"""Plain tables and times for people; the same commands give JSON to programs."""

import json
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from thermogate.core.clock import NS

ABSENT = "-"
_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-:=+*#"
"""For a terminal that cannot show the others."""


def plain(text: str) -> str:
    """One line without anything that steers a terminal or turns its text around: that becomes "?".

    Texts come from nodes, of which one may be hostile: an escape sequence can forge a row, or put
    what it likes into the clipboard.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; numbers to the right, text to the left. Every cell is `plain`."""
    first, *body = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in [first, *body]) for i in range(len(first))]
    right = [all(_is_number(row[i]) for row in body) and bool(body) for i in range(len(first))]
    lines = []
    for row in [first, *body]:
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


def span(seconds: float) -> str:
    """A time in one or two units: "42 s", "3 min", "2 h 5 min", "3 days"."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{round(whole / 60)} min"
    if whole < 172_800:
        hours, minutes = divmod(whole // 60, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(whole / 86_400)} days"


def paragraph(text: str, width: int, indent: str = "  ") -> str:
    """`plain` text in lines of up to `width` characters, each indented."""
    return textwrap.fill(
        plain(text), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def sparkline(values: Sequence[float | None], low: float, high: float) -> str:
    """A bar a value, from the lowest at `low` to the highest at `high`; a space where there is none."""
    bars = _BARS if _can_show(_BARS) else _ASCII_BARS
    scale = (len(bars) - 1) / (high - low) if high > low else 0.0
    places = (None if v is None else min(max(round((v - low) * scale), 0), len(bars) - 1) for v in values)
    return "".join(" " if place is None else bars[place] for place in places)


def _can_show(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def local_time(time_ns: int) -> str:
    """Local date and time to the second."""
    return datetime.fromtimestamp(time_ns / NS, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def json_text(value: Any) -> str:
    """Indented JSON, in which what steers a terminal is escaped."""
    lines = msgspec.json.format(msgspec.json.encode(value), indent=2).decode().split("\n")
    return "\n".join(line if line.isprintable() else _escaped(line) for line in lines)


def show(text: str) -> None:
    """Print lines, each `plain`, and flush, so that a pipe sees it now."""
    sys.stdout.write("\n".join(map(plain, text.split("\n"))) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line for a person beside what is shown, on standard error."""
    print(plain(text), file=sys.stderr, flush=True)


def repaint(text: str) -> None:
    """On a terminal, replace what was shown before."""
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[H\x1b[2J")
    show(text)


def _escaped(line: str) -> str:
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def _is_number(cell: str) -> bool:
    return cell == ABSENT or cell.rstrip("%").lstrip("+-").replace(".", "", 1).isdigit()

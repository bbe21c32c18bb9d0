"""Recorded sessions: CSV files with timestamp (or t_s), device, util_pct, temp_c, power_w.

A bad row is skipped and complained about with its line number; the good ones still play. A file
that cannot be played at all raises RecordingError. A last line without its newline counts if it
has all its fields: spreadsheets write such files, and nothing tells it from a cut one.
"""

import csv
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from math import isfinite
from operator import attrgetter
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from thermogate.agent.sources.base import Reading
from thermogate.core import config
from thermogate.core.clock import NS
from thermogate.core.errors import ConfigError

Kind = Literal["gpu", "cpu"]
Device = tuple[Kind, str]
"""Kind and number on its node, as on the wire: ("gpu", "0")."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?(Z|[+-]\d\d:?\d\d)?")
_DEVICE = re.compile(r"(gpu|cpu)(\d{0,4})")
_VALUES = ("util_pct", "temp_c", "power_w")


class RecordingError(ConfigError):
    """This file is not a recorded session; the text names the file, the line and what is wrong."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """One device at one instant. None is "not measured"; `device` is its number, "0" without one.

    `stamp` is the time as the file has it; `time_ns` is UTC, or counts from 0 in a file with t_s.
    """

    line: int
    stamp: str
    time_ns: int
    kind: Kind
    device: str
    util_pct: float | None
    temp_c: float | None
    power_w: float | None


class Complaint(NamedTuple):
    """A row that was skipped, and why."""

    line: int
    text: str


class Recording(msgspec.Struct, frozen=True):
    """The good rows of a file in the order of time, and what was wrong with the others.

    `has_utc` is False where times count from 0 (t_s) and so have no date.
    """

    path: Path
    has_utc: bool
    rows: tuple[Row, ...]
    complaints: tuple[Complaint, ...]

    def devices(self) -> tuple[Device, ...]:
        """The devices with at least one good row, in the order of their first one."""
        return tuple(dict.fromkeys((row.kind, row.device) for row in self.rows))

    def of(self, device: Device) -> tuple[Row, ...]:
        """The rows of one device; their times go up."""
        return tuple(row for row in self.rows if (row.kind, row.device) == device)

    def ticks(self) -> Iterator[tuple[Row, ...]]:
        """The rows of one instant together, instants in order: at most one row a device."""
        for _, rows in groupby(self.rows, key=attrgetter("time_ns")):
            yield tuple(rows)


class Recorded(config.Settings, frozen=True):
    """What is known of a device of a recording beside its samples."""

    model: str | None = None
    rated_power_w: float | None = None
    temp_limit_c: float | None = None
    not_measured: tuple[Literal["temp_c", "power_w"], ...] = ()
    """Columns that hold a constant or an estimate: `measured` leaves them out."""


class Sidecar(config.Settings, frozen=True):
    """NAME.toml beside NAME.csv: where the recording comes from, and of which devices it is."""

    source: str
    licence: str
    what: str = ""
    profile: Literal["monitor", "core", "headroom"] = "monitor"
    gpu: Recorded = Recorded()
    cpu: Recorded = Recorded()

    def measured(self, row: Row) -> Row:
        """The row without the values that are known not to be measurements."""
        known = self.gpu if row.kind == "gpu" else self.cpu
        return msgspec.structs.replace(row, **dict.fromkeys(known.not_measured))


def sidecar(path: Path) -> Sidecar | None:
    """What is written beside the recording at `path`; None without it, ConfigError if it is wrong."""
    file = path.with_suffix(".toml")
    return config.load(Sidecar, file=file) if file.is_file() else None


def shipped() -> tuple[Path, ...]:
    """The recordings that come with the program."""
    return tuple(sorted((Path(__file__).parent / "recordings").glob("*.csv")))


def reading(row: Row) -> Reading:
    """What a source would have read."""
    fields: dict[str, float | int] = {}
    if row.util_pct is not None:
        fields["util_ratio"] = row.util_pct / 100
    if row.temp_c is not None:
        fields["temp_c"] = row.temp_c
    if row.power_w is not None:
        fields["power_w"] = row.power_w
    return Reading(row.kind, row.device, fields)


def device_of(tag: str) -> Device:
    """Kind and number of a device tag: gpu, cpu or gpu3. Raises ValueError, for a person."""
    match = _DEVICE.fullmatch(tag.strip().lower())
    if match is None:
        raise ValueError(f"unknown device {tag!r}: expected gpu or cpu, perhaps with a number")
    return ("gpu" if match[1] == "gpu" else "cpu"), str(int(match[2] or 0))


def read(path: Path) -> Recording:
    """All rows of the file at `path`. Raises RecordingError if it cannot be read as a recording."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as lines:
            return _Reader(path, next(lines, "")).read(lines)
    except OSError as err:
        raise RecordingError(f"{path}: cannot read the recording: {err.strerror}") from err


class _Reader:
    """Reads lines one by one, so that a broken quote spoils its own line only."""

    def __init__(self, path: Path, header: str) -> None:
        self._path = path
        self._names = [name.strip() for name in header.replace('"', "").split(",")]
        self._time = "timestamp" if "timestamp" in self._names else "t_s"
        self._before: dict[Device, tuple[int, str]] = {}
        missing = [name for name in ("device", *_VALUES) if name not in self._names]
        if self._time not in self._names:
            missing.insert(0, "timestamp (or t_s)")
        if missing:
            raise RecordingError(f"{path}, line 1: no column {', '.join(missing)}")

    def read(self, lines: Iterator[str]) -> Recording:
        rows, complaints = [], []
        for number, line in enumerate(lines, 2):
            if not line.strip():
                continue
            try:
                rows.append(self._row(number, line))
            except ValueError as err:
                complaints.append(Complaint(number, str(err)))
        rows.sort(key=attrgetter("time_ns"))
        return Recording(self._path, self._time == "timestamp", tuple(rows), tuple(complaints))

    def _row(self, number: int, line: str) -> Row:
        fields = _split(line)
        if len(fields) != len(self._names):
            cut = ": cut short" if len(fields) < len(self._names) else ""
            raise ValueError(f"{len(fields)} fields where the header has {len(self._names)}{cut}")
        texts = dict(zip(self._names, fields, strict=True))
        kind, device = device_of(texts["device"])
        stamp = texts[self._time].strip()
        time_ns = _utc_ns(stamp) if self._time == "timestamp" else round(_number("t_s", stamp) * NS)
        util_pct, temp_c, power_w = (_value(name, texts[name]) for name in _VALUES)
        if util_pct is None and temp_c is None and power_w is None:
            raise ValueError(f"nothing in {', '.join(_VALUES)}")
        self._advance((kind, device), time_ns, stamp)
        return Row(number, stamp, time_ns, kind, device, util_pct, temp_c, power_w)

    def _advance(self, device: Device, time_ns: int, stamp: str) -> None:
        before_ns, before = self._before.get(device, (time_ns - 1, ""))
        name = "".join(device)
        if time_ns < before_ns:
            raise ValueError(f"time goes back on {name}: {stamp} after {before}")
        if time_ns == before_ns:
            raise ValueError(f"a second row of {name} at {stamp}")
        self._before[device] = time_ns, stamp


def _split(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error as err:
        raise ValueError(f"not a line of CSV: {err}") from err


def _utc_ns(text: str) -> int:
    """UTC nanoseconds of an ISO 8601 time; one without a zone is UTC."""
    match = _STAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"timestamp is {text!r}, not an ISO 8601 time")
    try:
        time = datetime.fromisoformat(match[1] + (match[3] or "Z"))
    except ValueError as err:
        raise ValueError(f"timestamp is {text!r}: {err}") from err
    return (time - _EPOCH) // timedelta(seconds=1) * NS + int((match[2] or "0").ljust(9, "0"))


def _value(name: str, text: str) -> float | None:
    if not text.strip():
        return None
    value = _number(name, text)
    if name == "util_pct" and not 0.0 <= value <= 100.0:
        raise ValueError(f"util_pct is {text.strip()}, not 0 to 100")
    if name == "power_w" and value < 0.0:
        raise ValueError(f"power_w is {text.strip()}, below 0")
    return value


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} is {text.strip()!r}, not a number") from None
    if not isfinite(value):
        raise ValueError(f"{name} is {text.strip()!r}, not a finite number")
    return value

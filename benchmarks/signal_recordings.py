"""Recordings for the study of the regulator's signals: how they are read, fed and made ill.

A recording is a CSV with (timestamp or t_s), device, util_pct, temp_c, power_w; a MANIFEST.csv above it
gives its label, device, limits and notes. RLE is computed as an agent does, by the profile `monitor`.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from thermogate.analytics.config import SignalSettings
from thermogate.core import profiles
from thermogate.core.clock import NS
from thermogate.core.wire import Point

ASSUMED_LIMIT_C = {"gpu": 87.0, "cpu": 95.0, "node": 0.0}
"""Where a recording does not state it: the lowest slowdown threshold of the GPUs listed, the usual one of
desktop CPUs. A whole node has none."""
PUBLISHED = {"gpu": (200.0, 83.0), "cpu": (125.0, 80.0)}
"""Rated power and limit that the recorded RLE sessions, which have no manifest, were computed with."""
_DATE = re.compile(r"\d{8}T\d{6}")
MAX_GAP_S = 10.0
"""RLE begins anew after a longer gap, as in an agent."""


class Row(NamedTuple):
    """One sample; None is "not measured"."""

    time_ns: int
    kind: str
    device: str
    util_ratio: float | None
    temp_c: float | None
    power_w: float | None


class Recording(NamedTuple):
    """A CSV with what is known of it. `group` is its row in the tables; limits and rated powers are by
    kind."""

    file: Path
    group: str
    system: str
    job: str
    rows: list[Row]
    limit_c: dict[str, float]
    rated_w: dict[str, float]
    limit_is_stated: bool

    @property
    def has_date(self) -> bool:
        """Whether its date is in its name, so that its stamps are those of the day."""
        return _DATE.search(self.file.stem) is not None

    def at_load(self, params: SignalSettings) -> dict[int, list[tuple[float, float]]]:
        """(RLE, rise above the air over load) of the first GPU by tenths of its load, from ten minutes on."""
        node, found = Node(), defaultdict(list)
        load, begins_ns = None, self.rows[0].time_ns
        for row in self.rows:
            fields = node.point(self, row).fields
            if row.kind != "gpu" or row.device != "0" or "rle" not in fields:
                continue
            now = fields["power_w"] / fields["power_limit_w"]
            load = now if load is None else load + (now - load) / params.heat_s
            if load >= params.load_least_ratio and row.time_ns - begins_ns >= 600 * NS:
                rise_k = (fields["temp_c"] - params.ambient_c) / load
                found[int(10 * load)].append((fields["rle"], rise_k))
        return {step: pairs for step, pairs in found.items() if len(pairs) >= 60}


def find(paths: Iterable[Path]) -> Iterator[Recording]:
    """Every recording of a GPU, a CPU or a node under `paths`."""
    for path in paths:
        manifests: dict[Path, dict[str, dict[str, str]]] = {}
        for file in sorted(path.rglob("*.csv")) if path.is_dir() else [path]:
            recording = read(file, manifests)
            if recording is not None and recording.rows:
                yield recording


def read(file: Path, manifests: dict[Path, dict[str, dict[str, str]]]) -> Recording | None:
    """The recording in a file; None when the file is not one."""
    with file.open(newline="") as lines:
        raw = list(csv.DictReader(lines))
    if not raw or not {"device", "util_pct", "temp_c", "power_w"} <= raw[0].keys():
        return None
    entry = _manifest_entry(file.resolve(), manifests)
    began_s = _began_s(file)
    rows = [row for row in (_row(line, began_s) for line in raw) if row is not None]
    rows = sorted((row for row in rows if row.power_w is not None), key=lambda row: row.time_ns)
    if not entry:
        if file.stem.startswith("headroom_"):  # their CPU's power and temperature are constants
            rows = [row for row in rows if row.kind != "cpu"]
        rated = {kind: power_w for kind, (power_w, _) in PUBLISHED.items()}
        limits = {kind: limit_c for kind, (_, limit_c) in PUBLISHED.items()}
        return Recording(file, file.stem, "", "", rows, limits, rated, limit_is_stated=True)
    kind = (
        rows[0].kind
        if rows and rows[0].kind == "node"
        else "cpu"
        if "CPU" in entry["device_model"]
        else "gpu"
    )
    stated = {kind: float(entry["temp_limit_c"])} if entry["temp_limit_c"] else {}
    return Recording(
        file,
        _group(file, entry),
        entry["system_id"],
        re.sub(r"_node_\d+$", "", file.stem),
        rows,
        ASSUMED_LIMIT_C | stated,
        _rated_w(entry, kind),
        limit_is_stated=bool(stated),
    )


class Node:
    """The devices of recordings with their RLE, as an agent sends them."""

    def __init__(self) -> None:
        self._loads: dict[str, tuple[profiles.Params, Any, int]] = {}

    def point(self, recording: Recording, row: Row) -> Point:
        """A sample as analytics sees it."""
        measured = {
            "util_ratio": row.util_ratio,
            "temp_c": row.temp_c,
            "power_w": row.power_w,
            "power_limit_w": recording.rated_w.get(row.kind),
            "temp_limit_c": recording.limit_c.get(row.kind) or None,
        }
        fields = {name: value for name, value in measured.items() if value is not None}
        if {"util_ratio", "temp_c", "power_w", "power_limit_w", "temp_limit_c"} <= fields.keys():
            fields["rle"] = self._rle(row, fields)
        return Point(row.kind, "recording", row.device, "", "replay", fields, row.time_ns)

    def _rle(self, row: Row, fields: dict[str, float]) -> float:
        name = row.kind + row.device
        if name not in self._loads or row.time_ns - self._loads[name][2] > MAX_GAP_S * NS:
            rated_w, limit_c = fields["power_limit_w"], fields["temp_limit_c"]
            params = profiles.params("monitor", rated_power_w=rated_w, temp_limit_c=limit_c, interval_s=None)
            self._loads[name] = params, profiles.initial(params), row.time_ns
        params, state, _ = self._loads[name]
        util_ratio = min(fields["util_ratio"], 1.0)
        sample = profiles.Sample(util_ratio, fields["temp_c"], fields["power_w"], row.time_ns / NS)
        state, result = profiles.step(params, state, sample)
        self._loads[name] = params, state, row.time_ns
        return result.rle_smoothed


def by_instant(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows of each instant, in order of time: one message each."""
    instants: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        instants[row.time_ns].append(row)
    for _, together in sorted(instants.items()):
        yield together


def worse_cooler(
    share: float, *, from_ns: int, limit_c: float, ambient_c: float, heat_s: float
) -> Callable[[Row], Row]:
    """Makes a device's cooler worse by `share` from an instant on, by a first-order model of a heat sink.

    What is added follows `share` times the recorded rise above the air with the time constant `heat_s`; a
    device that reaches its limit stays there, as if it slowed itself down. Nothing else is changed.
    """
    added, before_ns = 0.0, 0

    def change(row: Row) -> Row:
        nonlocal added, before_ns
        if row.time_ns < from_ns or row.temp_c is None:
            return row
        passed_s = (row.time_ns - before_ns) / NS if before_ns else 0.0
        before_ns = row.time_ns
        added += passed_s / (passed_s + heat_s) * (share * (row.temp_c - ambient_c) - added)
        return row._replace(temp_c=min(row.temp_c + added, limit_c))

    return change


def straggler(rows: list[Row], device: str, how: str, from_ns: int) -> list[Row]:
    """The rows with one device made a straggler from an instant on.

    `slow`: it draws 0.6 of what it drew above its least; `late`: what it drew 30 s before; `stopped`: its
    least.
    """
    own = [row for row in rows if row.kind + row.device == device and row.power_w is not None]
    least_w = min(row.power_w or 0.0 for row in own)
    late = dict(
        zip((row.time_ns for row in own), (row.power_w for row in _delayed(own, 30 * NS)), strict=True)
    )
    made = []
    for row in rows:
        if row.kind + row.device == device and row.time_ns >= from_ns and row.power_w is not None:
            slow_w = least_w + 0.6 * (row.power_w - least_w)
            row = row._replace(power_w={"slow": slow_w, "late": late[row.time_ns], "stopped": least_w}[how])
        made.append(row)
    return made


def _delayed(rows: list[Row], by_ns: int) -> Iterator[Row]:
    at = 0
    for row in rows:
        while rows[at + 1].time_ns <= row.time_ns - by_ns:
            at += 1
        yield rows[at]


def _manifest_entry(file: Path, manifests: dict[Path, dict[str, dict[str, str]]]) -> dict[str, str]:
    """The line of the manifest above a file that speaks of it."""
    for folder in file.parents:
        manifest = folder / "MANIFEST.csv"
        if folder not in manifests and manifest.exists():
            with manifest.open(newline="") as lines:
                manifests[folder] = {
                    row["file"]: row for row in csv.DictReader(lines) if "device_model" in row
                }
        if folder in manifests:
            return manifests[folder].get(str(file.relative_to(folder)), {})
    return {}


def _group(file: Path, entry: dict[str, str]) -> str:
    burn = " with power filling" if "with_burn" in file.stem else ""
    return f"{entry['source']} {entry['label']}{burn}"


def _rated_w(entry: dict[str, str], kind: str) -> dict[str, float]:
    if entry["rated_power_w"]:
        return {kind: float(entry["rated_power_w"])}
    found = re.search(r"GPUs x TDP = (\d+) W", entry["notes"])
    return {kind: float(found[1])} if found and kind == "node" else {}


def _began_s(file: Path) -> float:
    """UTC seconds of a file that has its date and time in its name, else a day of its own in no order."""
    found = _DATE.search(file.stem)
    return datetime.strptime(found[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp() if found else 86_400.0


def _row(raw: dict[str, str], began_s: float) -> Row | None:
    """One line of a CSV; None when it is of nothing that draws power."""
    kind, device = (
        (raw["device"], "0") if raw["device"] == "node" else (raw["device"][:3], raw["device"][3:] or "0")
    )
    if kind not in ("gpu", "cpu", "node"):
        return None
    if "t_s" in raw:
        seconds = began_s + float(raw["t_s"])
    else:
        stamp = raw["timestamp"].removesuffix("Z")
        seconds = datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp()
    util, temp, power = (_number(raw[key]) for key in ("util_pct", "temp_c", "power_w"))
    return Row(round(seconds * NS), kind, device, None if util is None else util / 100, temp, power)


def _number(text: str) -> float | None:
    """The number, None where there is none (also "nan": some logs write it)."""
    value = float(text) if text else None
    return value if value == value else None

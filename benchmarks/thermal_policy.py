"""How often the thermal policy fires on recordings, and what a message costs the gate.

    python benchmarks/thermal_policy.py [FILE_OR_FOLDER ...] [--profile monitor] [--sweep]

Reads tests/recordings unless told otherwise. A recording is a CSV with (timestamp or t_s), device,
util_pct, temp_c, power_w; a MANIFEST.csv above it gives its label and limits. Each is played to the
gate as a node, with RLE computed as an agent does; those without a temperature are left out. For
comparison it counts collapses, and how often a rule on single samples of t_sustain_s would fire.
`--sweep` finds the highest temperature limit at which each recording fires, and prints by how much
that is above its hottest sample: a policy that cries wolf fires far above.
"""

import argparse
import csv
import json
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from thermogate.analytics.config import GateSettings, ThermalSettings
from thermogate.analytics.policies import thermal
from thermogate.analytics.regulator import Regulator
from thermogate.core import profiles
from thermogate.core.clock import NS
from thermogate.core.decision import State
from thermogate.core.wire import Point

RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings"
ASSUMED_LIMIT_C = {"gpu": 87.0, "cpu": 95.0}
"""Where a recording does not state it: the lowest slowdown threshold of the GPUs listed, and the
usual one of desktop CPUs. A lower limit fires more."""
PUBLISHED_LIMIT_C = {"gpu": 83.0, "cpu": 80.0}
PUBLISHED_RATED_W = {"gpu": 200.0, "cpu": 125.0}
"""What the recorded RLE sessions, which have no manifest, were computed with."""
SETTINGS = ThermalSettings()


class Row(NamedTuple):
    """One sample of a recording; None is "not measured"."""

    time_ns: int
    kind: str
    device: str
    util_ratio: float | None
    temp_c: float | None
    power_w: float | None


class Recording(NamedTuple):
    """A CSV with what is known of it. Limits and rated powers are by kind of device."""

    group: str
    rows: list[Row]
    limit_c: dict[str, float]
    rated_w: dict[str, float]
    limit_is_stated: bool


class Outcome(NamedTuple):
    """What the gate did on one recording, what was in it, and what it cost."""

    hours: float
    holds: int
    held_s: float
    collapses: int
    naive: int
    messages: int
    wall_s: float
    why: str


class RecordedClock:
    """Time as the recording has it."""

    def __init__(self) -> None:
        self.now_ns = 0

    def utc_ns(self) -> int:
        """UTC of the sample being played."""
        return self.now_ns

    def steady_s(self) -> float:
        """The same, in seconds."""
        return self.now_ns / NS

    async def sleep_until(self, steady_s: float) -> None:
        """Nobody sleeps in a recording."""


class Node:
    """The devices of a recording with their RLE, as an agent sends them."""

    def __init__(self, recording: Recording, profile: str) -> None:
        self._recording = recording
        self._profile = profile
        self._loads: dict[str, tuple[profiles.Params, Any]] = {}

    def point(self, row: Row) -> Point:
        """A sample as the gate sees it."""
        rated_w = self._recording.rated_w.get(row.kind)
        limit_c = self._recording.limit_c[row.kind]
        measured = {
            "util_ratio": row.util_ratio,
            "temp_c": row.temp_c,
            "power_w": row.power_w,
            "power_limit_w": rated_w,
            "temp_limit_c": limit_c,
        }
        fields = {name: value for name, value in measured.items() if value is not None}
        if {"util_ratio", "temp_c", "power_w", "power_limit_w"} <= fields.keys():
            fields |= self._rle(row, fields)
        return Point(row.kind, "recording", row.device, "", "replay", fields, row.time_ns)

    def _rle(self, row: Row, fields: dict[str, float]) -> dict[str, float]:
        name = row.kind + row.device
        if name not in self._loads:
            params = profiles.params(
                self._profile, rated_power_w=fields["power_limit_w"], temp_limit_c=fields["temp_limit_c"]
            )
            self._loads[name] = params, profiles.initial(params)
        params, state = self._loads[name]
        util_ratio = min(fields["util_ratio"], 1.0)
        sample = profiles.Sample(util_ratio, fields["temp_c"], fields["power_w"], row.time_ns / NS)
        state, result = profiles.step(params, state, sample)
        self._loads[name] = params, state
        return {
            "a_load_ratio": result.a_load,
            "t_sustain_s": result.t_sustain_s,
            "collapse": float(result.collapse),
        }


class Counter:
    """Beginnings of collapses, and of firings of the rule that was rejected.

    That rule: t_sustain_s under 60 s, under load, in a tenth of the last 30 samples.
    """

    def __init__(self) -> None:
        self.collapses = 0
        self.naive = 0
        self._ill: dict[str, bool] = defaultdict(bool)
        self._on: dict[str, bool] = defaultdict(bool)
        self._short: dict[str, deque[bool]] = defaultdict(lambda: deque(maxlen=30))

    def take(self, point: Point) -> None:
        """Count what begins with this sample."""
        name, fields = point.measurement + point.device, point.fields
        ill = fields.get("collapse", 0.0) > 0
        self.collapses += ill and not self._ill[name]
        loaded = fields.get("util_ratio", 0.0) >= 0.6 or fields.get("a_load_ratio", 0.0) >= 0.75
        self._short[name].append(loaded and fields.get("t_sustain_s", 600.0) < 60.0)
        on = sum(self._short[name]) >= 3
        self.naive += on and not self._on[name]
        self._ill[name], self._on[name] = ill, on


def main() -> None:
    """Play, count and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[RECORDINGS])
    parser.add_argument("--profile", choices=profiles.PROFILES, default="monitor")
    parser.add_argument("--sweep", action="store_true")
    args = parser.parse_args()
    groups: dict[str, list[tuple[Outcome, float | None]]] = defaultdict(list)
    for recording in find(args.paths):
        name = recording.group if recording.limit_is_stated else f"{recording.group} *"
        swept = sweep(recording, args.profile) if args.sweep else None
        groups[name].append((play(recording, args.profile), swept))
    report(groups)


def find(paths: Iterable[Path]) -> Iterator[Recording]:
    """Every recording with a temperature under `paths`."""
    for path in paths:
        for file in sorted(path.rglob("*.csv")) if path.is_dir() else [path]:
            recording = read(file)
            if recording is not None and any(row.temp_c is not None for row in recording.rows):
                yield recording


def read(file: Path) -> Recording | None:
    """The recording in a file; None when the file is not one."""
    with file.open(newline="") as lines:
        raw = list(csv.DictReader(lines))
    if not raw or not {"device", "util_pct", "temp_c", "power_w"} <= raw[0].keys():
        return None
    rows = [row for row in map(to_row, raw) if row is not None]
    entry = manifest_entry(file)
    if not entry:
        return Recording(file.stem, rows, PUBLISHED_LIMIT_C, PUBLISHED_RATED_W, limit_is_stated=True)
    kind = "cpu" if "CPU" in entry["device_model"] else "gpu"
    stated = {kind: float(entry["temp_limit_c"])} if entry["temp_limit_c"] else {}
    rated_w = {kind: float(entry["rated_power_w"])} if entry["rated_power_w"] else {}
    group = f"{entry['source']} {entry['label']}"
    return Recording(group, rows, ASSUMED_LIMIT_C | stated, rated_w, limit_is_stated=bool(stated))


def manifest_entry(file: Path) -> dict[str, str]:
    """The line of the manifest above a file that speaks of it."""
    for folder in file.resolve().parents:
        manifest = folder / "MANIFEST.csv"
        if manifest.exists():
            name = str(file.resolve().relative_to(folder))
            with manifest.open(newline="") as lines:
                return next((row for row in csv.DictReader(lines) if row.get("file") == name), {})
    return {}


def to_row(raw: dict[str, str]) -> Row | None:
    """One line of a CSV; None when it is of no GPU or CPU."""
    kind, device = raw["device"][:3], raw["device"][3:] or "0"
    if kind not in ("gpu", "cpu"):
        return None
    if "t_s" in raw:
        seconds = float(raw["t_s"])
    else:
        stamp = raw["timestamp"].removesuffix("Z")
        seconds = datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp()
    util, temp, power = (float(raw[key]) if raw[key] else None for key in ("util_pct", "temp_c", "power_w"))
    return Row(int(seconds * NS), kind, device, None if util is None else util / 100, temp, power)


def play(recording: Recording, profile: str, settings: ThermalSettings = SETTINGS) -> Outcome:
    """Give a recording to the gate, one message a recorded instant."""
    node, counter, clock = Node(recording, profile), Counter(), RecordedClock()
    regulator = Regulator(thermal, settings, GateSettings(), forget_s=600.0, clock=clock)
    instants: dict[int, list[Row]] = defaultdict(list)
    for row in recording.rows:
        instants[row.time_ns].append(row)
    holds, held_s, held_since_ns, wall_s, why = 0, 0.0, 0, 0.0, ""
    for clock.now_ns, rows in sorted(instants.items()):
        points = [node.point(row) for row in rows]
        for point in points:
            counter.take(point)
        began_s = time.perf_counter()
        decision = regulator.on_points("recording", points)
        wall_s += time.perf_counter() - began_s
        if decision and decision.state is State.RUN:
            held_s, held_since_ns = held_s + (clock.now_ns - held_since_ns) / NS, 0
        elif decision and not held_since_ns:
            holds, held_since_ns, why = holds + 1, clock.now_ns, why or decision.why
    if held_since_ns:
        held_s += (clock.now_ns - held_since_ns) / NS
    hours = (clock.now_ns - min(instants)) / NS / 3600
    return Outcome(hours, holds, held_s, counter.collapses, counter.naive, len(instants), wall_s, why)


def sweep(recording: Recording, profile: str) -> float | None:
    """Highest limit, less the hottest sample, at which a recording fires; None when at none."""
    kind = "gpu" if any(row.kind == "gpu" and row.temp_c is not None for row in recording.rows) else "cpu"
    rows = [row for row in recording.rows if row.kind == kind]
    hottest_c = max(row.temp_c for row in rows if row.temp_c is not None)
    for over_c in range(15, -10, -1):
        tried = recording._replace(rows=rows, limit_c={kind: hottest_c + over_c})
        if play(tried, profile).holds:
            return over_c
    return None


def report(groups: dict[str, list[tuple[Outcome, float | None]]]) -> None:
    """A table for people, then one JSON object for programs."""
    print(f"{'recordings':30} files  hours  HOLDs   held  collapses  naive  fires this far over its hottest")
    summary: dict[str, dict[str, float]] = {}
    for name, entries in sorted(groups.items()):
        outcomes = [outcome for outcome, _ in entries]
        swept = sorted(over_c for _, over_c in entries if over_c is not None)
        total = {
            "files": len(outcomes),
            "hours": round(sum(outcome.hours for outcome in outcomes), 2),
            "holds": sum(outcome.holds for outcome in outcomes),
            "held_ratio": sum(o.held_s for o in outcomes) / 3600 / max(sum(o.hours for o in outcomes), 1e-9),
            "collapses": sum(outcome.collapses for outcome in outcomes),
            "naive": sum(outcome.naive for outcome in outcomes),
        }
        over = f"{len(swept)} do: {swept[0]:+.0f} C to {swept[-1]:+.0f} C" if swept else ""
        print(
            f"{name:30} {total['files']:5} {total['hours']:6.2f} {total['holds']:6} "
            f"{total['held_ratio']:6.1%} {total['collapses']:10} {total['naive']:6}  {over}"
        )
        summary[name] = {key: round(value, 4) for key, value in total.items()}
    everything = [outcome for entries in groups.values() for outcome, _ in entries]
    print("* temperature limit not stated, so assumed", *{o.why: 1 for o in everything if o.why}, sep="\n")
    messages = max(1, sum(outcome.messages for outcome in everything))
    us_per_message = sum(outcome.wall_s for outcome in everything) / messages * 1e6
    print(json.dumps({"groups": summary, "us_per_message": round(us_per_message, 1)}))


if __name__ == "__main__":
    main()

"""How often the policies about nodes fire on recordings, and what a message costs each.

    python benchmarks/policies.py [FILE_OR_FOLDER ...] [--profile monitor] [--all] [--sweep] [--worse]

Reads tests/recordings unless told otherwise. A recording is a CSV with (timestamp or t_s), device,
util_pct, temp_c, power_w; a MANIFEST.csv above it gives its label, model and limits. Each is played to the
policies as a node, with RLE computed as an agent does; those without a temperature are left out, unless
`--all`. Recordings have no counters, clocks or events: hardware and some contradictions cannot fire on
them. The cooling policy compares each with all the recordings of its model, as a fleet. For comparison it
counts collapses, and how often a rule on single samples of t_sustain_s would fire.
`--sweep` finds the highest temperature limit at which the thermal policy fires on each recording, and prints
by how much that is above its hottest sample: a policy that cries wolf fires far above.
`--worse` plays each recording thrice with its thermal resistance raised, and says from where on the cooling
policy finds it among the others. Lastly it measures a message of 8 GPUs.
"""

import argparse
import csv
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace as changed

from thermogate.analytics.config import (
    ConsistencySettings,
    CoolingSettings,
    HardwareSettings,
    ThermalSettings,
)
from thermogate.analytics.history import History, observe_points
from thermogate.analytics.policies import consistency, cooling, hardware, thermal
from thermogate.analytics.policies.base import Observation, Peers
from thermogate.core import profiles
from thermogate.core.clock import NS
from thermogate.core.schema import CLOCK_EVENTS
from thermogate.core.wire import Point, to_name

RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings"
ASSUMED_LIMIT_C = {"gpu": 87.0, "cpu": 95.0}
"""Where a recording does not state it: the lowest slowdown threshold of the GPUs listed, and the
usual one of desktop CPUs. A lower limit fires more."""
PUBLISHED_LIMIT_C = {"gpu": 83.0, "cpu": 80.0}
PUBLISHED_RATED_W = {"gpu": 200.0, "cpu": 125.0}
"""What the recorded RLE sessions, which have no manifest, were computed with."""
POLICIES: tuple[Any, ...] = (thermal, hardware, cooling, consistency)
SETTINGS: dict[str, Any] = {
    "thermal": ThermalSettings(),
    "hardware": HardwareSettings(),
    "cooling": CoolingSettings(),
    "consistency": ConsistencySettings(),
}
TIME_CONSTANT_S = 60.0
"""Of the heat sink that `worsened` adds to."""
FACTORS = (1.2, 1.3, 1.4, 1.5, 1.75, 2.0)


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
    model: str = ""


class Outcome(NamedTuple):
    """What one policy asked for on one recording. `times` is how often it began to, `asked_s` how long."""

    times: int
    asked_s: float
    wall_s: float
    why: str


class Played(NamedTuple):
    """One recording, what the policies made of it, and what was in it."""

    hours: float
    messages: int
    outcomes: dict[str, Outcome]
    resistances: dict[str, tuple[str, float]]
    collapses: int
    naive: int


class Node:
    """The devices of a recording with their RLE, as an agent sends them."""

    def __init__(self, recording: Recording, profile: str | None) -> None:
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
        if self._profile and {"util_ratio", "temp_c", "power_w", "power_limit_w"} <= fields.keys():
            fields |= self._rle(row, fields)
        return Point(row.kind, "recording", row.device, self._recording.model, "replay", fields, row.time_ns)

    def _rle(self, row: Row, fields: dict[str, float]) -> dict[str, float]:
        name = row.kind + row.device
        assert self._profile is not None
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


class Watched:
    """One policy over one node: its state, and what it asked for."""

    def __init__(self, policy: Any, settings: Any) -> None:
        self._policy, self._settings = policy, settings
        self.state = policy.initial()
        self._times, self._asked_ns, self._since_ns, self._wall_s, self._why = 0, 0, 0, 0.0, ""

    def hear(self, observation: Observation) -> None:
        """Let it look, and note what it asks for."""
        began_s = time.perf_counter()
        self.state, verdict = self._policy.step(self._settings, self.state, observation)
        self._wall_s += time.perf_counter() - began_s
        if verdict.asks and not self._since_ns:
            self._times, self._since_ns = self._times + 1, observation.now_ns
            self._why = self._why or f"{verdict.state}: {verdict.why}"
        elif not verdict.asks and self._since_ns:
            self._asked_ns, self._since_ns = self._asked_ns + observation.now_ns - self._since_ns, 0

    def outcome(self, now_ns: int) -> Outcome:
        """All of it, at the end of a recording."""
        open_ns = now_ns - self._since_ns if self._since_ns else 0
        return Outcome(self._times, (self._asked_ns + open_ns) / NS, self._wall_s, self._why)


def main() -> None:
    """Play, count and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[RECORDINGS])
    parser.add_argument("--profile", choices=profiles.PROFILES, default="monitor")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--worse", action="store_true")
    args = parser.parse_args()
    recordings = list(find(args.paths, cold=args.all))
    peers = fleet(recordings)
    played = [(recording, play(recording, args.profile, peers=peers)) for recording in recordings]
    summary: dict[str, Any] = {
        "groups": report(played),
        "peers": peers,
        "us_per_message_of_8": cost(),
    }
    if args.sweep:
        summary["above_hottest_c"] = report_sweep(recordings, args.profile)
    if args.worse:
        summary["found_from_factor"] = report_worse(recordings, peers)
    print("us for a message of 8 GPUs:", summary["us_per_message_of_8"])
    print(msgspec.json.encode(summary).decode())


def find(paths: Iterable[Path], *, cold: bool = False) -> Iterator[Recording]:
    """Every recording with a temperature under `paths`; the others too if `cold`."""
    for path in paths:
        for file in sorted(path.rglob("*.csv")) if path.is_dir() else [path]:
            recording = read(file)
            if recording is None or not recording.rows:
                continue
            if cold or any(row.temp_c is not None for row in recording.rows):
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
    group, model = f"{entry['source']} {entry['label']}", to_name(entry["device_model"])
    return Recording(group, rows, ASSUMED_LIMIT_C | stated, rated_w, bool(stated), model)


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


def fleet(recordings: Iterable[Recording]) -> dict[str, Peers]:
    """The thermal resistances of the recordings by model, as the engine has those of a fleet."""
    values: list[tuple[str, float]] = []
    for recording in recordings:
        values += play(recording, None, policies=(cooling,)).resistances.values()
    return cooling.distribution(values)


def play(
    recording: Recording,
    profile: str | None,
    settings: Mapping[str, Any] = SETTINGS,
    policies: Iterable[Any] = POLICIES,
    peers: Mapping[str, Peers] | None = None,
) -> Played:
    """Give a recording to the policies, one message a recorded instant."""
    node, counter, history = Node(recording, profile), Counter(), History()
    watched = {policy.NAME: Watched(policy, settings[policy.NAME]) for policy in policies}
    instants: dict[int, list[Row]] = defaultdict(list)
    for row in recording.rows:
        instants[row.time_ns].append(row)
    for _, rows in sorted(instants.items()):
        points = [node.point(row) for row in rows]
        for point in points:
            counter.take(point)
        history, observation = observe_points(history, "recording", points)
        if observation is None:
            continue
        for one in watched.values():
            one.hear(changed(observation, peers=dict(peers or {})))
    hours = (history.now_ns - min(instants)) / NS / 3600
    outcomes = {name: one.outcome(history.now_ns) for name, one in watched.items()}
    found = cooling.resistances(watched["cooling"].state) if "cooling" in watched else {}
    return Played(hours, len(instants), outcomes, found, counter.collapses, counter.naive)


def repeated(recording: Recording, times: int = 3) -> Recording:
    """The recording so many times in a row, each an hour after the last began, or as soon as that ended."""
    length_ns = recording.rows[-1].time_ns - recording.rows[0].time_ns
    later_ns = max(3600 * NS, length_ns + 60 * NS)
    rows = [row._replace(time_ns=row.time_ns + n * later_ns) for n in range(times) for row in recording.rows]
    return recording._replace(rows=rows)


def worsened(recording: Recording, factor: float, k_per_w: float) -> Recording:
    """The recording with its GPUs' thermal resistance of `k_per_w` raised by `factor`.

    First order: on top of what was recorded, each is warmer by x with
    dx/dt = (power * k_per_w * (factor - 1) - x) / TIME_CONSTANT_S, in whole degrees as sensors have them.
    """
    extra_c: dict[str, float] = {}
    before_ns: dict[str, int] = {}
    rows = []
    for row in recording.rows:
        if row.kind == "gpu" and row.temp_c is not None and row.power_w is not None:
            goes_to_c = row.power_w * k_per_w * (factor - 1)
            past_s = (row.time_ns - before_ns.get(row.device, row.time_ns)) / NS
            now_c = extra_c.get(row.device, goes_to_c)
            now_c += (goes_to_c - now_c) * min(1.0, past_s / TIME_CONSTANT_S)
            extra_c[row.device], before_ns[row.device] = now_c, row.time_ns
            row = row._replace(temp_c=row.temp_c + round(now_c))
        rows.append(row)
    return recording._replace(rows=rows)


def sweep(recording: Recording, profile: str) -> float | None:
    """Highest limit, less the hottest sample, at which the thermal policy fires; None when at none."""
    kind = "gpu" if any(row.kind == "gpu" and row.temp_c is not None for row in recording.rows) else "cpu"
    rows = [row for row in recording.rows if row.kind == kind]
    hottest_c = max(row.temp_c for row in rows if row.temp_c is not None)
    for over_c in range(15, -10, -1):
        tried = recording._replace(rows=rows, limit_c={kind: hottest_c + over_c})
        if play(tried, profile, policies=(thermal,)).outcomes["thermal"].times:
            return over_c
    return None


def found_from(recording: Recording, peers: Mapping[str, Peers]) -> str:
    """The least of FACTORS by which its thermal resistance is raised and found; else why there is none."""
    measured = play(recording, None, policies=(cooling,)).resistances
    if not measured:
        return "never at load"
    k_per_w = max(value for _, value in measured.values())
    for factor in FACTORS:
        worse = worsened(repeated(recording), factor, k_per_w)
        if play(worse, None, policies=(cooling,), peers=peers).outcomes["cooling"].times:
            return f"{factor:g}"
    return "not found"


def report(played: list[tuple[Recording, Played]]) -> dict[str, dict[str, float]]:
    """A table for people, of each group of recordings; the same as numbers."""
    groups: dict[str, list[Played]] = defaultdict(list)
    for recording, one in played:
        groups[recording.group if recording.limit_is_stated else f"{recording.group} *"].append(one)
    names = [policy.NAME for policy in POLICIES]
    print(f"{'recordings':30} files  hours  " + " ".join(f"{n:>11}" for n in names) + "  collapses  naive")
    summary: dict[str, dict[str, float]] = {}
    for group, ones in sorted(groups.items()):
        total: dict[str, float] = {"files": len(ones), "hours": round(sum(one.hours for one in ones), 2)}
        total |= {name: sum(one.outcomes[name].times for one in ones) for name in names}
        total |= {"collapses": sum(o.collapses for o in ones), "naive": sum(o.naive for o in ones)}
        counts = " ".join(f"{total[name]:11}" for name in names)
        head = f"{group:30} {total['files']:5} {total['hours']:6.2f}"
        print(f"{head}  {counts} {total['collapses']:10} {total['naive']:6}")
        summary[group] = total
    print("* temperature limit not stated, so assumed. The first of each that fires:")
    whys = [f"{name} {one.outcomes[name].why}" for _, one in played for name in names]
    print(*dict.fromkeys(why for why in whys if not why.endswith(" ")), sep="\n")
    return summary


def report_sweep(recordings: Iterable[Recording], profile: str) -> dict[str, list[float]]:
    """How far above its hottest sample each recording fires."""
    found: dict[str, list[float]] = defaultdict(list)
    for recording in recordings:
        over_c = sweep(recording, profile)
        if over_c is not None:
            found[recording.group].append(over_c)
    for group, values in sorted(found.items()):
        over = f"{min(values):+.0f} to {max(values):+.0f} C over their hottest sample"
        print(f"{group:30} {len(values)} fire {over}")
    return found


def report_worse(recordings: Iterable[Recording], peers: Mapping[str, Peers]) -> dict[str, dict[str, int]]:
    """From which factor on a raised resistance is found, by model."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for recording in recordings:
        if recording.model in peers:
            found[recording.model][found_from(recording, peers)] += 1
    for model, counts in found.items():
        print(f"{model}: thermal resistance raised, found from factor: {dict(sorted(counts.items()))}")
    return found


def cost(messages: int = 2000) -> dict[str, float]:
    """Microseconds of each policy for a message of 8 GPUs at work, every field there; median of 5 rounds."""
    peers = {"H100": Peers(1000, 0.08, 0.004)}
    found: dict[str, float] = {}
    for policy in POLICIES:
        rounds = []
        for _ in range(5):
            state, history, spent_s = policy.initial(), History(), 0.0
            for second in range(messages // 5):
                history, seen = observe_points(history, "n", [_busy(device, second) for device in range(8)])
                assert seen is not None
                seen = changed(seen, peers=peers)
                began_s = time.perf_counter()
                state, _ = policy.step(SETTINGS[policy.NAME], state, seen)
                spent_s += time.perf_counter() - began_s
            rounds.append(spent_s / (messages // 5) * 1e6)
        found[policy.NAME] = round(sorted(rounds)[2], 1)
    return found


def _busy(device: int, second: int) -> Point:
    events = dict.fromkeys(CLOCK_EVENTS, 0.0)
    fields = {
        "power_w": 640.0 + second * 7 % 11,
        "energy_j": 1e6 + 640.0 * second,
        "temp_c": 66.0 + (second // 9 + device) % 2,
        "util_ratio": 0.98,
        "power_limit_w": 700.0,
        "temp_limit_c": 87.0,
        "ecc_corrected_count": 0.0,
        "ecc_uncorrected_count": 0.0,
        "throttled": 0.0,
        "sm_clock_hz": 1.7e9,
        "mem_temp_c": 74.0,
        "rle": 0.5,
        "collapse": 0.0,
    }
    return Point("gpu", "n", str(device), "H100", "", fields | events, (1_763_712_000 + second) * NS)


if __name__ == "__main__":
    main()

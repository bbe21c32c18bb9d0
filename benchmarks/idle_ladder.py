"""How the idle policy and the RLE ladder behave on recordings, and what a message costs them.

    python benchmarks/idle_ladder.py [FILE_OR_FOLDER ...]

Reads tests/recordings unless told otherwise, in the form that benchmarks/signal_recordings.py takes. Each
recording is one job with all its GPUs under the idle policy; told is, beside its HOLDs, the longest time
in which no device worked, which is what the policy's limits must exceed. It is one node under the ladder,
with RLE computed as an agent does; told is the share of time on each step, and how often the pace changed.
Nobody obeys in a recording. Lastly it measures messages of 8 GPUs.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.signal_recordings import Recording, Row, by_instant, find
from thermogate.analytics.config import IdleSettings, LadderSettings
from thermogate.analytics.policies import idle, ladder
from thermogate.analytics.policies.base import JobObservation, Member, Observation
from thermogate.core import profiles
from thermogate.core.clock import NS
from thermogate.core.decision import State
from thermogate.core.wire import Point

RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings"


class Told(NamedTuple):
    """What came of one recording. `quiet_s` and `hung_s`: the longest time without work, and of spinning."""

    hours: float
    holds: int
    quiet_s: float
    hung_s: float
    steps_s: tuple[float, float, float, float]
    changes: int
    most_changes: int


class Devices:
    """The devices of a recording with their RLE, as an agent sends them."""

    def __init__(self, recording: Recording, profile: str = "monitor") -> None:
        self._recording = recording
        self._profile = profile
        self._known: dict[str, tuple[profiles.Params, Any]] = {}

    def point(self, row: Row) -> Point:
        """A sample as the gate sees it."""
        rated_w, limit_c = self._recording.rated_w.get(row.kind), self._recording.limit_c[row.kind]
        measured = {
            "util_ratio": row.util_ratio,
            "temp_c": row.temp_c,
            "power_w": row.power_w,
            "power_limit_w": rated_w,
            "temp_limit_c": limit_c,
        }
        fields = {name: value for name, value in measured.items() if value is not None}
        if {"util_ratio", "power_w", "power_limit_w"} <= fields.keys():
            fields |= self._rle(row, fields, limit_c)
        return Point(row.kind, "recording", row.device, "", "replay", fields, row.time_ns)

    def _rle(self, row: Row, fields: dict[str, float], limit_c: float) -> dict[str, float]:
        name = row.kind + row.device
        if name not in self._known:
            params = profiles.params(
                self._profile, rated_power_w=fields["power_limit_w"], temp_limit_c=limit_c, interval_s=None
            )
            self._known[name] = params, profiles.initial(params)
        params, state = self._known[name]
        sample = profiles.Sample(
            min(fields["util_ratio"], 1.0), fields.get("temp_c"), fields["power_w"], row.time_ns / NS
        )
        state, result = profiles.step(params, state, sample)
        self._known[name] = params, state
        return {
            "rle": result.rle_smoothed,
            "rle_peak": result.rolling_peak,
            "a_load_ratio": result.a_load,
            "collapse": float(result.collapse),
        }


def play(
    recording: Recording, idle_settings: IdleSettings | None = None, settings: LadderSettings | None = None
) -> Told:
    """Give a recording to both policies, one message a recorded instant."""
    idle_params, params = idle_settings or IdleSettings(), settings or LadderSettings()
    devices, newest = Devices(recording), dict[str, Point]()
    job, node = idle.initial(), ladder.initial()
    holds, quiet_s, hung_s = 0, 0.0, 0.0
    began_ns = before_ns = recording.rows[0].time_ns
    state, pace = State.RUN, 1.0
    steps_s, changed_ns = [0.0] * 4, list[int]()
    for rows in by_instant(recording.rows):
        now_ns = rows[0].time_ns
        points = [devices.point(row) for row in rows]
        newest.update({point.device: point for point in points if point.measurement == "gpu"})
        steps_s[max((rung.step for rung in node.devices.values()), default=0)] += (now_ns - before_ns) / NS
        before_ns = now_ns
        node, verdict = ladder.step(
            params, node, Observation(target="recording", now_ns=now_ns, points=tuple(points))
        )
        if verdict.pace != pace:
            pace = verdict.pace
            changed_ns.append(now_ns)
        if newest:
            job, verdict = idle.step(idle_params, job, observed(newest.values(), now_ns))
            holds += verdict.state is State.HOLD and state is State.RUN
            state = verdict.state
            quiet_s = max(quiet_s, (now_ns - job.quiet_ns) / NS if job.quiet_ns else 0.0)
            hung_s = max(hung_s, (now_ns - job.spin_ns) / NS if job.spin_ns else 0.0)
    return Told(
        hours=(before_ns - began_ns) / NS / 3600,
        holds=holds,
        quiet_s=quiet_s,
        hung_s=hung_s,
        steps_s=(steps_s[0], steps_s[1], steps_s[2], steps_s[3]),
        changes=len(changed_ns),
        most_changes=max(
            (sum(0 <= at - one < 3600 * NS for at in changed_ns) for one in changed_ns), default=0
        ),
    )


def observed(points: Iterable[Point], now_ns: int) -> JobObservation:
    """A job that has these devices."""
    members = tuple(
        Member(node=point.node, device=f"gpu{point.device}", began_ns=0, point=point, manager="slurm")
        for point in points
    )
    return JobObservation(target="slurm-1", now_ns=now_ns, members=members)


def cost(messages: int = 2000) -> dict[str, float]:
    """Microseconds for a message of 8 GPUs: of the ladder, and of the idle policy at one job of 8."""
    idle_params, params, job, node = IdleSettings(), LadderSettings(), idle.initial(), ladder.initial()
    spent = {"idle": 0.0, "ladder": 0.0}
    for second in range(messages):
        points = tuple(_busy(device, second) for device in range(8))
        began_s = time.perf_counter()
        node, _ = ladder.step(params, node, Observation(target="n", now_ns=second * NS, points=points))
        between_s = time.perf_counter()
        spent["ladder"] += between_s - began_s
        observation = observed(points, second * NS)
        began_s = time.perf_counter()
        job, _ = idle.step(idle_params, job, observation)
        spent["idle"] += time.perf_counter() - began_s
    return {f"{name}_us_per_8_gpus": round(spent_s / messages * 1e6, 1) for name, spent_s in spent.items()}


def _busy(device: int, second: int) -> Point:
    fields = {"util_ratio": 0.97, "power_w": 640.0, "power_limit_w": 700.0, "a_load_ratio": 0.91}
    fields |= {"rle": 0.7 + 0.02 * (second % 7), "rle_peak": 1.0, "collapse": 0.0}
    return Point("gpu", "n", str(device), "", "", fields, second * NS)


def main() -> None:
    """Play all and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[RECORDINGS])
    args = parser.parse_args()
    groups: dict[str, list[Told]] = defaultdict(list)
    for recording in find(args.paths):
        if all(row.kind != "gpu" or row.util_ratio is None for row in recording.rows):
            continue
        groups[recording.group].append(play(recording))
    print(
        f"{'recordings':34} files  hours  HOLDs  quiet at most  spinning | on step 1     2     3     4  "
        "changes/h  most in an hour"
    )
    summary = {}
    for name, told in sorted(groups.items()):
        hours = sum(one.hours for one in told)
        shares = [sum(one.steps_s[step] for one in told) / 36 / max(hours, 1e-9) for step in range(4)]
        entry = {
            "files": len(told),
            "hours": round(hours, 2),
            "holds": sum(one.holds for one in told),
            "quiet_s": round(max(one.quiet_s for one in told)),
            "spinning_s": round(max(one.hung_s for one in told)),
            "steps_percent": [round(share, 1) for share in shares],
            "changes_per_hour": round(sum(one.changes for one in told) / max(hours, 1e-9), 1),
            "most_changes_in_an_hour": max(one.most_changes for one in told),
        }
        print(
            f"{name:34} {len(told):5} {hours:6.2f} {entry['holds']:6} {entry['quiet_s']:12} s "
            f"{entry['spinning_s']:7} s | {shares[0]:7.1f} % {shares[1]:4.1f}  {shares[2]:4.1f}  "
            f"{shares[3]:4.1f}  {entry['changes_per_hour']:9} {entry['most_changes_in_an_hour']:16}"
        )
        summary[name] = entry
    spent = cost()
    print(*(f"{name} {value}" for name, value in spent.items()), sep="\n")
    print(json.dumps({"groups": summary, **spent}))


if __name__ == "__main__":
    main()

"""Pacing incoherence: how far a device is out of step with the other devices of its job.

What a device draws is compared with what it usually draws when its job draws what it draws now. So devices
that differ by a constant factor (other models, another share of the work) are in step, and a pause of the
whole job puts nobody out of step; one that lags, stops or slows down by itself is.
"""

from math import sqrt
from statistics import median

import msgspec
from msgspec.structs import replace

from thermogate.analytics.config import SignalSettings
from thermogate.analytics.policies.base import JobObservation
from thermogate.analytics.signals.heat import load_of
from thermogate.analytics.signals.windows import share
from thermogate.core.clock import NS

_HABIT_LEAST, _HABIT_MOST = 0.05, 20.0
"""A usual share outside of this is no share of the same work."""
_LEAST_S = 1e-6
"""Work that weighs less says nothing, and is not divided by."""


class Pace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One device of a job up to `time_ns`.

    `load` is drawn over rated power, smoothed; `habit` its usual ratio to the job's pace, learned for
    `habit_s`. `pace_square` is the mean square of the job's pace over the slow window, `off_square` that
    of the deviation over the fast one; both have been seen for `covered_s`.
    """

    time_ns: int
    load: float
    habit: float = 1.0
    habit_s: float = 0.0
    pace_square: float = 0.0
    off_square: float = 0.0
    covered_s: float = 0.0


class JobState(msgspec.Struct, frozen=True):
    """What is remembered of a job's devices, by "node device"; of those that it has now."""

    devices: dict[str, Pace] = {}


def initial_job() -> JobState:
    """A job of which nothing has been seen."""
    return JobState()


def step_job(
    params: SignalSettings, state: JobState, observation: JobObservation
) -> tuple[JobState, dict[tuple[str, str], float], float | None]:
    """The state after an observation, the incoherence of each (node, device), and of the job: the most.

    Devices without power or rated power, or whose newest sample is older than `interval_most_s`, are left
    out; a device has none before its window is full, and a job of one device never.
    """
    oldest_ns = observation.now_ns - int(params.interval_most_s * NS)
    kept: dict[str, Pace] = {}
    loads: dict[str, tuple[int, float]] = {}
    names: dict[str, tuple[str, str]] = {}
    for member in observation.members:
        key, point = f"{member.node} {member.device}", member.point
        if key in state.devices:
            kept[key] = state.devices[key]
        if point is None or point.time_ns < oldest_ns:
            continue
        load = load_of(point.fields.get("power_w"), point.fields.get("power_limit_w"))
        if load is not None:
            loads[key], names[key] = (point.time_ns, load), (member.node, member.device)
    if len(loads) < 2:
        return JobState(kept), {}, None
    paces = {key: _smooth(params, kept.get(key), time_ns, load) for key, (time_ns, load) in loads.items()}
    for (key, pace), job_pace in zip(paces.items(), _job_paces(list(paces.values())), strict=True):
        kept[key] = _compare(params, kept.get(key), pace, job_pace)
    found = {
        name: _incoherence(params, kept[key])
        for key, name in names.items()
        if kept[key].covered_s >= params.fast_s
    }
    return JobState(kept), found, max(found.values(), default=None)


def _smooth(params: SignalSettings, before: Pace | None, time_ns: int, load: float) -> Pace:
    """The device with its newest load, not yet compared; as it was when the sample is not newer.

    After a gap longer than the fast window it is seen anew, but for its habit.
    """
    if before is None:
        return Pace(time_ns, load)
    if time_ns <= before.time_ns:
        return before
    gap_s = (time_ns - before.time_ns) / NS
    if gap_s >= params.fast_s:
        return Pace(time_ns, load, before.habit, before.habit_s)
    sample_s = min(gap_s, params.interval_most_s)
    smooth = before.load + share(before.covered_s, sample_s, params.smooth_s) * (load - before.load)
    return Pace(
        time_ns,
        smooth,
        before.habit,
        before.habit_s,
        before.pace_square,
        before.off_square,
        before.covered_s,
    )


def _job_paces(paces: list[Pace]) -> list[float]:
    """The job's pace as each device is held against it: the median of load over habit.

    Of two devices each is held against the other: which of them is out of step cannot be told.
    """
    own = [pace.load / pace.habit for pace in paces]
    return own[::-1] if len(own) == 2 else [median(own)] * len(own)


def _compare(params: SignalSettings, before: Pace | None, now: Pace, job_pace: float) -> Pace:
    """The device after its load was held against the pace of its job."""
    if before is None:
        habit = _bounded(now.load / job_pace) if job_pace > 0.0 else 1.0
        return replace(now, habit=habit, pace_square=job_pace * job_pace)
    if now.time_ns == before.time_ns:
        return before
    gap_s = (now.time_ns - before.time_ns) / NS
    if gap_s >= params.fast_s:
        return replace(now, pace_square=job_pace * job_pace)
    sample_s = min(gap_s, params.interval_most_s)
    off = now.load - now.habit * job_pace
    part = share(now.covered_s, sample_s, params.slow_s)
    pace_square = now.pace_square + part * (job_pace * job_pace - now.pace_square)
    off_part = share(now.covered_s, sample_s, params.fast_s)
    off_square = now.off_square + off_part * (off * off - now.off_square)
    habit, habit_s = _learn(params, now, sample_s, off, job_pace)
    return Pace(now.time_ns, now.load, habit, habit_s, pace_square, off_square, now.covered_s + sample_s)


def _learn(
    params: SignalSettings, now: Pace, sample_s: float, off: float, job_pace: float
) -> tuple[float, float]:
    """The habit learned on, and for how long: load over pace by least squares, so idle time counts little.

    Once there is a habit, what is far off it pulls no harder than `habit_pull_ratio`. What is seen before the
    job works makes none: one device loads and compiles for all.
    """
    work = job_pace / params.level_least_ratio
    weight_s = sample_s * work * work if work < 1.0 else sample_s
    if weight_s <= _LEAST_S:
        return now.habit, now.habit_s
    if now.habit_s >= params.fast_s:
        most = params.habit_pull_ratio * _level(params, now)
        off = min(max(off, -most), most)
    habit = now.habit + share(now.habit_s, weight_s, params.habit_s) * off / job_pace
    if work < 1.0 and now.habit_s < params.fast_s:
        return _bounded(habit), now.habit_s
    return _bounded(habit), min(now.habit_s + weight_s, params.habit_s)


def _level(params: SignalSettings, now: Pace) -> float:
    """What the device usually draws at the pace that its job had of late, over rated power."""
    return max(now.habit * sqrt(now.pace_square), params.level_least_ratio)


def _incoherence(params: SignalSettings, now: Pace) -> float:
    return sqrt(now.off_square) / _level(params, now)


def _bounded(habit: float) -> float:
    return min(max(habit, _HABIT_LEAST), _HABIT_MOST)

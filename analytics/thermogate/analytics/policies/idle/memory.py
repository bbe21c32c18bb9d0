"""What the idle policy remembers of a job and its devices, and what a device does by that."""

import math
from typing import Literal

import msgspec
from msgspec.structs import replace

from thermogate.analytics.config.idle import IdleSettings
from thermogate.analytics.policies import sane
from thermogate.analytics.policies.base import JobObservation, Member
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, State
from thermogate.core.wire import Point

IDLE_METRIC, RETRY_METRIC = "idle_s", "retry_s"
_MAX_MEMBERS = 4096
"""Devices of a job that are remembered: 512 servers of 8. A job with more is not judged."""

Does = Literal["works", "idles", "spins"]


class Watched(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One device: utilization and power over its limit, smoothed, and the variance of the latter.

    None is "not measured". `quiet_ns` is since when it has not worked, 0 while it does. `full_w` is the
    most that its power limit has been, 0 while that is not known, and `limit_ratio` the limit now over it.
    """

    time_ns: int
    util_ratio: float | None
    power_ratio: float | None
    variance: float = 0.0
    quiet_ns: int = 0
    full_w: float = 0.0
    limit_ratio: float = 1.0


class IdleState(msgspec.Struct, frozen=True):
    """A job: its devices ("n17/gpu0"), and since when it is as it is; a time is 0 while it is not so.

    `quiet_ns`: no device works. `spin_ns`: and some spin. `held_ns`: it is held. `probe_ns`: it runs on
    a try. `worked`: a device has worked since the job began, or since it is known here. `tries` in vain.
    `cleared` is what is said after a HOLD.
    """

    devices: dict[str, Watched] = {}
    now_ns: int = 0
    worked: bool = False
    quiet_ns: int = 0
    spin_ns: int = 0
    held_ns: int = 0
    probe_ns: int = 0
    tries: int = 0
    cleared: str = ""


def initial() -> IdleState:
    """A job of which nothing is known: it runs."""
    return IdleState()


def resume(decision: GateDecision) -> IdleState:
    """A job that `decision` holds goes on waiting until it works, or its next try."""
    if decision.state is not State.HOLD:
        return IdleState()
    reasons = {reason.metric: reason for reason in decision.because}
    idle, retry = reasons.get(IDLE_METRIC), reasons.get(RETRY_METRIC)
    since_ns = idle.since_ns if idle else decision.issued_at_ns
    tries = round(math.log2(retry.value / retry.threshold)) if retry and retry.threshold > 0 else 0
    return IdleState(
        quiet_ns=since_ns,
        spin_ns=since_ns if "spinning_devices" in reasons else 0,
        held_ns=retry.since_ns if retry else decision.issued_at_ns,
        tries=max(0, tries),
    )


def absorb(params: IdleSettings, state: IdleState, observation: JobObservation) -> dict[str, Watched]:
    """The devices of the job after its samples; one without a recent sample is not among them.

    After a HOLD begins nothing is smoothed until its checkpoint is over: that must not pass for work later.
    """
    checkpoints = state.held_ns and observation.now_ns - state.held_ns <= params.checkpoint_s * NS
    found: dict[str, Watched] = {}
    for member in observation.members[:_MAX_MEMBERS]:
        point, name = member.point, name_of(member)
        if point is None or observation.now_ns - point.time_ns > params.stale_s * NS:
            continue
        known = state.devices.get(name)
        if checkpoints and known is not None and point.time_ns > known.time_ns:
            known = Watched(0, None, None, full_w=known.full_w)
        found[name] = _take(params, known, point)
    return found


def name_of(member: Member) -> str:
    """Under which a device of a job is kept."""
    return f"{member.node}/{member.device}"


def does(params: IdleSettings, watched: Watched) -> Does | None:
    """What a device does; None when too little of it is measured to say."""
    util, power = watched.util_ratio, watched.power_ratio
    if power is not None and power >= params.busy_power_ratio:
        return "works"
    if util is None:
        return "idles" if power is not None and power < params.idle_power_ratio else None
    if util < params.busy_util_ratio:
        return "idles"
    if util < params.spin_util_ratio or power is None:
        return "works"
    if power >= params.spin_power_ratio * watched.limit_ratio:  # what keeps to a lowered limit does not wait
        return "works"
    return "spins" if math.sqrt(watched.variance) <= params.spin_spread_ratio * power else "works"


def _take(params: IdleSettings, before: Watched | None, point: Point) -> Watched:
    if before is not None and point.time_ns <= before.time_ns:
        return before
    fields = point.fields
    util, power_w = sane.ratio(fields.get("util_ratio")), sane.power(fields.get("power_w"))
    limit_w = sane.rated(fields.get("power_limit_w"))
    full_w = _full_w(before, limit_w)
    power = power_w / full_w if power_w is not None and full_w else None
    variance, quiet_ns = 0.0, 0
    if before is not None and point.time_ns - before.time_ns <= params.stale_s * NS:
        quiet_ns = before.quiet_ns
        weight = 1.0 - math.exp((before.time_ns - point.time_ns) / NS / params.window_s)
        if util is not None and before.util_ratio is not None:
            util = before.util_ratio + weight * (util - before.util_ratio)
        if power is not None and before.power_ratio is not None:
            off = power - before.power_ratio
            power = before.power_ratio + weight * off
            variance = (1.0 - weight) * (before.variance + weight * off * off)
    after = Watched(
        point.time_ns, util, power, variance, quiet_ns, full_w or 0.0, _limit_ratio(limit_w, full_w)
    )
    if does(params, after) in ("works", None):
        return replace(after, quiet_ns=0)
    return after if quiet_ns else replace(after, quiet_ns=point.time_ns)


def _limit_ratio(limit_w: float | None, full_w: float | None) -> float:
    return limit_w / full_w if limit_w and full_w else 1.0


def _full_w(before: Watched | None, limit_w: float | None) -> float | None:
    """The most that the power limit has been: a pace lowers it, and must not make idling look like work."""
    known_w = before.full_w if before is not None else 0.0
    return max(limit_w or 0.0, known_w) or None

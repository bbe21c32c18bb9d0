"""What the ladder remembers of a device: its efficiency, smoothed, its step, and since when it is where."""

import math

import msgspec

from thermogate.analytics.config.ladder import LadderSettings
from thermogate.analytics.policies import sane
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision
from thermogate.core.wire import Point

METRICS = ("rle_efficient", "rle_degraded", "rle_critical")
"""Under which a device on step 2, 3 or 4 of 4 is told."""
_NEVER = (0, 0, 0)
_DEGRADED = 2


class Rung(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One device. `step` is 0 (all is well) to 3, since `changed_ns`.

    `share` is RLE over its own peak, smoothed over the samples under load, -1 before there is one.
    `below_ns` and `above_ns` are, by threshold, since when `share` is below it, and above it by the
    hysteresis or without load; 0 while it is not.
    """

    seen_ns: int
    step: int = 0
    changed_ns: int = 0
    share: float = -1.0
    below_ns: tuple[int, int, int] = _NEVER
    above_ns: tuple[int, int, int] = _NEVER


class LadderState(msgspec.Struct, frozen=True):
    """The devices of a node by name. `cleared`: the node has been slowed down and is no longer."""

    devices: dict[str, Rung] = {}
    cleared: bool = False


def initial() -> LadderState:
    """A node of which nothing is known: it runs."""
    return LadderState()


def resume(decision: GateDecision) -> LadderState:
    """A node whose devices stand where `decision` says until they have been above for long enough."""
    return LadderState(
        {
            reason.device: Rung(decision.issued_at_ns, METRICS.index(reason.metric) + 1, reason.since_ns)
            for reason in decision.because
            if reason.metric in METRICS
        }
    )


def take(params: LadderSettings, before: Rung | None, point: Point) -> Rung:
    """The device after a sample. A long gap, or a sample under load without RLE, ends what was on end."""
    time_ns, fields = point.time_ns, point.fields
    if before is None:
        before = Rung(time_ns)
    elapsed_s = (time_ns - before.seen_ns) / NS
    share, below, above = before.share, before.below_ns, before.above_ns
    if elapsed_s > params.gap_s:
        below = above = _NEVER
    collapses = False
    if (
        fields.get("util_ratio", 0.0) >= params.load_util_ratio
        or fields.get("a_load_ratio", 0.0) >= params.load_power_ratio
    ):
        rle, peak = sane.ratio(fields.get("rle")), sane.ratio(fields.get("rle_peak"))
        if rle is None or not peak:
            below = above = _NEVER
        else:
            now = min(rle / peak, 1.0)
            share = (
                now if share < 0.0 else share + (1.0 - math.exp(-elapsed_s / params.window_s)) * (now - share)
            )
            below, above = _ordered(params, share, below, above, time_ns)
            collapses = fields.get("collapse", 0.0) > 0.0
    else:
        below = _NEVER
        above = (above[0] or time_ns, above[1] or time_ns, above[2] or time_ns)
    if collapses:
        above = (0, 0, above[2])
    step = _step(params, before, below, above, time_ns, collapses=collapses)
    changed_ns = before.changed_ns if step == before.step else time_ns
    return Rung(time_ns, step, changed_ns, share, below, above)


def _ordered(
    params: LadderSettings,
    share: float,
    below: tuple[int, int, int],
    above: tuple[int, int, int],
    now_ns: int,
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Since when a share under load is below and above each of the thresholds."""
    first, second, third = params.efficient_ratio, params.degraded_ratio, params.critical_ratio
    by = params.hysteresis_ratio
    return (
        (
            (below[0] or now_ns) if share < first else 0,
            (below[1] or now_ns) if share < second else 0,
            (below[2] or now_ns) if share < third else 0,
        ),
        (
            (above[0] or now_ns) if share >= first + by else 0,
            (above[1] or now_ns) if share >= second + by else 0,
            (above[2] or now_ns) if share >= third + by else 0,
        ),
    )


def _step(
    params: LadderSettings,
    before: Rung,
    below: tuple[int, int, int],
    above: tuple[int, int, int],
    now_ns: int,
    *,
    collapses: bool,
) -> int:
    """Down at once as far as it has been for long enough, up one step at a time.

    All of it goes by when a threshold was passed, not by the step: so a device that does worse in
    every sample is never on a better step.
    """
    fallen_ns = now_ns - int(params.fall_s * NS)
    if below[2] and below[2] <= fallen_ns:
        target = 3
    elif collapses or (below[1] and below[1] <= fallen_ns):
        target = _DEGRADED
    else:
        target = 1 if below[0] and below[0] <= fallen_ns else 0
    step = before.step
    if target > step:
        return target
    if step and above[step - 1]:
        since_ns = max(above[step - 1], before.changed_ns)
        if now_ns - since_ns >= params.rise_s * NS:
            return step - 1
    return step

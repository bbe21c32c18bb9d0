"""The contradictions: when they fire, and with which numbers. What does not hold is calm."""

from collections.abc import Callable

from thermogate.analytics.config import ConsistencySettings
from thermogate.analytics.policies.alarms import NOTHING, Alarm, Finding
from thermogate.analytics.policies.consistency.memory import METRICS, MOVED_METRIC
from thermogate.analytics.policies.consistency.watch import Watch
from thermogate.core.clock import NS
from thermogate.core.decision import Reason


def judge_range(params: ConsistencySettings, name: str, watch: Watch) -> Finding:
    """A temperature that silicon cannot have."""
    value = watch.temp_c or 0.0
    threshold = params.temp_least_c if value < params.temp_least_c else params.temp_most_c
    reason = _reason("range", name, value, threshold, "degC", params.range_s)
    return _lasting(watch.range_ns, params.range_s, watch, "range", name, reason)


def judge_jump(params: ConsistencySettings, name: str, watch: Watch) -> Finding:
    """A temperature that changed faster than heat can flow, and stayed."""
    jump_c = watch.jump_to_c - watch.jump_from_c
    reason = _reason("jump", name, jump_c, params.jump_c, "K", params.jump_gap_s)
    return _lasting(watch.jump_ns, params.jump_stays_s, watch, "jump", name, reason)


def judge_far(params: ConsistencySettings, name: str, watch: Watch) -> Finding:
    """Slowed down for heat, far below the limit."""
    reason = _reason("far", name, watch.margin_c, params.far_c, "K", params.far_s)
    return _lasting(watch.far_ns, params.far_s, watch, "far", name, reason)


def judge_over(params: ConsistencySettings, name: str, watch: Watch) -> Finding:
    """Power far above its limit."""
    reason = _reason("over", name, _power_ratio(watch), params.over_ratio, "ratio", params.over_s)
    return _lasting(watch.over_ns, params.over_s, watch, "over", name, reason)


def judge_busy(params: ConsistencySettings, name: str, watch: Watch) -> Finding:
    """Busy at the power and clocks of an idle GPU."""
    reason = _reason("busy", name, _power_ratio(watch), params.busy_power_ratio, "ratio", params.busy_s)
    return _lasting(watch.busy_ns, params.busy_s, watch, "busy", name, reason)


def judge_stuck(params: ConsistencySettings, name: str, watch: Watch) -> Finding:
    """A temperature that does not move while the load does."""
    if watch.temp_ns != watch.seen_ns:
        return NOTHING
    lasted_s = (watch.seen_ns - watch.same_ns) / NS
    moved_w = watch.high_w - watch.low_w
    moved = bool(watch.limit_w) and moved_w >= params.stuck_power_ratio * (watch.limit_w or 0.0)
    if lasted_s < params.stuck_s or not moved:
        return Finding(calm=lasted_s < params.stuck_s)
    same = _reason("stuck", name, lasted_s, params.stuck_s, "s", lasted_s)
    power = Reason(
        metric=MOVED_METRIC,
        value=round(moved_w / (watch.limit_w or 1.0), 3),
        threshold=params.stuck_power_ratio,
        unit="ratio",
        window_s=lasted_s,
        device=name,
    )
    return Finding(_alarm("stuck", name, watch.seen_ns, same, power))


def judge_apart(params: ConsistencySettings, since_ns: int, spread_s: float, now_ns: int) -> Finding:
    """Stamps of the devices of one message that are far apart."""
    if not since_ns:
        return Finding(calm=True)
    if now_ns - since_ns < params.apart_for_s * NS:
        return Finding(calm=False)
    reason = _reason("apart", "", spread_s, params.apart_s, "s", params.apart_for_s)
    return Finding(_alarm("apart", "", now_ns, reason))


Judge = Callable[[ConsistencySettings, str, Watch], Finding]
RULES: dict[str, Judge] = {
    "range": judge_range,
    "jump": judge_jump,
    "stuck": judge_stuck,
    "far": judge_far,
    "over": judge_over,
    "busy": judge_busy,
}
"""The rules about one device."""


def _lasting(since_ns: int, least_s: float, watch: Watch, rule: str, name: str, reason: Reason) -> Finding:
    if not since_ns:
        return Finding(calm=True)
    if watch.seen_ns - since_ns < least_s * NS:
        return Finding(calm=False)
    return Finding(_alarm(rule, name, watch.seen_ns, reason))


def _alarm(rule: str, name: str, since_ns: int, *because: Reason) -> Alarm:
    return Alarm(rule=rule, device=name, since_ns=since_ns, pace=1.0, because=because)


def _reason(rule: str, name: str, value: float, threshold: float, unit: str, window_s: float) -> Reason:
    return Reason(
        metric=METRICS[rule],
        value=round(value, 3),
        threshold=threshold,
        unit=unit,
        window_s=round(window_s, 1),
        device=name,
    )


def _power_ratio(watch: Watch) -> float:
    return watch.power_w / watch.limit_w if watch.limit_w else 0.0

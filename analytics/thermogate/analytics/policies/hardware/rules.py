"""The rules of memory errors and of the power brake: when they fire, and when they are calm."""

from thermogate.analytics.config import HardwareSettings
from thermogate.analytics.policies.alarms import Alarm, Finding
from thermogate.analytics.policies.hardware.counters import Counters
from thermogate.core.clock import NS
from thermogate.core.decision import Reason


def judge_uncorrected(params: HardwareSettings, name: str, seen: Counters, alarm: Alarm | None) -> Finding:
    """What uncorrected errors say: any growth fires, and only counters that begin anew make it calm."""
    growth = seen.uncorrected_growth
    if growth >= params.uncorrected_count:
        reason = Reason(
            metric="ecc_uncorrected_count",
            value=growth,
            threshold=float(params.uncorrected_count),
            device=name,
        )
        return Finding(_alarm("uncorrected", name, seen, reason))
    return Finding(calm=alarm is not None and (seen.anew_ns > alarm.since_ns or seen.uncorrected == 0))


def judge_corrected(params: HardwareSettings, name: str, seen: Counters, _: Alarm | None) -> Finding:
    """What corrected errors say: so many within a window fire, fewer are calm."""
    growth = seen.corrected_growth
    if growth < params.corrected_count:
        return Finding(calm=True)
    reason = Reason(
        metric="ecc_corrected_count",
        value=growth,
        threshold=float(params.corrected_count),
        window_s=params.corrected_window_s,
        device=name,
    )
    return Finding(_alarm("corrected", name, seen, reason))


def judge_brake(params: HardwareSettings, name: str, seen: Counters, _: Alarm | None) -> Finding:
    """What the power brake says: one that lasts fires, one that is off is calm."""
    lasted_s = (seen.seen_ns - seen.brake_ns) / NS
    if seen.seen_ns - seen.braked_ns > params.brake_gap_s * NS:
        return Finding(calm=True)
    if lasted_s < params.brake_after_s:
        return Finding(calm=False)
    reason = Reason(
        metric="power_brake_s",
        value=round(lasted_s, 1),
        threshold=params.brake_after_s,
        unit="s",
        device=name,
    )
    return Finding(_alarm("brake", name, seen, reason, params.brake_pace_ratio))


def _alarm(rule: str, name: str, seen: Counters, reason: Reason, pace: float = 0.0) -> Alarm:
    return Alarm(rule=rule, device=name, since_ns=seen.seen_ns, pace=pace, because=(reason,))

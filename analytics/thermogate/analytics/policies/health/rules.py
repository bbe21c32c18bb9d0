"""The rules of the health policy: which signal, which bounds, which state."""

from typing import NamedTuple

from thermogate.analytics.config import HealthSettings
from thermogate.analytics.policies.alarms import Alarm, Patience
from thermogate.core.decision import Reason, State
from thermogate.core.gate_messages import DeviceSignals

RULES = ("repair_severity", "incoherence", "overload")
"""Gravest first. A rule has the name of its signal."""
STATES: dict[str, State] = {
    "repair_severity": State.REPAIR,
    "incoherence": State.SYNC,
    "overload": State.HOLD,
}


class Bounds(NamedTuple):
    """When a rule fires, and when it is calm: above `bound` for `for_s`, at `release` or less for
    `release_s`."""

    bound: float
    release: float
    for_s: float
    patience: Patience


def bounds(params: HealthSettings, rule: str) -> Bounds:
    """The bounds of a rule."""
    match rule:
        case "repair_severity":
            patience = Patience(params.severity_release_s, params.severity_stale_s)
            return Bounds(params.severity_bound, params.severity_release, params.severity_for_s, patience)
        case "incoherence":
            patience = Patience(params.incoherence_release_s, params.stale_s)
            return Bounds(
                params.incoherence_bound, params.incoherence_release, params.incoherence_for_s, patience
            )
        case _:
            patience = Patience(params.overload_release_s, params.stale_s)
            return Bounds(params.overload_bound, params.overload_release, params.overload_for_s, patience)


def value_of(signals: DeviceSignals, rule: str) -> float | None:
    """The signal that a rule looks at."""
    match rule:
        case "repair_severity":
            return signals.repair_severity
        case "incoherence":
            return signals.incoherence
        case _:
            return signals.overload


def alarm(params: HealthSettings, rule: str, signals: DeviceSignals, now_ns: int) -> Alarm:
    """The alarm of a rule that fires on these signals."""
    value, limits = value_of(signals, rule) or 0.0, bounds(params, rule)
    because = [_reason(rule, value, limits.bound, limits.for_s, signals.device)]
    if rule == "overload" and signals.volatility:
        # What would be allowed at this load and headroom; with it the load over headroom can be told.
        allowed = signals.volatility * (limits.bound / value) ** 0.5
        because.append(_reason("volatility", signals.volatility, allowed, limits.for_s, signals.device))
    pace = {State.REPAIR: 0.0, State.SYNC: 1.0}.get(STATES[rule], params.overload_pace)
    return Alarm(rule=rule, device=signals.device, since_ns=now_ns, pace=pace, because=tuple(because))


def _reason(metric: str, value: float, threshold: float, window_s: float, device: str) -> Reason:
    return Reason(
        metric=metric, value=round(value, 3), threshold=round(threshold, 3), window_s=window_s, device=device
    )

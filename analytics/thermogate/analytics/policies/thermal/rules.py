"""The rules of slowdown, heat and collapse: when they fire, at what pace, when they are calm."""

import math

from msgspec.structs import replace

from thermogate.analytics.config import ThermalSettings
from thermogate.analytics.policies.alarms import NOTHING, Alarm, Finding
from thermogate.analytics.policies.thermal.evidence import (
    Device,
    Heat,
    collapses,
    heat,
    is_sparse,
    loaded_ratio,
    margin_c,
    slowed_ratio,
)
from thermogate.core.decision import Reason


def may_fire(params: ThermalSettings, device: Device) -> bool:
    """The quick question of a healthy device: whether a rule may fire on its newest sample at all."""
    if device.readings and device.readings[-1].slowed:
        return True
    if device.began_ns and device.began_ns[-1] == device.seen_ns:
        return True
    margin = margin_c(device)
    return margin is not None and margin <= params.heat_near_c


def judge_slowdown(
    params: ThermalSettings, name: str, device: Device, *, watched: bool, now_ns: int
) -> Finding:
    """What a device says that slows itself down for heat: under load, for a share of the window.

    `watched`: an alarm stands, and is to be judged also while the device runs freely.
    """
    if not watched and not (device.readings and device.readings[-1].slowed):
        return NOTHING
    slowed = slowed_ratio(params, device)
    if slowed is None:
        return NOTHING
    if slowed < params.slow_share:
        return Finding(calm=slowed == 0)
    if loaded_ratio(device) < params.load_share:
        return Finding(calm=False)
    measured = heat(params, device)
    reason = Reason(
        metric="slowed_ratio",
        value=round(slowed, 3),
        threshold=params.slow_share,
        unit="ratio",
        window_s=params.heat_window_s,
        device=name,
    )
    asked = pace(params, measured, device.power_ratio) if measured else params.pace_most_ratio
    return Finding(Alarm(rule="slowdown", device=name, since_ns=now_ns, pace=asked, because=(reason,)))


def judge_heat(params: ThermalSettings, name: str, device: Device, *, watched: bool, now_ns: int) -> Finding:
    """What the heat of a device says. `watched`: an alarm stands, and is to be judged at any margin."""
    margin = margin_c(device)
    if margin is None or (not watched and margin > params.heat_near_c):
        return NOTHING
    measured = heat(params, device)
    if measured is None:
        # It is there, but the window has still to fill. Sampled too seldom, it never will.
        hopeless = margin >= params.heat_release_c and is_sparse(params, device)
        return NOTHING if hopeless else Finding(calm=False)
    because = _heat_reasons(params, name, measured)
    if not because:
        return Finding(calm=_is_cool(params, measured))
    asked = pace(params, measured, device.power_ratio)
    return Finding(Alarm(rule="heat", device=name, since_ns=now_ns, pace=asked, because=because))


def judge_collapse(params: ThermalSettings, name: str, device: Device, *, now_ns: int) -> Finding:
    """What the collapses of a device say; it fires when one begins and there were enough before it."""
    if device.collapse_ns != device.seen_ns:
        return NOTHING
    begins = bool(device.began_ns) and device.began_ns[-1] == device.seen_ns
    count = collapses(params, device) if begins else 0
    if count < params.collapse_count:
        return Finding(calm=not device.collapsing)
    reason = Reason(
        metric="collapse",
        value=float(count),
        threshold=float(params.collapse_count),
        window_s=params.collapse_window_s,
        device=name,
    )
    measured = heat(params, device)
    asked = pace(params, measured, device.power_ratio) if measured else params.pace_most_ratio
    return Finding(Alarm(rule="collapse", device=name, since_ns=now_ns, pace=asked, because=(reason,)))


def pace(params: ThermalSettings, measured: Heat, power_ratio: float | None) -> float:
    """The share of full power at which the device would settle `pace_margin_c` below its limit.

    At rest the rise above the air is proportional to power (one thermal resistance). Where the
    temperature goes is taken as where it would be in `heat_time_s` at the present rate; power must
    come down by the ratio of the two rises, from what is drawn now (full power if not measured).
    """
    goes_to_c = measured.temp_c + max(0.0, measured.rate_c_per_s) * params.heat_time_s
    rise_c = goes_to_c - params.pace_ambient_c
    allowed_c = measured.limit_c - params.pace_margin_c - params.pace_ambient_c
    ratio = allowed_c / rise_c if rise_c > 0 else 1.0
    drawn = 1.0 if power_ratio is None else min(power_ratio, 1.0)
    steps = math.floor(drawn * ratio / params.pace_step_ratio + 1e-9)
    asked = round(steps * params.pace_step_ratio, 6)
    return min(max(asked, params.pace_least_ratio), params.pace_most_ratio)


def release_reasons(params: ThermalSettings, alarm: Alarm, device: Device | None) -> tuple[Reason, ...]:
    """The numbers that release `alarm` now; none when it lets go for want of evidence."""
    if alarm.calm_since_ns == 0:
        return ()
    if alarm.rule != "heat":
        return tuple(replace(reason, value=0.0, since_ns=alarm.calm_since_ns) for reason in alarm.because)
    measured = heat(params, device) if device else None
    if measured is None:
        return ()
    cool_c = measured.limit_c - params.heat_release_c
    return (
        _time_reason(params, alarm.device, measured.time_s, params.heat_release_time_s),
        _temp_reason(params, alarm.device, measured.temp_c, cool_c),
    )


def _heat_reasons(params: ThermalSettings, name: str, measured: Heat) -> tuple[Reason, ...]:
    if measured.loaded_ratio < params.load_share:
        return ()
    near_c = measured.limit_c - params.heat_near_c
    if measured.temp_c >= near_c and measured.time_s < params.heat_time_s:
        return (
            _time_reason(params, name, measured.time_s, params.heat_time_s),
            _temp_reason(params, name, measured.temp_c, near_c),
        )
    at_limit_c = measured.limit_c - params.heat_at_limit_c
    if measured.median_c >= at_limit_c:
        return (_temp_reason(params, name, measured.median_c, at_limit_c),)
    return ()


def _is_cool(params: ThermalSettings, measured: Heat) -> bool:
    far_enough = measured.limit_c - measured.temp_c >= params.heat_release_c
    return far_enough and measured.time_s > params.heat_release_time_s


def _time_reason(params: ThermalSettings, name: str, time_s: float, threshold_s: float) -> Reason:
    return Reason(
        metric="time_to_limit_s",
        value=round(time_s, 1),
        threshold=threshold_s,
        unit="s",
        window_s=params.heat_window_s,
        device=name,
    )


def _temp_reason(params: ThermalSettings, name: str, temp_c: float, threshold_c: float) -> Reason:
    return Reason(
        metric="temp_c",
        value=temp_c,
        threshold=threshold_c,
        unit="degC",
        window_s=params.heat_window_s,
        device=name,
    )

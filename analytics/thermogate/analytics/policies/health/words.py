"""The sentences of the health policy: made of an alarm's numbers alone, so that they survive a restart."""

from collections.abc import Sequence

from thermogate.analytics.config import HealthSettings
from thermogate.analytics.policies.alarms import Alarm
from thermogate.analytics.policies.health.rules import bounds
from thermogate.core.clock import NS
from thermogate.core.decision import Cjp, Reason

NOTHING_SAID = "nothing stands against running"
_TOLD = 3
"""Alarms that a path spells out; with more, a person reads `because`."""


def why(alarms: Sequence[Alarm], pace: float) -> str:
    """What is the matter, gravest first, and what to do about it."""
    first = alarms[0]
    others = dict.fromkeys(stands.device for stands in alarms if stands.device != first.device)
    also = f" (also {', '.join(others)})" if others else ""
    return f"{_matter(first)}{also}: {_advice(first, pace)}"


def cjp(params: HealthSettings, alarms: Sequence[Alarm]) -> Cjp:
    """The conflict and justification of the gravest alarm, and the way out of all of them."""
    first = alarms[0]
    paths = [_path(params, stands) for stands in alarms[:_TOLD]]
    if len(alarms) > _TOLD:
        paths.append(f"the same for {len(alarms) - _TOLD} more")
    return Cjp(_conflict(first), _JUSTIFY[first.rule], f"RUN when {', and '.join(paths)}")


def cleared(params: HealthSettings, was: Alarm, value: float | None, now_ns: int) -> str:
    """What has cleared; `value` is the signal now, None when it has not been there for long."""
    limits = bounds(params, was.rule)
    if value is None:
        return (
            f"the {_NAMES[was.rule]} of {was.device} has not been known for {limits.patience.stale_s:.0f} s"
        )
    calm_s = (now_ns - was.calm_since_ns) / NS
    return (
        f"the {_NAMES[was.rule]} of {was.device} is {value:.2f} and has been {limits.release:g} or less "
        f"for {calm_s:.0f} s (RUN at {limits.patience.release_s:.0f} s)"
    )


def release_reasons(params: HealthSettings, was: Alarm, value: float | None) -> tuple[Reason, ...]:
    """The number that releases `was` now; none when it lets go for want of its signal."""
    if value is None:
        return ()
    limits = bounds(params, was.rule)
    return (
        Reason(
            metric=was.rule,
            value=round(value, 3),
            threshold=limits.release,
            window_s=limits.patience.release_s,
            device=was.device,
            since_ns=was.calm_since_ns,
        ),
    )


_NAMES = {
    "repair_severity": "repair severity",
    "incoherence": "pacing incoherence",
    "overload": "overload",
}


def _matter(stands: Alarm) -> str:
    because = stands.because[0]
    match stands.rule:
        case "repair_severity":
            return (
                f"{stands.device} runs {because.value:.0%} hotter above the air than at this load when "
                f"healthy (REPAIR above {because.threshold:.0%} for {because.window_s:.0f} s)"
            )
        case "incoherence":
            return (
                f"{stands.device} is out of step with its job: its power is {because.value:.0%} off what is "
                f"usual at the job's pace (SYNC above {because.threshold:.0%} for {because.window_s:.0f} s)"
            )
        case _:
            return f"{stands.device} is in overload, {_overload(stands)}"


def _overload(stands: Alarm) -> str:
    numbers = {reason.metric: reason for reason in stands.because}
    over = stands.because[0]
    bound = f"(HOLD above {over.threshold:g} for {over.window_s:.0f} s)"
    if "volatility" not in numbers or not numbers["volatility"].value:
        return f"{over.value:.2f} {bound}"
    varies = numbers["volatility"].value
    return (
        f"{over.value:.2f} {bound}, as its efficiency (RLE) varies by {varies:.0%} of its usual level at a "
        f"load of {over.value / varies**2:.1f} times its thermal headroom"
    )


def _advice(first: Alarm, pace: float) -> str:
    match first.rule:
        case "repair_severity":
            return "drain this node, then look at the fan, the heat sink and the air before it"
        case "incoherence":
            return "keep what runs here, and see whether it is slowed down, waits for data, or has other work"
        case _:
            return f"start nothing new here, keep to {pace:g} of full power and look at the cooling"


def _conflict(first: Alarm) -> str:
    match first.rule:
        case "repair_severity":
            return f"the load on {first.device} is what it was, its temperature is not"
        case "incoherence":
            return f"the other devices of the job go on as usual, {first.device} does not"
        case _:
            return f"the load on {first.device} goes on, its efficiency is unsteady and its headroom short"


_JUSTIFY = {
    "repair_severity": "a cooler that has become worse does not heal by waiting; a pause only hides it",
    "incoherence": "power alone does not tell a slow device from one with other work, so nothing is changed",
    "overload": "an unsteady load near the limit is what ends in slowdowns; less power now costs less",
}


def _path(params: HealthSettings, stands: Alarm) -> str:
    limits = bounds(params, stands.rule)
    text = (
        f"the {_NAMES[stands.rule]} of {stands.device} has been {limits.release:g} or less for "
        f"{limits.patience.release_s:.0f} s on end"
    )
    if stands.rule == "repair_severity":
        return (
            f"{text} (only time under load counts: mend it, then run a burn-in, or take it back as operator)"
        )
    return text

"""The sentences of the thermal policy: made of an alarm's numbers alone, so that they survive a restart."""

from collections.abc import Sequence

from thermogate.analytics.config import ThermalSettings
from thermogate.analytics.policies.thermal.alarms import Alarm, Rule
from thermogate.analytics.policies.thermal.faults import ALL_GPUS
from thermogate.core.clock import NS
from thermogate.core.decision import Cjp, Reason

NOTHING_SAID = "nothing stands against running"
_TOLD = 3
"""Alarms that a path spells out; with more, a person reads `because`."""


def why(params: ThermalSettings, alarms: Sequence[Alarm], pace: float) -> str:
    """What is the matter, gravest first, and what to do about it."""
    first = alarms[0]
    others = dict.fromkeys(_the(alarm) for alarm in alarms if alarm.device != first.device)
    also = f" (also {', '.join(others)})" if others else ""
    return f"{_matter(params, first)}{also}: {_advice(first, pace)}"


def cjp(params: ThermalSettings, alarms: Sequence[Alarm]) -> Cjp:
    """The conflict and justification of the gravest alarm, and the way out of all of them."""
    first = alarms[0]
    paths = [_path(params, alarm) for alarm in alarms[:_TOLD]]
    if len(alarms) > _TOLD:
        paths.append(f"the same for {len(alarms) - _TOLD} more")
    return Cjp(_conflict(first), _JUSTIFY[first.rule], f"RUN when {', and '.join(paths)}")


def cleared(params: ThermalSettings, alarm: Alarm, because: Sequence[Reason], now_ns: int) -> str:
    """What has cleared. `because` are the numbers now; there are none when nothing was sent."""
    the = _the(alarm)
    if not because:
        return f"{the} has sent nothing to judge it by for {params.stale_s:.0f} s"
    calm_s = (now_ns - alarm.calm_since_ns) / NS
    match alarm.rule:
        case "lost" | "hung":
            return f"{the} has answered for {calm_s:.0f} s (RUN at {params.fault_release_s:.0f} s)"
        case "collapse":
            return f"{the} has not collapsed for {calm_s:.0f} s (RUN at {params.collapse_release_s:.0f} s)"
        case "heat":
            temp = next(reason for reason in because if reason.metric == "temp_c")
            limit_c = temp.threshold + params.heat_release_c
            return (
                f"{the} is at {temp.value:g} C and has kept at least {params.heat_release_c:g} C and "
                f"{params.heat_release_time_s:.0f} s from its limit of {limit_c:g} C for {calm_s:.0f} s "
                f"(RUN at {params.heat_release_s:.0f} s)"
            )


def _matter(params: ThermalSettings, alarm: Alarm) -> str:
    the, numbers = _the(alarm), {reason.metric: reason for reason in alarm.because}
    match alarm.rule:
        case "lost":
            lost = alarm.because[0]
            return f"{the} has been lost for {lost.value:.0f} s (REPAIR after {lost.threshold:.0f} s)"
        case "hung":
            hung = alarm.because[0]
            return f"{the} has not answered for {hung.value:.0f} s (REPAIR after {hung.threshold:.0f} s)"
        case "collapse":
            count = alarm.because[0]
            return (
                f"{the} collapsed {count.value:.0f} times in {count.window_s:.0f} s "
                f"(HOLD at {count.threshold:.0f}), its efficiency falling as it heats"
            )
        case "heat" if "time_to_limit_s" in numbers:
            return _heating(params, the, numbers["temp_c"], numbers["time_to_limit_s"])
        case "heat":
            return _at_limit(params, the, numbers["temp_c"])


def _heating(params: ThermalSettings, the: str, temp: Reason, time: Reason) -> str:
    limit_c = temp.threshold + params.heat_near_c
    return (
        f"{the} is at {temp.value:g} C and would reach its limit of {limit_c:g} C in {time.value:.0f} s "
        f"at its rate over {time.window_s:.0f} s (HOLD below {time.threshold:.0f} s)"
    )


def _at_limit(params: ThermalSettings, the: str, temp: Reason) -> str:
    limit_c = temp.threshold + params.heat_at_limit_c
    return (
        f"{the} works at {temp.value:g} C (median of {temp.window_s:.0f} s) with its limit at {limit_c:g} C "
        f"(HOLD from {temp.threshold:g} C)"
    )


def _advice(first: Alarm, pace: float) -> str:
    match first.rule:
        case "lost":
            return f"drain this node, then reset or replace {_the(first)}"
        case "hung":
            return "drain this node, then reload the driver or reboot"
        case "heat" | "collapse":
            return f"start nothing new here, keep to {pace:g} of full power and look at the cooling"


def _conflict(alarm: Alarm) -> str:
    the = _the(alarm)
    match alarm.rule:
        case "lost":
            return f"the node sends its samples, {the} is not in them"
        case "hung":
            return f"the node sends its samples, {the} does not answer"
        case "collapse":
            return f"the load on {the} asks for full speed, its heat does not allow it"
        case "heat":
            return f"the load on {the} goes on, the way to its temperature limit is short"


_JUSTIFY: dict[Rule, str] = {
    "lost": "work on this node fails or waits for a device that is not there, and waiting does not heal it",
    "hung": "nothing can start or stop on a driver that hangs, and waiting does not heal it",
    "collapse": "each collapse costs more than a pause; a device that cools does not need REPAIR",
    "heat": "at its limit the device slows itself down and its job with it; a pause now costs less",
}


def _path(params: ThermalSettings, alarm: Alarm) -> str:
    the = _the(alarm)
    match alarm.rule:
        case "lost" | "hung":
            return f"{the} has answered for {params.fault_release_s:.0f} s on end"
        case "collapse":
            return f"{the} has not collapsed for {params.collapse_release_s:.0f} s"
        case "heat":
            return (
                f"{the} has kept at least {params.heat_release_c:g} C and "
                f"{params.heat_release_time_s:.0f} s from its limit for {params.heat_release_s:.0f} s on end"
            )


def _the(alarm: Alarm) -> str:
    if alarm.rule == "hung":
        return "the GPU driver" if alarm.device == ALL_GPUS else f"the driver of {alarm.device}"
    return "a GPU" if alarm.device == ALL_GPUS else alarm.device

"""The sentences of the thermal policy."""

from collections.abc import Mapping

from thermogate.analytics.config import ThermalSettings
from thermogate.analytics.policies.alarms import Alarm, Patience
from thermogate.analytics.policies.thermal.evidence import Device
from thermogate.analytics.policies.thermal.rules import release_reasons
from thermogate.core.clock import NS
from thermogate.core.decision import Reason, State

_GRAVITY = ("slowdown", "heat", "collapse")
_JUSTIFY = {
    "slowdown": "slowed down by its heat it holds up its whole job; less work lets it run evenly",
    "heat": "at its limit the device slows itself down and its job with it; a pause now costs less",
    "collapse": "each collapse costs more than a pause; a device that cools does not need REPAIR",
}


class ThermalVoice:
    """`policies.standing.Voice` of the thermal policy. `devices` are those after the newest samples."""

    def __init__(self, params: ThermalSettings, devices: Mapping[str, Device]) -> None:
        self._params = params
        self._devices = devices

    def gravity(self, alarm: Alarm, /) -> int:
        """Slowing down, then heating, then collapses."""
        return _GRAVITY.index(alarm.rule)

    def state(self, _alarm: Alarm, /) -> State:
        """Heat always calls for HOLD."""
        return State.HOLD

    def patience(self, alarm: Alarm, /) -> Patience:
        """Each rule has a release time of its own; without samples all let go."""
        params = self._params
        release_s = {
            "slowdown": params.slow_release_s,
            "heat": params.heat_release_s,
            "collapse": params.collapse_release_s,
        }
        return Patience(release_s[alarm.rule], params.stale_s)

    def the(self, alarm: Alarm, /) -> str:
        """The device."""
        return alarm.device

    def matter(self, alarm: Alarm, /) -> str:
        """What is measured of its heat."""
        first = alarm.because[0]
        if alarm.rule == "slowdown":
            return (
                f"{alarm.device} slowed itself down for heat in {first.value:.0%} of the last "
                f"{first.window_s:.0f} s under load (HOLD from {first.threshold:.0%})"
            )
        if alarm.rule == "collapse":
            return (
                f"{alarm.device} collapsed {first.value:.0f} times in {first.window_s:.0f} s "
                f"(HOLD at {first.threshold:.0f}), its efficiency falling as it heats"
            )
        numbers = {reason.metric: reason for reason in alarm.because}
        temp, time = numbers["temp_c"], numbers.get("time_to_limit_s")
        return self._at_limit(alarm, temp) if time is None else self._heating(alarm, temp, time)

    def advice(self, _alarm: Alarm, pace: float, /) -> str:
        """Less work, and a look at the cooling."""
        return f"start nothing new here, keep to {pace:g} of full power and look at the cooling"

    def conflict(self, alarm: Alarm, /) -> str:
        """The load against the heat."""
        match alarm.rule:
            case "slowdown":
                return (
                    f"the load on {alarm.device} asks for full speed, the device slows itself down for heat"
                )
            case "collapse":
                return f"the load on {alarm.device} asks for full speed, its heat does not allow it"
            case _:
                return f"the load on {alarm.device} goes on, the way to its temperature limit is short"

    def justify(self, alarm: Alarm, /) -> str:
        """Why a pause."""
        return _JUSTIFY[alarm.rule]

    def path(self, alarm: Alarm, /) -> str:
        """Cool for long enough."""
        params = self._params
        match alarm.rule:
            case "slowdown":
                said = f"not slowed itself down for heat for {params.slow_release_s:.0f} s on end"
                return f"{alarm.device} has {said}"
            case "collapse":
                return f"{alarm.device} has not collapsed for {params.collapse_release_s:.0f} s"
            case _:
                return (
                    f"{alarm.device} has kept at least {params.heat_release_c:g} C and "
                    f"{params.heat_release_time_s:.0f} s from its limit for "
                    f"{params.heat_release_s:.0f} s on end"
                )

    def cleared(self, alarm: Alarm, now_ns: int, /) -> tuple[str, tuple[Reason, ...]]:
        """The numbers now; none when nothing more was sent."""
        params, the = self._params, alarm.device
        because = release_reasons(params, alarm, self._devices.get(the))
        if not because:
            return f"{the} has sent nothing to judge it by for {params.stale_s:.0f} s", ()
        calm_s = (now_ns - alarm.calm_since_ns) / NS
        match alarm.rule:
            case "slowdown":
                said = f"not slowed itself down for heat for {calm_s:.0f} s"
                return f"{the} has {said} (RUN at {params.slow_release_s:.0f} s)", because
            case "collapse":
                said = f"not collapsed for {calm_s:.0f} s (RUN at {params.collapse_release_s:.0f} s)"
                return f"{the} has {said}", because
        temp = next(reason for reason in because if reason.metric == "temp_c")
        limit_c = temp.threshold + params.heat_release_c
        return (
            f"{the} is at {temp.value:g} C and has kept at least {params.heat_release_c:g} C and "
            f"{params.heat_release_time_s:.0f} s from its limit of {limit_c:g} C for {calm_s:.0f} s "
            f"(RUN at {params.heat_release_s:.0f} s)"
        ), because

    def _heating(self, alarm: Alarm, temp: Reason, time: Reason) -> str:
        limit_c = temp.threshold + self._params.heat_near_c
        over_c = temp.value - limit_c
        if over_c >= 0:
            where = f"{over_c:g} C above its limit" if over_c > 0 else "at its limit"
            return (
                f"{alarm.device} is at {temp.value:g} C under load, {where} of {limit_c:g} C "
                f"(HOLD when less than {time.threshold:.0f} s from it)"
            )
        return (
            f"{alarm.device} is at {temp.value:g} C and would reach its limit of {limit_c:g} C "
            f"in {time.value:.0f} s at its rate over {time.window_s:.0f} s "
            f"(HOLD below {time.threshold:.0f} s)"
        )

    def _at_limit(self, alarm: Alarm, temp: Reason) -> str:
        limit_c = temp.threshold + self._params.heat_at_limit_c
        return (
            f"{alarm.device} works at {temp.value:g} C (median of {temp.window_s:.0f} s) with its limit at "
            f"{limit_c:g} C (HOLD from {temp.threshold:g} C)"
        )

"""The sentences of the hardware policy."""

import math
from collections.abc import Mapping

from msgspec.structs import replace

from thermogate.analytics.config import HardwareSettings
from thermogate.analytics.policies.alarms import Alarm, Patience
from thermogate.analytics.policies.hardware.counters import Counters
from thermogate.analytics.policies.hardware.faults import ALL_GPUS
from thermogate.analytics.policies.hardware.xids import BY_RULE, GRAVEST
from thermogate.core.clock import NS
from thermogate.core.decision import Reason, State

_GRAVITY = ("lost", "hung", *GRAVEST, "uncorrected", "corrected", "brake")
_JUSTIFY = {
    "lost": "work on this node fails or waits for a device that is not there, and waiting does not heal it",
    "hung": "nothing can start or stop on a driver that hangs, and waiting does not heal it",
    "replace": "neither waiting nor a reset heals it, and every job here may meet it again",
    "inspect": "no software heals it",
    "reboot": "the driver cannot bring the GPU back by itself",
    "reset": "the GPU works wrongly, slowly or not at all until it is reset, which needs it empty",
    "uncorrected": "the bad memory stays in use until a reset; a job that meets it again has lost its work",
    "corrected": "nothing is wrong yet, so work may end; the next error of that cell may be uncorrectable",
    "brake": "slowed down it holds up its whole job; a feed that is overloaded heals with less load",
}


class HardwareVoice:
    """`policies.standing.Voice` of the hardware policy. `counters` are those after the newest samples."""

    def __init__(self, params: HardwareSettings, counters: Mapping[str, Counters]) -> None:
        self._params = params
        self._counters = counters

    def gravity(self, alarm: Alarm, /) -> int:
        """Losses, then XIDs by what they need, then memory errors, then the power brake."""
        return _GRAVITY.index(_kind(alarm))

    def state(self, alarm: Alarm, /) -> State:
        """All but a power brake call for REPAIR."""
        return State.HOLD if alarm.rule == "brake" else State.REPAIR

    def patience(self, alarm: Alarm, /) -> Patience:
        """Nothing lets go for want of evidence, except a brake: what is broken stays broken unseen."""
        params, rule = self._params, alarm.rule
        if rule == "brake":
            return Patience(params.brake_release_s, params.away_s)
        if rule in ("lost", "hung"):
            return Patience(params.answered_s, math.inf)
        seen = self._counters.get(alarm.device)
        if rule == "corrected" and not (seen and seen.anew_ns > alarm.since_ns):
            return Patience(params.corrected_release_s, math.inf)
        return Patience(params.clean_s, math.inf)

    def the(self, alarm: Alarm, /) -> str:
        """The GPU, or its driver."""
        if alarm.rule == "hung":
            return "the GPU driver" if alarm.device == ALL_GPUS else f"the driver of {alarm.device}"
        return "a GPU" if alarm.device == ALL_GPUS else alarm.device

    def matter(self, alarm: Alarm, /) -> str:
        """What happened to it."""
        the, first = self.the(alarm), alarm.because[0]
        match alarm.rule:
            case "lost":
                return f"{the} has been lost for {first.value:.0f} s (REPAIR after {first.threshold:.0f} s)"
            case "hung":
                return (
                    f"{the} has not answered for {first.value:.0f} s (REPAIR after {first.threshold:.0f} s)"
                )
            case "uncorrected":
                errors = _counted(first.value, "memory error")
                return (
                    f"{the} has had {errors} that ECC could not correct (REPAIR from {first.threshold:.0f})"
                )
            case "corrected":
                return (
                    f"ECC corrected {first.value:.0f} memory errors of {the} within {first.window_s:.0f} s "
                    f"(REPAIR from {first.threshold:.0f})"
                )
            case "brake":
                return (
                    f"{the} has been held down by an external power brake for {first.value:.0f} s "
                    f"(HOLD after {first.threshold:.0f} s)"
                )
        xid, number = BY_RULE[alarm.rule], alarm.rule.removeprefix("xid")
        if xid.repeats:
            counted = f"{first.value:.0f} times in {first.window_s:.0f} s (REPAIR from {first.threshold:.0f})"
            return f"{the} reported XID {number} {counted}, {xid.meaning}"
        return f"{the} reported XID {number}, {xid.meaning}"

    def advice(self, alarm: Alarm, pace: float, /) -> str:
        """What to do about it."""
        the = self.the(alarm)
        match _kind(alarm):
            case "lost":
                return f"drain this node, then reset or replace {the}"
            case "hung":
                return "drain this node, then reload the driver or reboot"
            case "replace":
                return f"drain this node and have {the} replaced"
            case "inspect":
                return f"drain this node, switch it off and look at the power cables of {the}"
            case "reboot":
                return f"drain this node and reboot it; if it comes again, have {the} replaced"
            case "uncorrected" | "corrected":
                return f"drain this node, then reset {the} or reboot"
            case "brake":
                return (
                    f"start nothing new here, keep to {pace:g} of full power and look at the power supplies "
                    "and the feed of this node"
                )
            case _:
                return f"drain this node, then reset {the} (nvidia-smi --gpu-reset) or reboot"

    def conflict(self, alarm: Alarm, /) -> str:
        """What is there against what is reported."""
        the = self.the(alarm)
        match alarm.rule:
            case "lost":
                return f"the node sends its samples, {the} is not in them"
            case "hung":
                return f"the node sends its samples, {the} does not answer"
            case "uncorrected" | "corrected":
                return f"{the} does its work, its memory is failing"
            case "brake":
                return f"the load on {the} asks for full speed, the supply does not give the power"
            case _:
                return f"{the} is given work, its driver says that it is not fit for it"

    def justify(self, alarm: Alarm, /) -> str:
        """Why it is taken out."""
        return _JUSTIFY[_kind(alarm)]

    def path(self, alarm: Alarm, /) -> str:
        """What must be observed."""
        params, the = self._params, self.the(alarm)
        gone = "another GPU is in its place"
        reset = f"{the} was reset (its counters began anew) and has been well for {params.clean_s:.0f} s"
        match _kind(alarm):
            case "lost":
                return f"{the} has answered for {params.answered_s:.0f} s on end, or {gone}"
            case "hung":
                return f"{the} has answered for {params.answered_s:.0f} s on end"
            case "replace":
                return f"{gone}, and has been well for {params.clean_s:.0f} s"
            case "brake":
                return f"{the} has not been braked for {params.brake_release_s:.0f} s on end"
            case "corrected":
                return f"{reset}, or had fewer for {params.corrected_release_s:.0f} s"
            case _:
                return reset

    def cleared(self, alarm: Alarm, now_ns: int, /) -> tuple[str, tuple[Reason, ...]]:
        """What says that it is over."""
        params, the = self._params, self.the(alarm)
        if alarm.calm_since_ns == 0:
            return f"{the} has sent nothing to judge it by for {params.away_s:.0f} s", ()
        calm_s = (now_ns - alarm.calm_since_ns) / NS
        because = tuple(replace(reason, value=0.0, since_ns=alarm.calm_since_ns) for reason in alarm.because)
        release_s = self.patience(alarm).release_s
        match _kind(alarm):
            case "lost":
                said = "has answered, or another GPU has in its place,"
            case "hung":
                said = "has answered"
            case "brake":
                said = "has not been braked"
            case "replace":
                said = "has another GPU in its place, which has been well"
            case "corrected" if release_s != params.clean_s:
                said = f"has had fewer than {params.corrected_count} corrected memory errors a window"
            case _:
                said = "was reset and has been well"
        return f"{the} {said} for {calm_s:.0f} s (RUN at {release_s:.0f} s)", because


def _kind(alarm: Alarm) -> str:
    """The rule, or what the XID needs."""
    xid = BY_RULE.get(alarm.rule)
    return xid.remedy if xid else alarm.rule


def _counted(count: float, what: str) -> str:
    return f"{count:.0f} {what}{'' if count == 1 else 's'}"

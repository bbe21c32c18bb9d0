"""The sentences of the consistency policy."""

from thermogate.analytics.config import ConsistencySettings
from thermogate.analytics.policies.alarms import Alarm, Patience
from thermogate.core.clock import NS
from thermogate.core.decision import Reason, State

_GRAVITY = ("range", "jump", "stuck", "far", "over", "busy", "apart")
_CONFLICT = {
    "range": "the thermometer of {the} against what silicon can have",
    "jump": "the thermometer of {the} against how fast heat can flow",
    "stuck": "the thermometer of {the} against its power",
    "far": "the slowdown of {the} for heat against its own thermometer",
    "over": "the power of {the} against the limit that it keeps",
    "busy": "the utilization of {the} against its power and clock",
    "apart": "the stamps of the devices of one message against one another",
}
_GONE = {
    "range": "reads a temperature that it can have",
    "jump": "has followed its load without a jump",
    "stuck": "reads a temperature that moves",
    "far": "slows down for heat near its limit only",
    "over": "draws no more than its limit allows",
    "busy": "has power and clocks that fit its utilization",
    "apart": "stamps that agree",
}


class ConsistencyVoice:
    """`policies.standing.Voice` of the consistency policy."""

    def __init__(self, params: ConsistencySettings) -> None:
        self._params = params

    def gravity(self, alarm: Alarm, /) -> int:
        """Thermometers first: most decisions rest on them."""
        return _GRAVITY.index(alarm.rule)

    def state(self, _alarm: Alarm, /) -> State:
        """Nothing is decided of signals that disagree."""
        return State.SYNC

    def patience(self, alarm: Alarm, /) -> Patience:
        """The contradiction has to be gone for a while."""
        params = self._params
        return Patience(params.jump_release_s if alarm.rule == "jump" else params.release_s, params.stale_s)

    def the(self, alarm: Alarm, /) -> str:
        """The device, or the node."""
        return alarm.device or "this node"

    def matter(self, alarm: Alarm, /) -> str:
        """The signals and by how much they disagree."""
        the, first = self.the(alarm), alarm.because[0]
        value, threshold, window_s = first.value, first.threshold, first.window_s
        match alarm.rule:
            case "range":
                side = "below" if value < threshold else "above"
                return f"{the} reads {value:g} C for {window_s:.0f} s (SYNC {side} {threshold:g} C)"
            case "jump":
                said = f"jumped by {value:+g} C within {window_s:g} s and stayed"
                return f"the temperature of {the} {said} (SYNC above {threshold:g} C)"
            case "stuck":
                moved = alarm.because[-1]
                return (
                    f"the temperature of {the} has not moved for {value:.0f} s while its power moved by "
                    f"{moved.value:.0%} of its limit (SYNC after {threshold:.0f} s at {moved.threshold:.0%})"
                )
            case "far":
                said = f"for {window_s:.0f} s that it slows down for heat"
                return f"{the} says {said}, {value:g} C below its limit (SYNC from {threshold:g} C)"
            case "over":
                said = f"{value:.2f} times its power limit for {window_s:.0f} s"
                return f"{the} reads {said} (SYNC above {threshold:g})"
            case "busy":
                said = f"at the clock of an idle GPU and {value:.0%} of its power limit"
                return f"{the} says for {window_s:.0f} s that it is busy, {said} (SYNC below {threshold:.0%})"
            case _:
                said = f"stamped {value:.0f} s apart in one message for {window_s:.0f} s"
                return f"devices of this node are {said} (SYNC above {threshold:.0f} s)"

    def advice(self, alarm: Alarm, _pace: float, /) -> str:
        """Nothing is to be changed; somebody has to look."""
        what = "the clock and the agent" if alarm.rule == "apart" else f"the sensors of {self.the(alarm)}"
        return f"change nothing here until they agree, and look at {what}"

    def conflict(self, alarm: Alarm, /) -> str:
        """Which signals disagree."""
        return _CONFLICT[alarm.rule].format(the=self.the(alarm))

    def justify(self, _alarm: Alarm, /) -> str:
        """Why not HOLD."""
        return "one of the signals is wrong and nobody knows which, so any decision may be wrong too"

    def path(self, alarm: Alarm, /) -> str:
        """The contradiction is gone."""
        release_s = self.patience(alarm).release_s
        if alarm.rule == "apart":
            return f"the stamps of its devices have agreed for {release_s:.0f} s on end"
        return f"{self.the(alarm)} {_GONE[alarm.rule]}, for {release_s:.0f} s on end"

    def cleared(self, alarm: Alarm, now_ns: int, /) -> tuple[str, tuple[Reason, ...]]:
        """The contradiction has gone, or its device has."""
        the = self.the(alarm)
        if alarm.calm_since_ns == 0:
            return f"{the} has sent nothing to judge it by for {self._params.stale_s:.0f} s", ()
        calm_s = (now_ns - alarm.calm_since_ns) / NS
        return f"{the} {_GONE[alarm.rule]} for {calm_s:.0f} s: its signals agree again", ()

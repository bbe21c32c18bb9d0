"""The sentences of the cooling policy."""

import math
from collections.abc import Mapping

from thermogate.analytics.config import CoolingSettings
from thermogate.analytics.policies.alarms import Alarm, Patience
from thermogate.analytics.policies.cooling.window import Device
from thermogate.core.decision import Reason, State


class CoolingVoice:
    """`policies.standing.Voice` of the cooling policy. `devices` are those after the newest samples."""

    def __init__(self, params: CoolingSettings, devices: Mapping[str, Device]) -> None:
        self._params = params
        self._devices = devices

    def gravity(self, _alarm: Alarm, /) -> int:
        """There is one rule."""
        return 0

    def state(self, _alarm: Alarm, /) -> State:
        """What is hard to cool has to be opened and cleaned: REPAIR."""
        return State.REPAIR

    def patience(self, _alarm: Alarm, /) -> Patience:
        """The release condition counts windows under load itself; idling proves nothing."""
        return Patience(0.0, math.inf)

    def the(self, alarm: Alarm, /) -> str:
        """The GPU."""
        return alarm.device

    def matter(self, alarm: Alarm, /) -> str:
        """Its resistance against that of its peers."""
        params = self._params
        own = alarm.because[0]
        peers = own.threshold / (1 + params.excess_ratio)
        told = (
            f"{alarm.device} heats up by {own.value:.3f} K a watt (median over {own.window_s:.0f} s of "
            f"load), {own.value / peers - 1:.0%} more than the {peers:.3f} K/W of its model in this fleet"
        )
        minutes = params.out_windows * params.window_s / 60
        z = next((reason.value for reason in alarm.because if reason.metric == "robust_z"), None)
        apart = f", {z:.0f} robust deviations," if z is not None and z < 1000 else ""
        return f"{told}{apart} for {minutes:.0f} min of load (REPAIR from {params.excess_ratio:.0%})"

    def advice(self, alarm: Alarm, _pace: float, /) -> str:
        """Where to look."""
        return f"drain this node and look at the fan, the heat sink and the thermal paste of {alarm.device}"

    def conflict(self, alarm: Alarm, /) -> str:
        """The same power, another temperature."""
        return f"{alarm.device} draws what its peers draw, and gets hotter by it"

    def justify(self, _alarm: Alarm, /) -> str:
        """Why it is taken out."""
        return "it loses its margin in warm hours and ages faster; waiting does not clean a heat sink"

    def path(self, alarm: Alarm, /) -> str:
        """Cool under load, or another GPU."""
        params = self._params
        minutes = params.back_windows * params.window_s / 60
        return (
            f"{alarm.device} is within {params.back_ratio:.0%} of its peers for {minutes:.0f} min of load "
            "(a burn-in serves), or it is no longer in this node"
        )

    def cleared(self, alarm: Alarm, _now_ns: int, /) -> tuple[str, tuple[Reason, ...]]:
        """Its resistance now."""
        params, device = self._params, self._devices.get(alarm.device)
        if device is None or not device.resistances:
            return f"{alarm.device} is no longer in this node", ()
        own = alarm.because[0]
        now = Reason(
            metric=own.metric,
            value=round(device.k_per_w, 4),
            threshold=round(own.threshold / (1 + params.excess_ratio) * (1 + params.back_ratio), 4),
            unit=own.unit,
            window_s=own.window_s,
            device=alarm.device,
        )
        minutes = params.back_windows * params.window_s / 60
        return (
            f"{alarm.device} is back at {now.value:.3f} K/W, within {params.back_ratio:.0%} of its peers "
            f"for {minutes:.0f} min of load"
        ), (now,)

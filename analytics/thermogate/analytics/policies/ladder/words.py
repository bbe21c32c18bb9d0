"""The sentences of the ladder."""

from collections.abc import Sequence

from thermogate.analytics.config.ladder import LadderSettings
from thermogate.analytics.policies.base import Verdict
from thermogate.analytics.policies.ladder.memory import METRICS, Rung
from thermogate.core.decision import Cjp, Reason, State

NOTHING_SAID = "nothing stands against running"
RUN = Verdict(State.RUN, 1.0, NOTHING_SAID, (), Cjp("", NOTHING_SAID, ""))
_CALLED = ("efficient", "degraded", "critical")


def slowed(params: LadderSettings, devices: Sequence[tuple[str, Rung]]) -> Verdict:
    """A node with devices on a step, the worst first."""
    name, rung = devices[0]
    below, pace = _threshold(params, rung.step), _pace(params, rung.step)
    also = f" (also {', '.join(other for other, _ in devices[1:])})" if len(devices) > 1 else ""
    measured = (
        f"is at {rung.share:.2f} of its own peak" if rung.share >= 0.0 else "was far below its own peak"
    )
    collapse = ", or after a collapse" if rung.step == 2 else ""
    why = (
        f"the efficiency (RLE) of {name} {measured} (under load, over {params.window_s:.0f} s; step "
        f"{rung.step + 1} of 4, {_CALLED[rung.step - 1]}, below {below:g}{collapse}){also}: go on at "
        f"{pace:g} of full power"
    )
    because = tuple(_reason(params, other, one) for other, one in devices)
    return Verdict(State.RUN, pace, why, because, _cjp(params, name, below))


def cleared(params: LadderSettings) -> Verdict:
    """A node that was slowed down and is no longer."""
    why = (
        f"the efficiency (RLE) of every device is above {params.efficient_ratio:g} of its own peak again, or "
        f"without load, step by step of {params.rise_s:.0f} s each: full power"
    )
    return Verdict(State.RUN, 1.0, why, (), Cjp("", why, ""))


def _threshold(params: LadderSettings, step: int) -> float:
    return (params.efficient_ratio, params.degraded_ratio, params.critical_ratio)[step - 1]


def _pace(params: LadderSettings, step: int) -> float:
    return (params.efficient_pace_ratio, params.degraded_pace_ratio, params.critical_pace_ratio)[step - 1]


def _reason(params: LadderSettings, name: str, rung: Rung) -> Reason:
    return Reason(
        metric=METRICS[rung.step - 1],
        value=round(max(rung.share, 0.0), 3),
        threshold=_threshold(params, rung.step),
        unit="ratio",
        window_s=params.window_s,
        device=name,
        since_ns=rung.changed_ns,
    )


def _cjp(params: LadderSettings, name: str, below: float) -> Cjp:
    above = below + params.hysteresis_ratio
    return Cjp(
        f"the load on {name} goes on, and yields much less for its power than it did",
        "what is lost by less power is little while efficiency is low; work goes on, so no HOLD",
        f"one step up when {name} has kept {above:g} of its own peak, or had no load, for "
        f"{params.rise_s:.0f} s on end; full power at the top of the ladder",
    )

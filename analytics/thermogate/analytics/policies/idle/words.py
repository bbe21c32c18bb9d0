"""The sentences of the idle policy."""

from typing import NamedTuple

from thermogate.analytics.config.idle import IdleSettings
from thermogate.analytics.policies.base import JobObservation, Verdict
from thermogate.analytics.policies.idle.memory import IDLE_METRIC, RETRY_METRIC, IdleState
from thermogate.core.clock import NS
from thermogate.core.decision import Cjp, Reason, State

NOTHING_SAID = "nothing stands against running"
RUN = Verdict(State.RUN, 1.0, NOTHING_SAID, (), Cjp("", NOTHING_SAID, ""))
_TOLD = 3
"""Nodes that are named; with more, a person looks them up."""


class About(NamedTuple):
    """What the words are about: the job, its devices that idle and that spin, and its next try."""

    observation: JobObservation
    idles: int
    spins: int
    wait_s: float

    @property
    def who(self) -> str:
        """The job and whose it is."""
        user = self.observation.members[0].user if self.observation.members else ""
        return f"{self.observation.target} of {user}" if user else self.observation.target

    @property
    def devices(self) -> int:
        """Its devices."""
        return len(self.observation.members)

    @property
    def where(self) -> str:
        """The nodes that it is on."""
        nodes = sorted({member.node for member in self.observation.members})
        more = f" and {len(nodes) - _TOLD} more" if len(nodes) > _TOLD else ""
        return f"{', '.join(nodes[:_TOLD])}{more}"


def minutes(seconds: float) -> str:
    """A time for a person: "45 s", "20 min", "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def hold(params: IdleSettings, state: IdleState, about: About) -> Verdict:
    """A job that is held."""
    hung = bool(state.spin_ns)
    quiet_s = (state.now_ns - (state.spin_ns if hung else state.quiet_ns)) / NS
    what = _hung(params, state, about, quiet_s) if hung else _idle(params, state, about, quiet_s)
    why = f"{what}: checkpoint it and let others have its GPUs"
    return Verdict(State.HOLD, 0.0, why, _because(params, state, about, quiet_s), _cjp(params, state, about))


def run(params: IdleSettings, state: IdleState, about: About) -> Verdict:
    """A job that runs. With devices that idle beside others that work, how many: they are wasted."""
    idle = [one for one in state.devices.values() if one.quiet_ns]
    wasted = [one for one in idle if state.now_ns - one.quiet_ns >= params.after_s * NS]
    if wasted and not state.quiet_ns:
        return _wasted(params, about, len(wasted))
    if state.cleared:
        why = f"{about.who}: {state.cleared}"
        return Verdict(State.RUN, 1.0, why, (), Cjp("", why, ""))
    return RUN


def _wasted(params: IdleSettings, about: About, count: int) -> Verdict:
    why = (
        f"{count} of {about.devices} devices of {about.who} have not worked for {minutes(params.after_s)}, "
        "the others do: it goes on, and could do with fewer"
    )
    reason = Reason(
        metric="idle_devices", value=count, threshold=about.devices, unit="1", window_s=params.after_s
    )
    return Verdict(State.RUN, 1.0, why, (reason,), Cjp("", why, ""))


def _idle(params: IdleSettings, state: IdleState, about: About, quiet_s: float) -> str:
    limit_s = params.after_s if state.worked else params.start_s
    lately = "has not worked for" if state.worked else "has not worked once in"
    return (
        f"{about.who} holds {about.devices} devices ({about.where}) and {lately} {minutes(quiet_s)} (each "
        f"below {params.busy_util_ratio:.0%} busy over {params.window_s:.0f} s; HOLD at {minutes(limit_s)})"
    )


def _hung(params: IdleSettings, state: IdleState, about: About, quiet_s: float) -> str:
    spinning = [one.power_ratio for one in state.devices.values() if one.power_ratio is not None]
    power = f"{max(spinning):.0%}" if spinning else f"under {params.spin_power_ratio:.0%}"
    rest = f", {about.idles} idle" if about.idles else ""
    return (
        f"{about.who} hangs: of {about.devices} devices ({about.where}) {about.spins} say that they are busy "
        f"and draw {power} of their power limit at most{rest}, for {minutes(quiet_s)} (HOLD at "
        f"{minutes(params.hung_s)}), as in a collective that one of them never enters"
    )


def _because(params: IdleSettings, state: IdleState, about: About, quiet_s: float) -> tuple[Reason, ...]:
    since_ns = state.spin_ns or state.quiet_ns
    limit_s = params.hung_s if state.spin_ns else params.after_s if state.worked else params.start_s
    reasons = [
        Reason(metric=IDLE_METRIC, value=round(quiet_s), threshold=limit_s, unit="s", since_ns=since_ns),
        Reason(metric="idle_devices", value=about.idles, threshold=about.devices, unit="1"),
    ]
    if state.spin_ns:
        reasons.append(
            Reason(metric="spinning_devices", value=about.spins, threshold=about.devices, unit="1")
        )
    reasons.append(
        Reason(
            metric=RETRY_METRIC,
            value=about.wait_s,
            threshold=params.retry_s,
            unit="s",
            since_ns=state.held_ns,
        )
    )
    return tuple(reasons)


def _cjp(params: IdleSettings, state: IdleState, about: About) -> Cjp:
    path = "RUN when a device of it works, when an operator says so"
    if about.wait_s:
        path += f", or on a try of {minutes(params.probe_s)} after {minutes(about.wait_s)} of HOLD"
    if state.spin_ns:
        conflict = "its devices say that they are busy, their power says that they wait"
    else:
        conflict = "the job has the devices, and none of them works"
    return Cjp(conflict, "what it holds others could use; a job that waits loses nothing by it", path)

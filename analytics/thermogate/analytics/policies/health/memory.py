"""What the health policy remembers of a node, and how it goes on after a restart."""

import msgspec

from thermogate.analytics.policies.alarms import Alarm, key_of
from thermogate.analytics.policies.base import Verdict
from thermogate.analytics.policies.health.rules import RULES, STATES
from thermogate.core.decision import GateDecision, Reason, State


class Over(msgspec.Struct, frozen=True, array_like=True):
    """A signal that is above its bound: since when on end, and when it was last seen there."""

    since_ns: int
    seen_ns: int


class HealthState(msgspec.Struct, frozen=True):
    """What is remembered of a node: signals above their bounds and alarms, by rule and device.

    `since_ns` is when the alarms began after the last RUN. `cleared` is what is said of their end.
    """

    over: dict[str, Over] = {}
    alarms: dict[str, Alarm] = {}
    since_ns: int = 0
    cleared: Verdict | None = None


def initial() -> HealthState:
    """A node of which nothing is known: it runs."""
    return HealthState()


def resume(decision: GateDecision) -> HealthState:
    """A node that `decision` holds: its alarms stand until their signals are calm."""
    reasons: dict[tuple[str, str], tuple[Reason, ...]] = {}
    for reason in decision.because if decision.state is not State.RUN else ():
        rule = "overload" if reason.metric == "volatility" else reason.metric
        if rule in RULES:
            reasons[rule, reason.device] = (*reasons.get((rule, reason.device), ()), reason)
    alarms = {
        key_of(rule, device): Alarm(
            rule=rule,
            device=device,
            since_ns=because[0].since_ns,
            pace={State.REPAIR: 0.0, State.SYNC: 1.0}.get(STATES[rule], decision.pace),
            because=because,
        )
        for (rule, device), because in reasons.items()
    }
    return HealthState(alarms=alarms, since_ns=min((alarm.since_ns for alarm in alarms.values()), default=0))

"""The health policy: HOLD for overload, SYNC for what is out of step, REPAIR for what has become hotter."""

from thermogate.analytics.config import HealthSettings
from thermogate.analytics.policies.alarms import Alarm, Finding, follow_all, key_of
from thermogate.analytics.policies.base import MAX_DEVICES, Observation, Verdict
from thermogate.analytics.policies.health import words
from thermogate.analytics.policies.health.memory import HealthState, Over
from thermogate.analytics.policies.health.rules import RULES, STATES, alarm, bounds, value_of
from thermogate.core.clock import NS
from thermogate.core.decision import Cjp, State
from thermogate.core.gate_messages import DeviceSignals

_RUN = Verdict(State.RUN, 1.0, words.NOTHING_SAID, (), Cjp("", words.NOTHING_SAID, ""))


def step(params: HealthSettings, state: HealthState, observation: Observation) -> tuple[HealthState, Verdict]:
    """The node after an observation of it, and what it should do. Only `signals` and `now_ns` are read."""
    signals, now_ns = observation.signals, observation.now_ns
    if not state.over and not state.alarms and not _is_any_over(params, signals):
        return state, state.cleared or _RUN
    over = _still_over(params, state, signals, now_ns)
    found = _judge(params, state.alarms, over, signals, now_ns)
    unseen = _unseen(params, state, found, now_ns)
    alarms, released = follow_all(
        {key: stands for key, stands in state.alarms.items() if key not in unseen},
        found,
        now_ns=now_ns,
        patience=lambda stands: bounds(params, stands.rule).patience,
    )
    alarms |= unseen
    after = HealthState(
        over=over,
        alarms=alarms,
        since_ns=(state.since_ns if state.alarms else now_ns) if alarms else 0,
        cleared=_cleared(params, state, released, signals, now_ns) if released else state.cleared,
    )
    return after, _verdict(params, alarms) if alarms else after.cleared or _RUN


def _is_any_over(params: HealthSettings, signals: dict[str, DeviceSignals]) -> bool:
    """The quick question of a healthy node, which has no alarm and nothing above its bound."""
    for device in signals.values():
        if (device.overload or 0.0) > params.overload_bound:
            return True
        if (device.incoherence or 0.0) > params.incoherence_bound:
            return True
        if (device.repair_severity or 0.0) > params.severity_bound:
            return True
    return False


def _still_over(
    params: HealthSettings, state: HealthState, signals: dict[str, DeviceSignals], now_ns: int
) -> dict[str, Over]:
    """The signals above their bounds; one that is absent for no longer than `gap_s` stays what it was."""
    oldest_ns = now_ns - int(params.gap_s * NS)
    over = {key: was for key, was in state.over.items() if was.seen_ns >= oldest_ns}
    for device in signals.values():
        for rule in RULES:
            value = value_of(device, rule)
            if value is None:
                continue
            key = key_of(rule, device.device)
            if value <= bounds(params, rule).bound:
                over.pop(key, None)
            elif key in over:
                over[key] = Over(over[key].since_ns, now_ns)
            elif len(over) < MAX_DEVICES:
                over[key] = Over(now_ns, now_ns)
    return over


def _judge(
    params: HealthSettings,
    alarms: dict[str, Alarm],
    over: dict[str, Over],
    signals: dict[str, DeviceSignals],
    now_ns: int,
) -> dict[str, Finding]:
    """What the signals say: an alarm where one has been above its bound for long, or whether it is calm."""
    found: dict[str, Finding] = {}
    for device in signals.values():
        for rule in RULES:
            key, value = key_of(rule, device.device), value_of(device, rule)
            stands = key in alarms
            if value is None or not (stands or key in over):
                continue
            limits = bounds(params, rule)
            lasts = key in over and now_ns - over[key].since_ns >= limits.for_s * NS
            if lasts and (stands or len(alarms) < MAX_DEVICES):
                found[key] = Finding(alarm(params, rule, device, now_ns))
            elif stands:
                found[key] = Finding(calm=value <= limits.release)
    return found


def _unseen(
    params: HealthSettings, state: HealthState, found: dict[str, Finding], now_ns: int
) -> dict[str, Alarm]:
    """The alarms whose signal is not in this observation but was of late: an event, or a sample without RLE,
    does not begin the time to their release anew."""
    oldest_ns = now_ns - int(params.gap_s * NS)
    return {
        key: stands
        for key, stands in state.alarms.items()
        if key not in found and stands.evidence_ns >= oldest_ns
    }


def _verdict(params: HealthSettings, alarms: dict[str, Alarm]) -> Verdict:
    ordered = sorted(alarms.values(), key=_gravity)
    pace = min(stands.pace for stands in ordered)
    because = tuple(reason for stands in ordered for reason in stands.because)
    why = words.why(ordered, pace)
    return Verdict(STATES[ordered[0].rule], pace, why, because, words.cjp(params, ordered))


def _cleared(
    params: HealthSettings,
    state: HealthState,
    released: list[Alarm],
    signals: dict[str, DeviceSignals],
    now_ns: int,
) -> Verdict:
    """What to say once nothing stands: what the gravest of the alarms released last says now."""
    was = min(released, key=_gravity)
    device = signals.get(was.device)
    value = value_of(device, was.rule) if device is not None and was.calm_since_ns else None
    what = words.cleared(params, was, value, now_ns)
    lasted_s = (now_ns - state.since_ns) / NS
    why = f"{what}: work may go on after {lasted_s:.0f} s of {STATES[was.rule]}"
    return Verdict(State.RUN, 1.0, why, words.release_reasons(params, was, value), Cjp("", what, ""))


def _gravity(stands: Alarm) -> tuple[int, int, str]:
    return RULES.index(stands.rule), stands.since_ns, stands.device

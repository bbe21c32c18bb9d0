"""The hardware policy: REPAIR for GPUs that are gone, broken or need a reset, HOLD under a power brake."""

from collections.abc import Mapping

from thermogate.analytics.config import HardwareSettings
from thermogate.analytics.policies.alarms import Alarm, Finding, key_of
from thermogate.analytics.policies.base import Observation, Verdict, device_name
from thermogate.analytics.policies.hardware.counters import Counters
from thermogate.analytics.policies.hardware.faults import Fault, judge_fault
from thermogate.analytics.policies.hardware.memory import HardwareState, absorb
from thermogate.analytics.policies.hardware.rules import judge_brake, judge_corrected, judge_uncorrected
from thermogate.analytics.policies.hardware.words import HardwareVoice
from thermogate.analytics.policies.standing import go_on
from thermogate.core.clock import NS


def step(
    params: HardwareSettings, state: HardwareState, observation: Observation
) -> tuple[HardwareState, Verdict]:
    """The node after an observation of it, and what it should do."""
    now_ns, before = observation.now_ns, state.standing.alarms
    counters, faults = absorb(params, state, observation)
    found = _judge_counters(params, before, counters, observation)
    for key, fault in faults.items():
        found[key] = judge_fault(params, fault, before.get(key), now_ns)
    found |= _judge_gone(before, counters, observation)
    voice = HardwareVoice(params, counters)
    standing, verdict = go_on(voice, state.standing, found, now_ns)
    if faults:
        alarms = standing.alarms
        faults = {key: f for key, f in faults.items() if key in alarms or _is_kept(params, f, now_ns)}
    return HardwareState(counters, faults, standing), verdict


def _judge_counters(
    params: HardwareSettings,
    alarms: Mapping[str, Alarm],
    counters: Mapping[str, Counters],
    observation: Observation,
) -> dict[str, Finding]:
    """What the counters of the GPUs say of which there are samples; nothing of those that are well."""
    found: dict[str, Finding] = {}
    for point in observation.points:
        if point.measurement != "gpu":
            continue
        name = device_name("gpu", point.device)
        seen = counters.get(name)
        if seen is None or not (alarms or _is_suspect(params, seen)):
            continue
        for rule, judge in _RULES.items():
            key = key_of(rule, name)
            finding = judge(params, name, seen, alarms.get(key))
            if finding.fired or key in alarms:
                found[key] = finding
    return found


def _judge_gone(
    alarms: Mapping[str, Alarm], counters: Mapping[str, Counters], observation: Observation
) -> dict[str, Finding]:
    """Memory errors of GPUs that the node came back without are over."""
    if not alarms or not observation.inventory:
        return {}
    anew_ns = max((seen.anew_ns for seen in counters.values()), default=0)
    return {
        key: Finding(calm=True)
        for key, alarm in alarms.items()
        if alarm.rule in ("uncorrected", "corrected")
        and alarm.device not in observation.inventory
        and anew_ns > alarm.since_ns
    }


def _is_suspect(params: HardwareSettings, seen: Counters) -> bool:
    return (
        seen.uncorrected_growth >= params.uncorrected_count
        or seen.corrected_growth >= params.corrected_count
        or seen.braked_ns == seen.seen_ns
    )


def _is_kept(params: HardwareSettings, fault: Fault, now_ns: int) -> bool:
    """Whether a fault of no alarm is still to be remembered: it lasts, or may come again."""
    if not fault.stamps:
        return fault.lasts
    return fault.lasts and now_ns - fault.stamps[-1] < params.xid_window_s * NS


_RULES = {"uncorrected": judge_uncorrected, "corrected": judge_corrected, "brake": judge_brake}

"""The thermal policy: HOLD for devices that overheat, REPAIR for GPUs that are gone."""

from thermogate.analytics.config import ThermalSettings
from thermogate.analytics.policies.base import Observation, Verdict, device_name
from thermogate.analytics.policies.thermal import words
from thermogate.analytics.policies.thermal.alarms import (
    FAULTS,
    NOTHING,
    SEVERITY,
    Alarm,
    Finding,
    Rule,
    follow,
    key_of,
)
from thermogate.analytics.policies.thermal.evidence import Device
from thermogate.analytics.policies.thermal.faults import judge_fault
from thermogate.analytics.policies.thermal.memory import ThermalState, absorb
from thermogate.analytics.policies.thermal.rules import judge_collapse, judge_heat, release_reasons
from thermogate.core.clock import NS
from thermogate.core.decision import Cjp, State

_RUN = Verdict(State.RUN, 1.0, words.NOTHING_SAID, (), Cjp("", words.NOTHING_SAID, ""))


def step(
    params: ThermalSettings, state: ThermalState, observation: Observation
) -> tuple[ThermalState, Verdict]:
    """The node after an observation of it, and what it should do."""
    now_ns = observation.now_ns
    devices, faults = absorb(params, state, observation)
    seen = {device_name(point.measurement, point.device) for point in observation.points}
    found = {
        **_judge_devices(params, state.alarms, devices, seen, now_ns),
        **{key: judge_fault(params, fault, now_ns) for key, fault in faults.items()},
    }
    alarms, released = _follow(params, state.alarms, found, now_ns)
    after = ThermalState(
        devices=devices,
        faults={key: fault for key, fault in faults.items() if fault.lasts or key in alarms},
        alarms=alarms,
        since_ns=(state.since_ns if state.alarms else now_ns) if alarms else 0,
        cleared=_cleared(params, state, devices, released, now_ns) if released else state.cleared,
    )
    if alarms:
        return after, _verdict(params, alarms)
    return after, after.cleared or _RUN


def _judge_devices(
    params: ThermalSettings,
    alarms: dict[str, Alarm],
    devices: dict[str, Device],
    seen: set[str],
    now_ns: int,
) -> dict[str, Finding]:
    found: dict[str, Finding] = {}
    for name in seen:
        device, heat_key = devices[name], key_of("heat", name)
        found[heat_key] = judge_heat(params, name, device, watched=heat_key in alarms, now_ns=now_ns)
        found[key_of("collapse", name)] = judge_collapse(params, name, device, now_ns=now_ns)
    return found


def _follow(
    params: ThermalSettings, before: dict[str, Alarm], found: dict[str, Finding], now_ns: int
) -> tuple[dict[str, Alarm], list[Alarm]]:
    """The alarms after what was found, and those that were released."""
    alarms: dict[str, Alarm] = {}
    released: list[Alarm] = []
    for key in before.keys() | {key for key, finding in found.items() if finding.fired}:
        was = before.get(key)
        release_s = _release_s(params, was.rule) if was else 0.0
        alarm = follow(
            was, found.get(key, NOTHING), now_ns=now_ns, release_s=release_s, stale_s=params.stale_s
        )
        if alarm:
            alarms[key] = alarm
        elif was:
            released.append(was)
    return alarms, released


def _verdict(params: ThermalSettings, alarms: dict[str, Alarm]) -> Verdict:
    ordered = sorted(alarms.values(), key=_gravity)
    state = State.REPAIR if ordered[0].rule in FAULTS else State.HOLD
    pace = min(alarm.pace for alarm in ordered)
    because = tuple(reason for alarm in ordered for reason in alarm.because)
    return Verdict(state, pace, words.why(params, ordered, pace), because, words.cjp(params, ordered))


def _cleared(
    params: ThermalSettings,
    state: ThermalState,
    devices: dict[str, Device],
    released: list[Alarm],
    now_ns: int,
) -> Verdict:
    """What to say once nothing stands: what the gravest of the alarms released last says now."""
    alarm = min(released, key=_gravity)
    because = release_reasons(params, alarm, devices.get(alarm.device))
    what = words.cleared(params, alarm, because, now_ns)
    was = State.REPAIR if alarm.rule in FAULTS else State.HOLD
    lasted_s = (now_ns - state.since_ns) / NS
    why = f"{what}: work may go on after {lasted_s:.0f} s of {was}"
    return Verdict(State.RUN, 1.0, why, because, Cjp("", what, ""))


def _gravity(alarm: Alarm) -> tuple[int, int, str]:
    return SEVERITY.index(alarm.rule), alarm.since_ns, alarm.device


def _release_s(params: ThermalSettings, rule: Rule) -> float:
    if rule in FAULTS:
        return params.fault_release_s
    return params.heat_release_s if rule == "heat" else params.collapse_release_s

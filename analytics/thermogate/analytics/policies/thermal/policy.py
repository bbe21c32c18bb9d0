"""The thermal policy: HOLD, at a pace, for devices that overheat."""

from thermogate.analytics.config import ThermalSettings
from thermogate.analytics.policies.alarms import Finding, key_of
from thermogate.analytics.policies.base import Observation, Verdict, device_name
from thermogate.analytics.policies.standing import go_on
from thermogate.analytics.policies.thermal.evidence import Device
from thermogate.analytics.policies.thermal.memory import ThermalState, absorb
from thermogate.analytics.policies.thermal.rules import judge_collapse, judge_heat, judge_slowdown, may_fire
from thermogate.analytics.policies.thermal.words import ThermalVoice


def step(
    params: ThermalSettings, state: ThermalState, observation: Observation
) -> tuple[ThermalState, Verdict]:
    """The node after an observation of it, and what it should do."""
    devices = absorb(params, state, observation)
    found = _judge(params, state, devices, observation)
    voice = ThermalVoice(params, devices)
    standing, verdict = go_on(voice, state.standing, found, observation.now_ns)
    return ThermalState(devices, standing), verdict


def _judge(
    params: ThermalSettings, state: ThermalState, devices: dict[str, Device], observation: Observation
) -> dict[str, Finding]:
    """What the rules find on each device of which there are samples, where that says anything."""
    found: dict[str, Finding] = {}
    alarms, now_ns = state.standing.alarms, observation.now_ns
    for point in observation.points:
        name = device_name(point.measurement, point.device)
        device = devices[name]
        if not alarms and not may_fire(params, device):
            continue
        slow, hot, ill = key_of("slowdown", name), key_of("heat", name), key_of("collapse", name)
        findings = {
            slow: judge_slowdown(params, name, device, watched=slow in alarms, now_ns=now_ns),
            hot: judge_heat(params, name, device, watched=hot in alarms, now_ns=now_ns),
            ill: judge_collapse(params, name, device, now_ns=now_ns),
        }
        found.update({key: one for key, one in findings.items() if one.fired or key in alarms})
    return found

"""The RLE pace ladder: slower in steps while a device's efficiency is far below its own peak."""

from thermogate.analytics.config.ladder import LadderSettings
from thermogate.analytics.policies.base import MAX_DEVICES, Observation, Verdict, device_name
from thermogate.analytics.policies.ladder import words
from thermogate.analytics.policies.ladder.memory import LadderState, Rung, take
from thermogate.core.clock import NS


def step(params: LadderSettings, state: LadderState, observation: Observation) -> tuple[LadderState, Verdict]:
    """The node after an observation of it, and at what pace it should go on: that of its slowest device."""
    devices = dict(state.devices)
    for point in observation.points:
        name = device_name(point.measurement, point.device)
        before = devices.get(name)
        if before is None and len(devices) >= MAX_DEVICES:
            continue
        devices[name] = take(params, before, point)
    oldest_ns = observation.now_ns - int(params.stale_s * NS)
    gone = [name for name, rung in devices.items() if rung.seen_ns <= oldest_ns]
    for name in gone:
        del devices[name]
    slowed = [(name, rung) for name, rung in devices.items() if rung.step]
    if slowed:
        slowed.sort(key=_gravity)
        return LadderState(devices), words.slowed(params, slowed)
    cleared = state.cleared or any(rung.step for rung in state.devices.values())
    return LadderState(devices, cleared), words.cleared(params) if cleared else words.RUN


def _gravity(named: tuple[str, Rung]) -> tuple[int, int, str]:
    name, rung = named
    return -rung.step, rung.changed_ns, name

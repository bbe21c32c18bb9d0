"""The consistency policy: SYNC while signals contradict one another, so that no decision is made of them."""

from collections.abc import Mapping

from thermogate.analytics.config import ConsistencySettings
from thermogate.analytics.policies.alarms import Alarm, Finding, key_of
from thermogate.analytics.policies.base import Observation, Verdict, device_name
from thermogate.analytics.policies.consistency.memory import ConsistencyState
from thermogate.analytics.policies.consistency.rules import RULES, judge_apart
from thermogate.analytics.policies.consistency.watch import Watch, take
from thermogate.analytics.policies.consistency.words import ConsistencyVoice
from thermogate.analytics.policies.standing import go_on
from thermogate.core.clock import NS

_NODE = ""
"""The device of a contradiction between devices."""


def step(
    params: ConsistencySettings, state: ConsistencyState, observation: Observation
) -> tuple[ConsistencyState, Verdict]:
    """The node after an observation of it, and what it should do."""
    oldest_ns = observation.now_ns - int(params.stale_s * NS)
    devices = {name: watch for name, watch in state.devices.items() if watch.seen_ns > oldest_ns}
    alarms = state.standing.alarms
    found: dict[str, Finding] = {}
    for point in observation.points:
        name = device_name(point.measurement, point.device)
        watch = take(params, devices.get(name) or Watch(), point, observation.inventory.get(name))
        devices[name] = watch
        if alarms or _is_suspect(params, watch):
            _judge(params, alarms, name, watch, found)
    apart_ns = _apart_ns(params, state.apart_ns, observation)
    apart_key = key_of("apart", _NODE)
    if len(observation.points) > 1 and (apart_ns or apart_key in alarms):
        found[apart_key] = judge_apart(params, apart_ns, _spread_s(observation), observation.now_ns)
    standing, verdict = go_on(ConsistencyVoice(params), state.standing, found, observation.now_ns)
    return ConsistencyState(devices, apart_ns, standing), verdict


def _judge(
    params: ConsistencySettings,
    alarms: Mapping[str, Alarm],
    name: str,
    watch: Watch,
    found: dict[str, Finding],
) -> None:
    for rule, judge in RULES.items():
        key, finding = key_of(rule, name), judge(params, name, watch)
        if finding.fired or key in alarms:
            found[key] = finding


def _is_suspect(params: ConsistencySettings, watch: Watch) -> bool:
    if watch.range_ns or watch.far_ns or watch.over_ns or watch.busy_ns or watch.jump_ns:
        return True
    return watch.temp_ns == watch.seen_ns and watch.seen_ns - watch.same_ns >= params.stuck_s * NS


def _spread_s(observation: Observation) -> float:
    stamps = [point.time_ns for point in observation.points]
    return (max(stamps) - min(stamps)) / NS if stamps else 0.0


def _apart_ns(params: ConsistencySettings, before_ns: int, observation: Observation) -> int:
    """Since when the stamps of a message have been apart; a message of one device says nothing."""
    if len(observation.points) < 2:
        return before_ns
    return (before_ns or observation.now_ns) if _spread_s(observation) > params.apart_s else 0

"""The power budget: who is paced down, and how far, when a group draws more than its cap."""

from typing import NamedTuple

from msgspec.structs import replace

from thermogate.analytics.config.power import PowerSettings
from thermogate.analytics.policies import sane
from thermogate.analytics.policies.base import Drawer, GroupObservation, Verdict
from thermogate.analytics.policies.power import words
from thermogate.analytics.policies.power.memory import Kept, PowerState, absorb
from thermogate.analytics.policies.power.sharing import (
    Load,
    drawn_w,
    fitting,
    loads,
    newest_to_hold,
    strays,
    stubborn,
    unmeasured,
)
from thermogate.core.clock import NS


class _Plan(NamedTuple):
    """What is to hold from now on; `hold` and `release` are nodes."""

    level: float
    hold: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    room: bool = False
    over: bool = False


def step(
    params: PowerSettings, state: PowerState, observation: GroupObservation
) -> tuple[PowerState, dict[str, Verdict]]:
    """The group after an observation of it, and what each of its nodes should do."""
    now_ns = max(observation.now_ns, state.now_ns)
    observation = replace(observation, drawers=tuple(map(_believed, observation.drawers)))
    nodes = absorb(params, state, observation)
    all_ = loads(params, state.level, observation.drawers, nodes, now_ns)
    astray = stubborn(params, all_, nodes, now_ns)
    for load in all_:
        load.fixed = load.fixed or load.name in astray
    began_ns = state.began_ns or now_ns
    plan = _Plan(state.level)
    if now_ns - began_ns >= 2 * params.window_s * NS:
        plan = _planned(params, state, observation.cap_w, all_, now_ns)
    drew_w = sum(load.full_w for load in all_)
    after = _after(replace(state, nodes=nodes, began_ns=began_ns, now_ns=now_ns), plan, drew_w)
    after = replace(after, nodes=_engaged(params, after, all_))
    scene = words.Scene(
        group=observation.target,
        cap_w=observation.cap_w,
        draws_w=drew_w,
        unmeasured=sum(unmeasured(params, kept, now_ns) for kept in nodes.values()),
        astray=tuple(sorted(astray)),
    )
    return after, words.verdicts(params, after, scene, all_, observation.drawers)


def _believed(drawer: Drawer) -> Drawer:
    """The node without what no node can draw: it must not slow down others, and sums must stay numbers."""
    power_w, rated_w = sane.power(drawer.power_w), sane.rated(drawer.rated_w)
    floor_w = sane.power(drawer.floor_w) or 0.0
    if (power_w, rated_w, floor_w) == (drawer.power_w, drawer.rated_w, drawer.floor_w):
        return drawer
    return replace(drawer, power_w=power_w, rated_w=rated_w, floor_w=floor_w)


def _planned(params: PowerSettings, state: PowerState, cap_w: float, all_: list[Load], now_ns: int) -> _Plan:
    if drawn_w(params, all_, state.level) > params.trip_share * cap_w:
        return _lowered(params, state, cap_w, all_, now_ns)
    waiting = sorted((kept.held_ns, name) for name, kept in state.nodes.items() if kept.held_ns)
    if waiting:
        plan = _released(params, state, cap_w, all_, waiting[0][1])
    else:
        plan = _raised(params, state, cap_w, all_)
    since_ns = max(state.room_ns, state.changed_ns)
    if plan.room and state.room_ns and now_ns - since_ns >= params.rise_s * NS:
        return plan
    return _Plan(state.level, room=plan.room)


def _lowered(params: PowerSettings, state: PowerState, cap_w: float, all_: list[Load], now_ns: int) -> _Plan:
    """At once as far as it takes: what has begun to draw more counts with all of it, not smoothed. Who has
    to wait is named only when the least pace was too much for long."""
    for load in all_:
        load.work_w = max(load.work_w, load.now_w)
    least, aim_w = params.pace_least_ratio, params.aim_share * cap_w
    level = fitting(params, all_, min(least, state.level), state.level, aim_w)
    if level is not None:
        return _Plan(level)
    at_least_w = drawn_w(params, all_, min(least, state.level))
    over = at_least_w > params.trip_share * cap_w
    if over and params.hold and state.over_ns and now_ns - state.over_ns >= params.hold_after_s * NS:
        return _Plan(least, hold=tuple(newest_to_hold(params, all_, at_least_w - aim_w)), over=True)
    return _Plan(min(least, state.level), over=over)


def _raised(params: PowerSettings, state: PowerState, cap_w: float, all_: list[Load]) -> _Plan:
    if state.level >= 1.0:
        return _Plan(1.0)
    low = min(1.0, state.level + params.pace_step_ratio)
    high = round(min(1.0, state.level + params.rise_ratio), 6)
    level = fitting(params, all_, low, high, params.aim_share * cap_w)
    return _Plan(state.level) if level is None else _Plan(level, room=True)


def _released(params: PowerSettings, state: PowerState, cap_w: float, all_: list[Load], name: str) -> _Plan:
    """Whoever has waited longest goes on first, when it fits with all that it may draw."""
    load = next((load for load in all_ if load.name == name), None)
    back_w = 0.0 if load is None else max(0.0, state.level * load.rated_w - load.work_w)
    room = drawn_w(params, all_, state.level) + back_w <= params.aim_share * cap_w
    return _Plan(state.level, release=(name,), room=True) if room else _Plan(state.level)


def _after(state: PowerState, plan: _Plan, drew_w: float) -> PowerState:
    now_ns, nodes = state.now_ns, dict(state.nodes)
    hold = [name for name in plan.hold if not nodes[name].held_ns]
    release = [name for name in plan.release if name in nodes]
    for name in hold:
        nodes[name] = _with(nodes[name], held_ns=now_ns)
    for name in release:
        nodes[name] = _with(nodes[name], held_ns=0, paced_ns=now_ns)
    changed = plan.level != state.level or bool(hold) or bool(release)
    return replace(
        state,
        nodes=nodes,
        level=plan.level,
        changed_ns=now_ns if changed else state.changed_ns,
        drew_w=drew_w if changed else state.drew_w,
        room_ns=(state.room_ns or now_ns) if plan.room and not changed else 0,
        over_ns=(state.over_ns or now_ns) if plan.over else 0,
    )


def _engaged(params: PowerSettings, state: PowerState, all_: list[Load]) -> dict[str, Kept]:
    """The nodes, with who is paced: those near their share, until they have been far from it for long."""
    nodes = dict(state.nodes)
    for load in all_:
        kept, share_w = nodes[load.name], state.level * load.rated_w
        stray_ns = (kept.stray_ns or state.now_ns) if strays(params, load) else 0
        if state.level >= 1.0 or not share_w or kept.held_ns:
            paced_ns, far_ns = 0, 0
        elif load.work_w >= params.near_share * share_w:
            paced_ns, far_ns = kept.paced_ns or state.now_ns, 0
        elif kept.paced_ns and load.work_w < params.far_share * share_w:
            far_ns = kept.far_ns or state.now_ns
            over = state.now_ns - far_ns >= params.rise_s * NS
            paced_ns, far_ns = (0, 0) if over else (kept.paced_ns, far_ns)
        else:
            paced_ns, far_ns = kept.paced_ns, 0
        if (paced_ns, far_ns, stray_ns) != (kept.paced_ns, kept.far_ns, kept.stray_ns):
            nodes[load.name] = _with(kept, paced_ns=paced_ns, far_ns=far_ns, stray_ns=stray_ns)
    return nodes


def _with(kept: Kept, **changes: int) -> Kept:
    return replace(kept, **changes)

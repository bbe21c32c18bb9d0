"""The sentences of the power policy."""

from collections.abc import Iterable
from typing import NamedTuple

from thermogate.analytics.config.power import PowerSettings
from thermogate.analytics.policies.base import Drawer, Verdict
from thermogate.analytics.policies.power.memory import GROUP_METRIC, PowerState
from thermogate.analytics.policies.power.sharing import Load
from thermogate.core.decision import Cjp, Reason, State

NOTHING_SAID = "nothing stands against running"
RUN = Verdict(State.RUN, 1.0, NOTHING_SAID, (), Cjp("", NOTHING_SAID, ""))


class Scene(NamedTuple):
    """What is common to the words about all nodes of a group."""

    group: str
    cap_w: float
    draws_w: float
    unmeasured: int
    astray: tuple[str, ...]


def verdicts(
    params: PowerSettings, state: PowerState, scene: Scene, all_: Iterable[Load], drawers: Iterable[Drawer]
) -> dict[str, Verdict]:
    """The verdict about each node of the group, by name."""
    if not state.changed_ns:
        return {drawer.node: RUN for drawer in drawers}
    if state.level >= 1.0 and not any(kept.held_ns for kept in state.nodes.values()):
        free = _free(scene)
        return {drawer.node: free for drawer in drawers}
    known = {load.name: load for load in all_}
    group = _group(params, state, scene)
    cjp = _pace_cjp(params, scene)
    return {
        drawer.node: _verdict(params, state, scene, known.get(drawer.node), drawer.node, group, cjp)
        for drawer in drawers
    }


def watts(value: float) -> str:
    """Power for a person: "5.2 kW", "640 W"."""
    return f"{value / 1000:.4g} kW" if value >= 1000 else f"{value:.0f} W"


def _verdict(
    params: PowerSettings, state: PowerState, scene: Scene, load: Load | None, name: str, group: str, cjp: Cjp
) -> Verdict:
    kept = state.nodes[name]
    if kept.held_ns:
        return _hold(params, state, scene, name, group)
    if load is None or not load.rated_w:
        what = (
            "neither its power nor its rated power is known"
            if load is None
            else "its rated power is not known"
        )
        why = f"{name}: {what}, so {scene.group} is kept without asking it"
        return Verdict(State.RUN, 1.0, why, (), Cjp("", why, ""))
    share_w = load.floor_w + state.level * load.rated_w
    because = (*_because(params, state, scene), _draw(params, kept.draw_w, share_w))
    if not kept.paced_ns:
        why = f"{group}: {name} goes on, it draws {watts(load.full_w)} and its fair share is {watts(share_w)}"
        return Verdict(State.RUN, 1.0, why, because, Cjp("", why, ""))
    why = f"{group}: {name} to {state.level:g} of full power, its fair share is {watts(share_w)}"
    return Verdict(State.RUN, state.level, why, because, cjp, urgent=True)


def _hold(params: PowerSettings, state: PowerState, scene: Scene, name: str, group: str) -> Verdict:
    least, aim = f"{params.pace_least_ratio:g} of full power", watts(params.aim_share * scene.cap_w)
    why = (
        f"{group}, too much even with every node at {least}: checkpoint {name}, whose load is among the "
        "newest, and let it wait"
    )
    cjp = Cjp(
        f"the nodes of {scene.group} are as slow as they may be, and together still draw too much",
        "one that waits costs less than a feed that trips and stops them all; the newest load loses least",
        f"RUN when {scene.group} would stay below {aim} with {name} at {least} for {params.rise_s:.0f} s on "
        "end; who has waited longest goes first",
    )
    return Verdict(State.HOLD, state.level, why, _because(params, state, scene), cjp, urgent=True)


def _group(params: PowerSettings, state: PowerState, scene: Scene) -> str:
    counted = f"{scene.unmeasured} without measured power counted at full" if scene.unmeasured else ""
    astray = f"{', '.join(scene.astray[:3])} {_does(scene.astray)} not follow" if scene.astray else ""
    notes = "; ".join(note for note in (counted, astray) if note)
    is_new = state.changed_ns == state.now_ns
    return (
        f"{scene.group} {'draws' if is_new else 'drew'} {watts(state.drew_w)} of its {watts(scene.cap_w)} "
        f"(over {params.window_s:.0f} s)"
        + ("" if is_new else f", {watts(scene.draws_w)} now")
        + (f" ({notes})" if notes else "")
    )


def _does(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{more} do".lstrip() if len(names) > 1 else "does"


def _free(scene: Scene) -> Verdict:
    why = f"{scene.group} draws {watts(scene.draws_w)} of its {watts(scene.cap_w)}: full power for all"
    return Verdict(State.RUN, 1.0, why, (), Cjp("", why, ""))


def _because(params: PowerSettings, state: PowerState, scene: Scene) -> tuple[Reason, ...]:
    return (
        Reason(
            metric=GROUP_METRIC,
            value=round(state.drew_w, 1),
            threshold=scene.cap_w,
            unit="W",
            window_s=params.window_s,
            since_ns=state.changed_ns,
        ),
    )


def _draw(params: PowerSettings, draw_w: float, share_w: float) -> Reason:
    return Reason(
        metric="power_w",
        value=round(draw_w, 1),
        threshold=round(share_w, 1),
        unit="W",
        window_s=params.window_s,
    )


def _pace_cjp(params: PowerSettings, scene: Scene) -> Cjp:
    return Cjp(
        f"each node is within its own rating, together they are not within that of {scene.group}",
        "all who need more than an equal share of rated power get that share; a HOLD would stop work that "
        "can go on slower",
        f"the pace rises by {params.rise_ratio:g} at most when {scene.group} would stay below "
        f"{watts(params.aim_share * scene.cap_w)} with it for {params.rise_s:.0f} s on end",
    )

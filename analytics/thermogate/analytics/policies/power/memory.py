"""What the power policy remembers of a group and its nodes, and how a tick and a restart change it."""

import math

import msgspec
from msgspec.structs import replace

from thermogate.analytics.config.power import PowerSettings
from thermogate.analytics.policies.base import Drawer, GroupObservation
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, State

GROUP_METRIC = "group_power_w"


class Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One node: what it draws in W, smoothed and now, and what it was asked; times are 0 while it is not so.

    `seen_ns` is when its power was last measured. `loaded_ns` is since when it is under load, `quiet_ns`
    since when it was not, before that counts. `paced_ns` and `held_ns` are since when it is paced and held
    by this policy, `far_ns` since when it draws far less than its share, `stray_ns` since when more than
    it was asked to. `rated_w` is 0 while not known.
    """

    draw_w: float = 0.0
    now_w: float = 0.0
    seen_ns: int = 0
    rated_w: float = 0.0
    loaded_ns: int = 0
    quiet_ns: int = 0
    paced_ns: int = 0
    held_ns: int = 0
    far_ns: int = 0
    stray_ns: int = 0


class PowerState(msgspec.Struct, frozen=True):
    """A group: `level` is the share of its rated power that each node may draw, 1 while all fits.

    `changed_ns` is when the level or who is held last changed, `drew_w` what the group drew then.
    `room_ns` and `over_ns` are since when there is room for more, and too much even at the least pace.
    """

    nodes: dict[str, Kept] = {}
    began_ns: int = 0
    now_ns: int = 0
    level: float = 1.0
    changed_ns: int = 0
    drew_w: float = 0.0
    room_ns: int = 0
    over_ns: int = 0


def initial() -> PowerState:
    """A group of which nothing is known: it runs."""
    return PowerState()


def resume(decisions: dict[str, GateDecision]) -> PowerState:
    """A group whose nodes go on at their paces until there is room for more.

    Another policy may have asked for less than this one, so the level is the greatest of the paces.
    """
    mine = {name: one for name, one in decisions.items() if one.state is State.HOLD or one.pace < 1.0}
    if not mine:
        return PowerState()
    nodes = {
        name: Kept(held_ns=one.issued_at_ns) if one.state is State.HOLD else Kept(paced_ns=one.issued_at_ns)
        for name, one in mine.items()
    }
    drew_w = max((reason.value for one in mine.values() for reason in one.because[:1]), default=0.0)
    return PowerState(
        nodes=nodes,
        level=max(one.pace for one in mine.values()),
        changed_ns=max(one.issued_at_ns for one in mine.values()),
        drew_w=drew_w,
    )


def absorb(params: PowerSettings, state: PowerState, observation: GroupObservation) -> dict[str, Kept]:
    """The nodes after what was measured of them; those that are no longer of the group are forgotten."""
    elapsed_s = max(0, observation.now_ns - state.now_ns) / NS
    weight = 1.0 - math.exp(-elapsed_s / params.window_s)
    return {
        drawer.node: _take(params, state, drawer, observation.now_ns, weight)
        for drawer in observation.drawers
    }


def _take(params: PowerSettings, state: PowerState, drawer: Drawer, now_ns: int, weight: float) -> Kept:
    before = state.nodes.get(drawer.node, _NEW)
    draw_w, drew_w, seen_ns = before.draw_w, before.now_w, before.seen_ns
    if drawer.power_w is not None:
        drew_w = drawer.power_w
        draw_w = draw_w + weight * (drew_w - draw_w) if seen_ns else drew_w
        seen_ns = now_ns
    rated_w = drawer.rated_w or 0.0
    if state.level < 1.0:  # a power limit that was lowered for the pace must not lower the share again
        rated_w = max(rated_w, before.rated_w)
    loaded_ns, quiet_ns = before.loaded_ns, 0
    if draw_w - drawer.floor_w > params.held_ratio * rated_w:
        loaded_ns = loaded_ns or now_ns
    elif loaded_ns:
        quiet_ns = before.quiet_ns or now_ns
        if now_ns - quiet_ns >= params.rise_s * NS:
            loaded_ns = 0
    return replace(
        before,
        draw_w=draw_w,
        now_w=drew_w,
        seen_ns=seen_ns,
        rated_w=rated_w,
        loaded_ns=loaded_ns,
        quiet_ns=quiet_ns,
    )


_NEW = Kept()

"""What the nodes of a group would draw, and the level at which that fits. No state, no time but as given.

A level gives every node the same share of its rated power. A node that needs less takes less, and what
it leaves is the others': that is max-min fairness (water-filling), weighted by rated power.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from thermogate.analytics.config.power import PowerSettings
from thermogate.analytics.policies.base import Drawer
from thermogate.analytics.policies.power.memory import Kept
from thermogate.core.clock import NS


class Load(Struct, gc=False):
    """One node as the budget sees it: `work_w` is what a pace can change of what it draws, smoothed, `now_w`
    the same of this instant.

    `asked` is the pace that it was asked to keep, `others` that of other policies. `waits`: this policy
    holds it. `fixed`: no pace changes what it draws, or it does not follow.
    """

    name: str
    floor_w: float
    work_w: float
    now_w: float
    rated_w: float
    asked: float
    others: float
    waits: bool
    fixed: bool
    loaded_ns: int

    @property
    def full_w(self) -> float:
        """What it draws when nobody asks it for less."""
        return self.floor_w + self.work_w


def loads(
    params: PowerSettings, level: float, drawers: Sequence[Drawer], nodes: Mapping[str, Kept], now_ns: int
) -> list[Load]:
    """The nodes of a group; one without measured power or rated power counts as nothing.

    What no pace changes of a node whose power is not measured is taken to be as with the others.
    """
    floor_w = rated_w = 0.0
    for drawer in drawers:
        if drawer.power_w is not None and drawer.rated_w is not None:
            floor_w += drawer.floor_w
            rated_w += drawer.rated_w
    floor_ratio = floor_w / rated_w if rated_w else 0.0
    found = (_load(params, level, drawer, nodes[drawer.node], floor_ratio, now_ns) for drawer in drawers)
    return [load for load in found if load is not None]


def unmeasured(params: PowerSettings, kept: Kept, now_ns: int) -> bool:
    """Whether the node's power has not been measured for too long."""
    return not kept.seen_ns or now_ns - kept.seen_ns > params.missing_s * NS


def stubborn(
    params: PowerSettings, all_: Sequence[Load], nodes: Mapping[str, Kept], now_ns: int
) -> frozenset[str]:
    """The nodes that have not followed what they were asked for long.

    When most do not, nobody acts (shadow mode, no scheduler): then the paces are what would be asked,
    and it is judged as if they were kept.
    """
    asked = [load for load in all_ if nodes[load.name].paced_ns or load.waits]
    astray = frozenset(load.name for load in asked if _is_deaf(params, load, nodes[load.name], now_ns))
    return astray if 2 * len(astray) <= len(asked) else frozenset()


def strays(params: PowerSettings, load: Load) -> bool:
    """Whether the node draws more than it was asked to, now."""
    allowed = params.held_ratio if load.waits else load.asked
    return load.work_w > (allowed + params.follow_margin_ratio) * load.rated_w


def drawn_w(params: PowerSettings, all_: Iterable[Load], level: float) -> float:
    """What the group would draw at `level`, in W, once everybody has followed."""
    return sum(draws_w(params, load, level) for load in all_)


def draws_w(params: PowerSettings, load: Load, level: float) -> float:
    """The same of one node.

    More pace may bring more power in proportion; less pace takes away only what is above it. Both err
    to the safe side, whether a pace is kept by a power limit or by doing less.
    """
    if load.fixed:
        return load.full_w
    if load.waits:
        return load.floor_w + min(load.work_w, params.held_ratio * load.rated_w)
    pace = min(level, load.others)
    work_w = load.work_w * pace / load.asked if pace > load.asked else load.work_w
    return load.floor_w + (work_w if pace >= 1.0 and load.asked >= 1.0 else min(work_w, pace * load.rated_w))


def fitting(
    params: PowerSettings, all_: Sequence[Load], low: float, high: float, aim_w: float
) -> float | None:
    """The greatest level from `low` to `high`, in steps, at which the group draws `aim_w` or less."""
    step = params.pace_step_ratio
    first, last = _steps(low, step), _steps(high, step)
    if drawn_w(params, all_, high) <= aim_w:
        return high
    while first <= last:
        middle = (first + last) // 2
        if drawn_w(params, all_, min(high, middle * step)) <= aim_w:
            first = middle + 1
        else:
            last = middle - 1
    level = round(last * step, 6)
    return level if level >= low - 1e-9 else None


def newest_to_hold(params: PowerSettings, all_: Sequence[Load], over_w: float) -> list[str]:
    """Whose work has to wait so that the group draws `over_w` less at the least pace: the newest loads first.

    Of those found, the oldest that turn out not to be needed go on. All of them when even that is not
    enough.
    """
    gains: list[tuple[str, float]] = []
    for load in sorted(all_, key=lambda load: (-load.loaded_ns, load.name)):
        if over_w <= 0.0:
            break
        if load.loaded_ns and not load.fixed and not load.waits:
            gains.append((load.name, _gain_w(params, load)))
            over_w -= gains[-1][1]
    chosen = []
    for name, gain_w in reversed(gains):
        if over_w + gain_w <= 0.0:
            over_w += gain_w
        else:
            chosen.append(name)
    return chosen


def _gain_w(params: PowerSettings, load: Load) -> float:
    waiting_w = load.floor_w + min(load.work_w, params.held_ratio * load.rated_w)
    return draws_w(params, load, params.pace_least_ratio) - waiting_w


def _load(
    params: PowerSettings, level: float, drawer: Drawer, kept: Kept, floor_ratio: float, now_ns: int
) -> Load | None:
    floor_w = drawer.floor_w
    work_w, now_w = max(0.0, kept.draw_w - floor_w), max(0.0, kept.now_w - floor_w)
    asked = min(level if kept.paced_ns else 1.0, drawer.pace)
    if unmeasured(params, kept, now_ns):
        if not kept.rated_w:
            return None
        floor_w = floor_ratio * kept.rated_w
        work_w = now_w = asked * kept.rated_w
    waits = bool(kept.held_ns)
    return Load(
        name=drawer.node,
        floor_w=floor_w,
        work_w=work_w,
        now_w=now_w,
        rated_w=kept.rated_w,
        asked=asked,
        others=drawer.pace,
        waits=waits,
        fixed=not kept.rated_w or asked <= 0.0 or (drawer.held and not waits),
        loaded_ns=kept.loaded_ns,
    )


def _is_deaf(params: PowerSettings, load: Load, kept: Kept, now_ns: int) -> bool:
    patience_s = params.checkpoint_s if load.waits else params.settle_s
    return bool(kept.stray_ns) and now_ns - kept.stray_ns >= patience_s * NS


def _steps(level: float, step: float) -> int:
    return int(level / step + 1e-6)

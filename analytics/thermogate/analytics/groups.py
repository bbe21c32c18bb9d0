"""Groups of nodes with a power cap: what each node draws, and what the power policy says about it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from thermogate.analytics import gate
from thermogate.analytics.breaker import Groups
from thermogate.analytics.combine import GRAVITY, Said
from thermogate.analytics.config import AnalyticsSettings
from thermogate.analytics.inputs import Step
from thermogate.analytics.policies.base import Drawer, GroupObservation, device_name, full_power_w
from thermogate.analytics.policies.registry import GROUP_POLICIES
from thermogate.analytics.targets import Node
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, Mode

_NAMES = frozenset(policy.NAME for policy in GROUP_POLICIES)
WHOLE = device_name("node", "")
"""Under which the newest sample of the node itself is kept."""


_Heard = tuple[str, Said, Step]


class PowerGroups:
    """Steps the group policies at every tick."""

    def __init__(self, settings: AnalyticsSettings, groups: Groups) -> None:
        self._settings = settings
        self._groups = groups
        self._capped = {one.name: one.power_cap_w for one in settings.groups if one.power_cap_w is not None}
        self._states: dict[tuple[str, str], Any] = {}
        self._resumed: dict[str, GateDecision] = {}

    def resume(self, decision: GateDecision) -> Mode | None:
        """Go on from a decision of before a restart; the mode of the group policy that made it, None when
        none did, or none speaks of that node any more."""
        mode: Mode | Literal["off"] = getattr(self._settings.modes, decision.policy, "off")
        if decision.policy not in _NAMES or mode == "off":
            return None
        if not any(group in self._capped for group in self._groups.of(decision.target)):
            return None
        self._resumed[decision.target] = decision
        return mode

    def tick(self, nodes: Mapping[str, Node], now_ns: int) -> Iterator[Node]:
        """Every node about which something was said now. A node in two groups hears the graver word."""
        for policy in GROUP_POLICIES:
            mode: Mode | Literal["off"] = getattr(self._settings.modes, policy.NAME)
            heard: set[str] = set()
            if mode == "off":
                continue
            members = self._members(nodes.values())
            for group, cap_w in self._capped.items():
                observation = self._observe(group, cap_w, members[group], now_ns)
                if observation is not None:
                    for name, said, step in self._step(policy, mode, observation):
                        _hear(nodes[name], policy.NAME, said, step, again=name in heard)
                        heard.add(name)
            yield from (nodes[name] for name in heard)

    def _members(self, nodes: Iterable[Node]) -> dict[str, list[Node]]:
        """The nodes of each group with a cap."""
        found: dict[str, list[Node]] = {group: [] for group in self._capped}
        for node in nodes if self._capped else ():
            for group in self._groups.of(node.name):
                if group in found:
                    found[group].append(node)
        return found

    def _step(self, policy: Any, mode: Mode, observation: GroupObservation) -> Iterator[_Heard]:
        key = policy.NAME, observation.target
        before = self._states.get(key)
        if before is None:
            names = {drawer.node for drawer in observation.drawers}
            mine = {name: one for name, one in self._resumed.items() if name in names}
            before = policy.resume(mine) if mine else policy.initial()
        params = getattr(self._settings, policy.NAME)
        self._states[key], verdicts = policy.step(params, before, observation)
        step = Step(policy.NAME, policy.VERSION, params, before, observation)
        for name, verdict in verdicts.items():
            yield name, Said(policy.NAME, policy.VERSION, mode, verdict), step

    def _observe(self, group: str, cap_w: float, members: list[Node], now_ns: int) -> GroupObservation | None:
        """None while nobody of the group has been heard."""
        stamps = [node.history.now_ns for node in members if node.history.now_ns]
        if not stamps:
            return None
        silent_ns = int(self._settings.gate.silent_s * NS)
        # a node whose clock is ahead must not make the samples of all others look old
        newest_ns = max((one for one in stamps if one <= now_ns + silent_ns), default=min(stamps))
        drawers = tuple(_drawer(node, newest_ns - silent_ns, now_ns) for node in members)
        return GroupObservation(target=group, now_ns=newest_ns, cap_w=cap_w, drawers=drawers)


def _hear(node: Node, policy: str, said: Said, step: Step, *, again: bool) -> None:
    known = node.said.get(policy)
    if again and known is not None and _gravity(known) >= _gravity(said):
        return
    node.said[policy], node.steps[policy] = said, step


def _gravity(said: Said) -> tuple[int, float]:
    return GRAVITY[said.verdict.state], -said.verdict.pace


def _drawer(node: Node, oldest_ns: int, now_ns: int) -> Drawer:
    fresh = {name: point for name, point in node.newest.items() if point.time_ns >= oldest_ns}
    gpus = {name: point for name, point in fresh.items() if point.measurement == "gpu"}
    drawn_w = _sum_w(gpus.values())
    whole = fresh.get(WHOLE)
    measured_w = whole.fields.get("power_w") if whole is not None else None
    if measured_w is None:
        measured_w = _sum_w(point for point in fresh.values())
    floor_w = measured_w - drawn_w if measured_w is not None and drawn_w is not None else 0.0
    enforced = [one for one in node.said.values() if one.mode == "enforce" and one.policy not in _NAMES]
    return Drawer(
        node=node.name,
        power_w=measured_w,
        rated_w=_rated_w(node),
        floor_w=max(0.0, floor_w),
        pace=min((one.verdict.pace for one in enforced), default=1.0),
        held=gate.is_held(node.gate, now_ns),
    )


def _sum_w(points: Any) -> float | None:
    """What the devices draw; None when none of them is measured."""
    drawn = [point.fields["power_w"] for point in points if "power_w" in point.fields]
    return sum(drawn) if drawn else None


def _rated_w(node: Node) -> float | None:
    gpus = {name: point for name, point in node.newest.items() if point.measurement == "gpu"}
    rated = [full_power_w(point, node.history.inventory.get(name)) for name, point in gpus.items()]
    known = [value for value in rated if value is not None]
    return sum(known) if known else None

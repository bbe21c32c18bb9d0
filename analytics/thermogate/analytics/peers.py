"""How devices of one model do over the fleet: what the cooling policy compares each of them with."""

from collections.abc import Iterable

from thermogate.analytics.config import CoolingSettings
from thermogate.analytics.policies import cooling
from thermogate.analytics.policies.base import Peers
from thermogate.analytics.targets import Node


class FleetPeers:
    """`current` is the newest distribution by model, made anew once a window of the policy."""

    def __init__(self, settings: CoolingSettings) -> None:
        self._every_s = settings.window_s
        self._made_s: float | None = None
        self.current: dict[str, Peers] = {}

    def refresh(self, nodes: Iterable[Node], now_s: float) -> None:
        """Make it anew when it is due."""
        if self._made_s is not None and now_s - self._made_s < self._every_s:
            return
        self._made_s = now_s
        states = [node.states[cooling.NAME] for node in nodes if cooling.NAME in node.states]
        self.current = cooling.distribution(
            value for state in states for value in cooling.resistances(state).values()
        )

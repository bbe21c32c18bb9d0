"""An engine on a clock that follows the samples, and whole fleets of nodes for it."""

import msgspec

from tests.fakes import FakeClock
from tests.unit.analytics.making import START_NS
from thermogate.analytics.config import AnalyticsSettings, ModeSettings
from thermogate.analytics.engine import Engine
from thermogate.core.clock import NS
from thermogate.core.model import Event

OFF = dict.fromkeys(ModeSettings.__struct_fields__, "off")
FORGET_S = 600.0


class Fleet:
    """Keeps every decision, with what it was made of. Policies that are not named are off."""

    def __init__(self, *, settings=None, **modes):
        self.clock = FakeClock(utc_ns=START_NS)
        modes = ModeSettings(**{**OFF, **(modes or {"thermal": "shadow", "hardware": "shadow"})})
        settings = msgspec.structs.replace(settings or AnalyticsSettings(forget_s=FORGET_S), modes=modes)
        self.engine = Engine(settings, self.clock)
        self.said = []
        self.inputs = []

    def follow(self, time_ns):
        behind_s = (time_ns - self.clock.utc_ns()) / NS
        if behind_s > 0:
            self.clock.pass_time(behind_s)

    def hear(self, *heard):
        for item in heard:
            points = item if isinstance(item, list) else [item]
            self.follow(points[-1].time_ns)
            if isinstance(item, Event):
                self.engine.on_event(item)
            else:
                self.engine.on_points(points[0].node, points)
            self.take()
        return self

    def take(self):
        for decision, inputs in self.engine.take().decided:
            self.said.append(decision)
            self.inputs.append(inputs)
        return self

    def tick(self, seconds=0):
        """Ticks of a second."""
        for _ in range(seconds):
            self.clock.pass_time(1)
            self.engine.tick()
        return self.take()

    def states(self):
        return [decision.state for decision in self.said]


def of(node, samples):
    """The same samples from another node."""
    return [msgspec.structs.replace(sample, node=node) for sample in samples]


def at_once(nodes, samples):
    """The samples of several nodes at a time, second by second."""
    return [one for moment in zip(*(of(node, samples) for node in nodes), strict=True) for one in moment]

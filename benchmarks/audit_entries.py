"""Decisions with their inputs, as the engine makes them about nodes of 8 GPUs that overheat and cool."""

from itertools import cycle, islice

import msgspec

from thermogate.analytics.audit import Entry
from thermogate.analytics.config import AnalyticsSettings, GateSettings
from thermogate.analytics.engine import Engine
from thermogate.core.clock import NS
from thermogate.core.signing import SigningKey
from thermogate.core.wire import Point

_START_NS = 1_763_712_000 * NS
_GPUS = 8
_SECONDS = 240
_NODES = 10


class _Clock:
    """Follows the samples."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def utc_ns(self) -> int:
        return _START_NS + round(self.seconds * NS)

    def steady_s(self) -> float:
        return self.seconds

    async def sleep_until(self, steady_s: float) -> None:
        self.seconds = steady_s


class Entries:
    """Sealed decisions and inputs, again and again the same."""

    def __init__(self, key: SigningKey) -> None:
        made = _decided()
        if not made:
            raise SystemExit("the engine made no decision of the trace: there is nothing to measure")
        sealed = [(key.seal(decision)[1], inputs) for decision, inputs in made]
        self.count = len(sealed)
        self._cycle = cycle(sealed)

    def take(self, many: int) -> list[Entry]:
        """The next ones."""
        return list(islice(self._cycle, many))


def _decided() -> list[tuple[object, bytes]]:
    clock = _Clock()
    gate = GateSettings(ttl_s=20.0, dwell_s=0.0, silent_s=5.0)  # renewed every 10 s
    engine = Engine(msgspec.structs.replace(AnalyticsSettings(), gate=gate), clock)
    made = []
    for second in range(_SECONDS):
        clock.seconds = float(second)
        for node in range(_NODES):
            engine.on_points(f"n{node}", _points(f"n{node}", second))
        engine.tick()
        made += engine.take().decided
    return made


def _points(node: str, second: int) -> list[Point]:
    """Up to the limit of 90 C within a minute, and down again after three."""
    temp_c = min(90.0, 60 + second / 2) if second < 180 else max(60.0, 90 - (second - 180) / 2)
    fields = {
        "util_ratio": 0.97,
        "power_w": 640.0 + second % 7,
        "power_limit_w": 700.0,
        "temp_c": temp_c,
        "temp_limit_c": 90.0,
        "rle": 0.41,
        "collapse": 0.0,
    }
    stamp = _START_NS + second * NS
    return [Point("gpu", node, str(gpu), "H100-SXM", "", dict(fields), stamp) for gpu in range(_GPUS)]

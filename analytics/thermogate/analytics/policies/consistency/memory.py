"""What the consistency policy remembers of a node, and how a restart changes it."""

import msgspec
from msgspec.structs import replace

from thermogate.analytics.policies.consistency.watch import Watch
from thermogate.analytics.policies.standing import Standing, resumed
from thermogate.core.decision import GateDecision

MOVED_METRIC = "power_moved_ratio"
"""What else is told of a temperature that is stuck."""
METRICS = {
    "range": "impossible_temp_c",
    "jump": "temp_jump_c",
    "far": "slowed_margin_c",
    "over": "power_over_limit_ratio",
    "busy": "busy_power_ratio",
    "stuck": "same_temp_s",
    "apart": "stamps_apart_s",
}
"""The metric of each rule."""
_RULE_OF = {metric: rule for rule, metric in METRICS.items()} | {MOVED_METRIC: "stuck"}


class ConsistencyState(msgspec.Struct, frozen=True):
    """What the policy remembers of a node: its devices, since when their stamps have been apart (0: they are
    not), and what stands against it."""

    devices: dict[str, Watch] = {}
    apart_ns: int = 0
    standing: Standing = Standing()


def initial() -> ConsistencyState:
    """A node of which nothing is known: it runs."""
    return ConsistencyState()


def resume(decision: GateDecision) -> ConsistencyState:
    """A node about which `decision` says SYNC: it stands until the contradiction has been gone for long.

    Its pace is what another policy asked for: SYNC asks for none.
    """
    return ConsistencyState(standing=resumed(replace(decision, pace=1.0), _RULE_OF))

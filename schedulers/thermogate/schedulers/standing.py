"""What is in force of a target, from the decisions about it. Pure: no clock, no broker."""

from typing import get_args

import msgspec

from thermogate.core.decision import GateDecision, Mode, State, TargetKind
from thermogate.core.errors import ConfigError
from thermogate.core.wire import is_name

Target = tuple[TargetKind, str]
"""Kind and name, such as ("node", "n17")."""


class Standing(msgspec.Struct, frozen=True):
    """What is in force of one target now.

    `state` is RUN, HOLD or REPAIR and `pace` 0 to 1: to be obeyed as they stand. A shadow decision leaves
    them at RUN and 1.0; what it would ask for is in `would`. SYNC leaves both as they were and sets `keep`:
    nothing is changed, nor undone, until it ends. `decision` is the newest valid one; without one, work runs.
    """

    state: State = State.RUN
    pace: float = 1.0
    decision: GateDecision | None = None
    mode: Mode = "enforce"
    """That of `decision`."""
    keep: bool = False

    @property
    def held(self) -> bool:
        """Whether running work is to checkpoint and wait."""
        return self.state != State.RUN

    @property
    def would(self) -> "Standing | None":
        """What would be in force if the policies were switched to enforce; None when that is no other."""
        if self.mode != "shadow" or self.decision is None:
            return None
        wanted = follow(FREE, msgspec.structs.replace(self.decision, mode="enforce"))
        return None if wanted.keep or says(wanted) == says(FREE) else wanted

    @property
    def why(self) -> str:
        """The sentence of the decision, on one line and without control characters; "" when there is none."""
        return printable(self.decision.why) if self.decision is not None else ""


def printable(text: str) -> str:
    """What came over the wire may not write to a terminal or a log what it likes."""
    return "".join(char if char.isprintable() else " " for char in text)


FREE = Standing()
"""Absence means RUN."""


class Change(msgspec.Struct, frozen=True):
    """What is in force of a target has changed; a renewal is no change."""

    kind: TargetKind
    target: str
    before: Standing
    after: Standing


def follow(before: Standing, decision: GateDecision) -> Standing:
    """What is in force once `decision`, which is valid, has come after `before`."""
    if decision.mode == "shadow":
        return Standing(decision=decision, mode="shadow")
    if decision.state == State.SYNC:
        return Standing(before.state, before.pace, decision, keep=True)
    return Standing(decision.state, min(1.0, max(0.0, decision.pace)), decision)


def says(standing: Standing) -> tuple[object, ...]:
    """What a change is a change of: two standings that say the same differ in their renewals only."""
    wanted = (
        (standing.decision.state, standing.decision.pace)
        if standing.mode == "shadow" and standing.decision
        else ()
    )
    return standing.state, standing.pace, standing.mode if wanted else "enforce", standing.keep, wanted


def parse_target(text: str) -> Target:
    """ "node/n17" as ("node", "n17"). Raises ConfigError."""
    kinds: dict[str, TargetKind] = {kind: kind for kind in get_args(TargetKind)}
    kind, _, name = text.partition("/")
    if kind not in kinds or not is_name(name):
        raise ConfigError(
            f"target {text[:200]!r}: expected KIND/NAME, such as job/train-7; KIND is {', '.join(kinds)}"
        )
    return kinds[kind], name

"""Alarms: what stands against running a node, from when it fires until it has been calm for long."""

from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from thermogate.core.clock import NS
from thermogate.core.decision import Reason

Rule = Literal["lost", "hung", "heat", "collapse"]

SEVERITY: tuple[Rule, ...] = ("lost", "hung", "heat", "collapse")
"""Gravest first: the order in which reasons are told."""
FAULTS: frozenset[Rule] = frozenset(("lost", "hung"))
"""The rules that call for REPAIR; the others call for HOLD."""


def key_of(rule: Rule, device: str) -> str:
    """Under which an alarm is kept: one of each rule a device."""
    return f"{rule} {device}"


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that has fired on one device and is not released.

    `because` are the numbers when it last fired; `pace` is the lowest that was asked for.
    `calm_since_ns` is 0 unless the release condition holds now; `evidence_ns` is when the rule could
    last be judged, 0 after a restart.
    """

    rule: Rule
    device: str
    since_ns: int
    pace: float
    because: tuple[Reason, ...]
    calm_since_ns: int = 0
    evidence_ns: int = 0


class Finding(NamedTuple):
    """What a rule finds at one instant: an alarm, or whether its release condition holds.

    `calm` is None when there is nothing to judge it by.
    """

    fired: Alarm | None = None
    calm: bool | None = None


NOTHING = Finding()


def follow(
    before: Alarm | None, found: Finding, *, now_ns: int, release_s: float, stale_s: float
) -> Alarm | None:
    """The alarm after a finding; None when there is none, or it is released.

    The release condition must hold for `release_s` on end. An alarm that could not be judged for
    `stale_s` lets go too. One that fires again takes the newest numbers and the lowest pace.
    """
    if found.fired:
        return _fire(before, found.fired, now_ns)
    if before is None:
        return None
    if found.calm is None:
        evidence_ns = before.evidence_ns or now_ns
        stale = now_ns - evidence_ns >= stale_s * NS
        return None if stale else replace(before, calm_since_ns=0, evidence_ns=evidence_ns)
    calm_since_ns = (before.calm_since_ns or now_ns) if found.calm else 0
    if found.calm and now_ns - calm_since_ns >= release_s * NS:
        return None
    return replace(before, calm_since_ns=calm_since_ns, evidence_ns=now_ns)


def _fire(before: Alarm | None, fired: Alarm, now_ns: int) -> Alarm:
    since_ns = before.since_ns if before else fired.since_ns
    pace = min(before.pace, fired.pace) if before else fired.pace
    because = tuple(replace(reason, since_ns=since_ns) for reason in fired.because)
    return replace(fired, since_ns=since_ns, pace=pace, because=because, evidence_ns=now_ns)

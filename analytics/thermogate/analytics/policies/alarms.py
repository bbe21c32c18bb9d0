"""Alarms: what stands against a target, from when a rule fires until it has been calm for long.

Every policy tells of faults in this way: a rule that fires makes an alarm, which stands until the
release condition of the rule has held for long enough on end, or nothing has come to judge it by.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from thermogate.core.clock import NS
from thermogate.core.decision import Reason


def key_of(rule: str, device: str) -> str:
    """Under which an alarm is kept: one of each rule a device."""
    return f"{rule} {device}"


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that has fired on one device and is not released.

    `device` is "gpu0", or what else of the target it is about. `because` are the numbers when it last
    fired; `pace` is the lowest that was asked for. `calm_since_ns` is 0 unless the release condition
    holds now; `evidence_ns` is when the rule could last be judged, 0 after a restart.
    """

    rule: str
    device: str
    since_ns: int
    pace: float
    because: tuple[Reason, ...]
    calm_since_ns: int = 0
    evidence_ns: int = 0


_GAP_S = 30.0
"""What tells nothing of an alarm (an event, a message of others) ends what is on end after this only."""


class Finding(NamedTuple):
    """What a rule finds at one instant: an alarm, or whether its release condition holds.

    `calm` is None when there is nothing to judge it by.
    """

    fired: Alarm | None = None
    calm: bool | None = None


NOTHING = Finding()


class Patience(NamedTuple):
    """How long a release condition must hold on end, and after how long without evidence an alarm lets go.

    `stale_s` may be infinite: an alarm that only something observed releases.
    """

    release_s: float
    stale_s: float


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
        unseen_ns = now_ns - evidence_ns
        if unseen_ns >= stale_s * NS:
            return None
        calm_since_ns = before.calm_since_ns if unseen_ns <= _GAP_S * NS else 0
        return replace(before, calm_since_ns=calm_since_ns, evidence_ns=evidence_ns)
    calm_since_ns = (before.calm_since_ns or now_ns) if found.calm else 0
    if found.calm and now_ns - calm_since_ns >= release_s * NS:
        return None
    return replace(before, calm_since_ns=calm_since_ns, evidence_ns=now_ns)


def follow_all(
    before: Mapping[str, Alarm],
    found: Mapping[str, Finding],
    *,
    now_ns: int,
    patience: Callable[[Alarm], Patience],
) -> tuple[dict[str, Alarm], list[Alarm]]:
    """The alarms of a target after what was found, by `key_of`, and those that were released."""
    alarms: dict[str, Alarm] = {}
    released: list[Alarm] = []
    fired: Iterable[str] = (key for key, finding in found.items() if finding.fired and key not in before)
    for key in (*before, *fired):
        was = before.get(key)
        release_s, stale_s = patience(was) if was else (0.0, 0.0)
        alarm = follow(was, found.get(key, NOTHING), now_ns=now_ns, release_s=release_s, stale_s=stale_s)
        if alarm:
            alarms[key] = alarm
        elif was:
            released.append(was)
    return alarms, released


def _fire(before: Alarm | None, fired: Alarm, now_ns: int) -> Alarm:
    since_ns = before.since_ns if before else fired.since_ns
    pace = min(before.pace, fired.pace) if before else fired.pace
    because = tuple(replace(reason, since_ns=since_ns) for reason in fired.because)
    return replace(fired, since_ns=since_ns, pace=pace, because=because, evidence_ns=now_ns)

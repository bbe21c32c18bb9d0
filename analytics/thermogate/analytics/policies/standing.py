"""What stands against a target, and how it is told: the same for every policy that works by alarms."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from thermogate.analytics.policies.alarms import Alarm, Finding, Patience, follow_all, key_of
from thermogate.analytics.policies.base import Verdict
from thermogate.core.clock import NS
from thermogate.core.decision import Cjp, GateDecision, Reason, State

NOTHING_SAID = "nothing stands against running"
RUN = Verdict(State.RUN, 1.0, NOTHING_SAID, (), Cjp("", NOTHING_SAID, ""))
_TOLD = 3
"""Alarms that a path spells out; with more, a person reads `because`."""


class Standing(msgspec.Struct, frozen=True):
    """The alarms of a target by `key_of`, since when there have been any, and what is said of their end."""

    alarms: dict[str, Alarm] = {}
    since_ns: int = 0
    cleared: Verdict | None = None


class Voice(Protocol):
    """What a policy knows of its rules. Sentences are made of an alarm's numbers alone, so that they
    survive a restart; `cleared` also looks at what released it."""

    def gravity(self, alarm: Alarm, /) -> int:
        """The order in which alarms are told: the least first."""
        ...

    def state(self, alarm: Alarm, /) -> State:
        """What the alarm calls for."""
        ...

    def patience(self, alarm: Alarm, /) -> Patience:
        """When it is released."""
        ...

    def the(self, alarm: Alarm, /) -> str:
        """What it is about, as a person calls it."""
        ...

    def matter(self, alarm: Alarm, /) -> str:
        """What was measured, against which threshold, over which window."""
        ...

    def advice(self, alarm: Alarm, pace: float, /) -> str:
        """What to do."""
        ...

    def conflict(self, alarm: Alarm, /) -> str:
        """Which signals disagree."""
        ...

    def justify(self, alarm: Alarm, /) -> str:
        """Why this state and no other."""
        ...

    def path(self, alarm: Alarm, /) -> str:
        """What releases it, as a clause after "RUN when"."""
        ...

    def cleared(self, alarm: Alarm, now_ns: int, /) -> tuple[str, tuple[Reason, ...]]:
        """What has released it, and the numbers that say so."""
        ...


def go_on(
    voice: Voice, before: Standing, found: Mapping[str, Finding], now_ns: int
) -> tuple[Standing, Verdict]:
    """What stands after what was found, by `key_of`, and the verdict then."""
    if not before.alarms and not found:
        return before, before.cleared or RUN
    alarms, released = follow_all(before.alarms, found, now_ns=now_ns, patience=voice.patience)
    cleared = _cleared(voice, before, released, now_ns) if released else before.cleared
    if alarms:
        since_ns = before.since_ns if before.alarms else now_ns
        return Standing(alarms, since_ns, cleared), _verdict(voice, alarms)
    return (Standing({}, 0, cleared) if released else before), cleared or RUN


def resumed(decision: GateDecision, rule_of: Mapping[str, str]) -> Standing:
    """What stands by `decision`, made before a restart: its reasons, by the rule of their metric.

    Samples from before the restart are not known, so only what the decision says is kept.
    """
    alarms: dict[str, Alarm] = {}
    for reason in decision.because if decision.state is not State.RUN else ():
        rule = rule_of.get(reason.metric)
        if rule is None:
            continue
        key = key_of(rule, reason.device)
        because = (*alarms[key].because, reason) if key in alarms else (reason,)
        alarms[key] = Alarm(
            rule=rule, device=reason.device, since_ns=reason.since_ns, pace=decision.pace, because=because
        )
    return Standing(alarms, min((alarm.since_ns for alarm in alarms.values()), default=0))


def _verdict(voice: Voice, alarms: Mapping[str, Alarm]) -> Verdict:
    ordered = _ordered(voice, alarms.values())
    pace = min(alarm.pace for alarm in ordered)
    because = tuple(reason for alarm in ordered for reason in alarm.because)
    return Verdict(voice.state(ordered[0]), pace, _why(voice, ordered, pace), because, _cjp(voice, ordered))


def _ordered(voice: Voice, alarms: Iterable[Alarm]) -> list[Alarm]:
    return sorted(alarms, key=lambda alarm: (voice.gravity(alarm), alarm.since_ns, alarm.device))


def _why(voice: Voice, ordered: Sequence[Alarm], pace: float) -> str:
    """What is the matter, gravest first, and what to do about it."""
    first = ordered[0]
    others = dict.fromkeys(voice.the(alarm) for alarm in ordered if alarm.device != first.device)
    also = f" (also {', '.join(others)})" if others else ""
    return f"{voice.matter(first)}{also}: {voice.advice(first, pace)}"


def _cjp(voice: Voice, ordered: Sequence[Alarm]) -> Cjp:
    """The conflict and justification of the gravest alarm, and the way out of all of them."""
    first = ordered[0]
    paths = [voice.path(alarm) for alarm in ordered[:_TOLD]]
    if len(ordered) > _TOLD:
        paths.append(f"the same for {len(ordered) - _TOLD} more")
    return Cjp(voice.conflict(first), voice.justify(first), f"RUN when {', and '.join(paths)}")


def _cleared(voice: Voice, before: Standing, released: Sequence[Alarm], now_ns: int) -> Verdict:
    """What to say once nothing stands: what the gravest of the alarms released last says now."""
    alarm = _ordered(voice, released)[0]
    what, because = voice.cleared(alarm, now_ns)
    lasted_s = max(0, now_ns - before.since_ns) / NS
    why = f"{what}: work may go on after {lasted_s:.0f} s of {voice.state(alarm)}"
    return Verdict(State.RUN, 1.0, why, because, Cjp("", what, ""))

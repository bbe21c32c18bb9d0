"""Several policies, an operator and a circuit breaker about one target: what is to be said of it. Pure.

The rule: an operator goes before every policy; what is enforced goes before what is in shadow; then
REPAIR > SYNC > HOLD > RUN. The pace is the least that any policy of the same mode asks for.
"""

import datetime
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from thermogate.analytics.policies.base import Verdict
from thermogate.core.clock import NS
from thermogate.core.decision import Cjp, Mode, Opinion, Reason, State
from thermogate.core.gate_messages import Override

OPERATOR, ENGINE = "operator", "engine"
"""Who decides when no policy does: an operator, and the engine itself about a node that is silent."""
GRAVITY = {State.RUN: 0, State.HOLD: 1, State.SYNC: 2, State.REPAIR: 3}
STOPS = frozenset((State.HOLD, State.REPAIR))
NOTHING = Verdict(State.RUN, 1.0, "nothing stands against running", (), Cjp("", "", ""))
SILENCE_METRIC = "silence_s"
_MAX_OTHERS = 8


class Said(msgspec.Struct, frozen=True):
    """What a policy says of a target, and what it may do."""

    policy: str
    version: int
    mode: Mode
    verdict: Verdict


class Room(msgspec.Struct, frozen=True):
    """What the circuit breaker leaves: `free` is False when nothing more may be held, for `why`."""

    free: bool = True
    why: str = ""


class Silence(msgspec.Struct, frozen=True):
    """A held target has said nothing new for `lasted_s`; `over` once that is too long to go on holding it."""

    lasted_s: float
    most_s: float
    over: bool


class Kept(msgspec.Struct, frozen=True):
    """The target was let go `count` times within an hour: what stands stays until `until_ns`."""

    state: State
    pace: float
    mode: Mode
    policy: str
    version: int
    count: int
    until_ns: int


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """All that one decision is made of. `by` is the policy of the decision before, `holding` whether the
    target is held by it."""

    said: tuple[Said, ...]
    by: str = ""
    holding: bool = False
    room: Room = Room()
    override: Override | None = None
    silence: Silence | None = None
    kept: Kept | None = None


class Ruling(NamedTuple):
    """What is to be said: a verdict, whose it is, in which mode, and what the others say."""

    verdict: Verdict
    policy: str
    version: int
    mode: Mode
    others: tuple[Opinion, ...] = ()


def combine(case: Case) -> Ruling:
    """The ruling about a target."""
    if case.override is not None:
        return _told(case.override, case.said)
    if case.silence is not None:
        return Ruling(_silent(case.silence), ENGINE, 0, "enforce", _others(case.said, None))
    ruling = _weigh(case)
    kept = case.kept
    if kept is not None and _stays(kept, ruling, case.said):
        return Ruling(_keep(kept, ruling.verdict), kept.policy, kept.version, kept.mode, ruling.others)
    return ruling


def _weigh(case: Case) -> Ruling:
    chosen = _choose(case.said, case.by)
    if chosen is None:
        return Ruling(NOTHING, case.by or ENGINE, 0, "shadow")
    stops = chosen.mode == "enforce" and chosen.verdict.state in STOPS
    if stops and not case.room.free and not case.holding:
        # What may not be held is told in shadow; what else is enforced, a pace say, still is.
        said = tuple(_in_shadow(one, case.room.why) if _stops(one) else one for one in case.said)
        return _weigh(replace(case, said=said))
    slowest = min((one.verdict for one in case.said if one.mode == chosen.mode), key=lambda one: one.pace)
    verdict = replace(chosen.verdict, pace=slowest.pace, urgent=slowest.urgent)
    return Ruling(verdict, chosen.policy, chosen.version, chosen.mode, _others(case.said, chosen))


def _stays(kept: Kept, ruling: Ruling, said: Sequence[Said]) -> bool:
    """Whether what stands stays: not what an operator takes back, not for a policy that is no longer
    enforced, and what is in shadow not before what is enforced."""
    if GRAVITY[ruling.verdict.state] >= GRAVITY[kept.state] or kept.policy == OPERATOR:
        return False
    if kept.mode == "shadow":
        return ruling.mode == "shadow" or not ruling.verdict.asks
    return kept.policy == ENGINE or any(one.policy == kept.policy and one.mode == "enforce" for one in said)


def _choose(said: Sequence[Said], by: str) -> Said | None:
    """The policy that decides; when none asks, the one that decided before says what has cleared."""
    asking = [one for one in said if one.verdict.asks]
    if asking:
        # The sort is stable: of equals the first policy of the registry decides.
        return min(asking, key=_rank)
    return next((one for one in said if one.policy == by), said[0] if said else None)


def _rank(one: Said) -> tuple[bool, int, float]:
    return one.mode != "enforce", -GRAVITY[one.verdict.state], one.verdict.pace


def _others(said: Sequence[Said], chosen: Said | None) -> tuple[Opinion, ...]:
    rest = [one for one in said if one is not chosen and one.verdict.asks]
    return tuple(
        Opinion(
            policy=one.policy,
            state=one.verdict.state,
            pace=one.verdict.pace,
            mode=one.mode,
            why=one.verdict.why,
        )
        for one in rest[:_MAX_OTHERS]
    )


def _stops(one: Said) -> bool:
    return one.mode == "enforce" and one.verdict.state in STOPS


def _in_shadow(one: Said, why: str) -> Said:
    verdict = replace(one.verdict, why=f"{one.verdict.why}; not enforced: {why}")
    return replace(one, mode="shadow", verdict=verdict)


def _told(word: Override, said: Sequence[Said]) -> Ruling:
    until = _utc(word.until_ns)
    whole = "" if word.kind in ("node", "job") else f" of {word.kind} {word.target}"
    why = f"{word.why} ({word.by}{whole}, until {until})"
    path = f"until {until}, or when {word.by} or another operator takes it back"
    cjp = Cjp("", f"{word.by} has said so, and an operator goes before every policy", path)
    return Ruling(Verdict(word.state, word.pace, why, (), cjp), OPERATOR, 0, "enforce", _others(said, None))


def _keep(kept: Kept, now: Verdict) -> Verdict:
    until = _utc(kept.until_ns)
    why = f"let go {kept.count} times within an hour: {kept.state} stays until {until}; now {now.why}"
    reason = Reason(metric="eased_count", value=kept.count, threshold=kept.count, window_s=3600.0)
    justify = "what fires again and again is not mended, and each time costs a checkpoint"
    cjp = Cjp("it is let go and fires again", justify, f"{until}, when nothing stands against it then")
    return Verdict(kept.state, kept.pace, why, (reason,), cjp)


def _utc(time_ns: int) -> str:
    return datetime.datetime.fromtimestamp(time_ns // NS, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _silent(silence: Silence) -> Verdict:
    reason = Reason(
        metric=SILENCE_METRIC, value=round(silence.lasted_s, 1), threshold=silence.most_s, unit="s"
    )
    heard = f"nothing new has been heard of this node for {silence.lasted_s:.0f} s"
    if silence.over:
        why = f"{heard}: what was held is let go (after {silence.most_s:.0f} s), somebody has to look at it"
        return Verdict(State.RUN, 1.0, why, (reason,), Cjp("", "nobody knows more than half an hour ago", ""))
    why = f"{heard}: what is held stays, nothing new is decided until it speaks"
    path = f"RUN or what its samples say when it speaks again, RUN after {silence.most_s:.0f} s without"
    return Verdict(
        State.SYNC, 1.0, why, (reason,), Cjp("held, and not seen", "silence is no sign of health", path)
    )

"""The gate: from rulings to decisions. It changes seldom, renews what stands, and lets go by itself.

Pure: `due` says whether to speak, `issue` says it. What all policies share is here: dwell, renewal,
expiry, sequence, and the bound on how often a target is let go.
"""

import hashlib
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from thermogate.analytics.combine import GRAVITY, OPERATOR, SILENCE_METRIC, STOPS, Kept, Ruling
from thermogate.analytics.config import GateSettings
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, State, TargetKind, new_ulid
from thermogate.core.model import Origin

_DIGEST_HEX = 32
"""128 bits of SHA-256: nobody finds a second input for them, and a person can compare them."""
_HOUR_NS = 3600 * NS


class GateState(msgspec.Struct, frozen=True):
    """What the gate remembers of one target. `last` is what it said; `seq` never goes down.

    `held_as`: HOLD or REPAIR while a scheduler that obeys keeps the target from running, else RUN.
    `eased_ns` are the times of the last hour at which it went to a less grave state.
    """

    last: GateDecision | None = None
    changed_at_ns: int = 0
    seq: int = 0
    held_as: State = State.RUN
    eased_ns: tuple[int, ...] = ()


class About(NamedTuple):
    """Of which target a decision is, and where its samples come from."""

    kind: TargetKind
    target: str
    origin: Origin | None = None


def recover(params: GateSettings, decision: GateDecision, now_ns: int) -> GateState:
    """The state after a restart, from the decision retained on the target's topic.

    When the decision changed, and was not only renewed, is not known: the dwell begins again. Of a SYNC it is
    not known whether anything is held; it is taken to be. That of a node that is silent tells by how long it
    may be so whether the node is to be repaired.
    """
    if not decision.valid_at(now_ns):
        return GateState(seq=decision.seq)
    repairs = any(
        (one.metric, one.threshold) == (SILENCE_METRIC, params.silent_repair_s) for one in decision.because
    )
    stops = State.REPAIR if repairs else State.HOLD
    before = stops if decision.state is State.SYNC else State.RUN
    held_as = _held_as(decision, before)
    return GateState(last=decision, changed_at_ns=decision.issued_at_ns, seq=decision.seq, held_as=held_as)


def in_force(state: GateState, now_ns: int) -> GateDecision | None:
    """The last decision while it has not expired."""
    return state.last if state.last is not None and state.last.valid_at(now_ns) else None


def is_held(state: GateState, now_ns: int) -> bool:
    """Whether a scheduler that obeys holds the target now."""
    return state.held_as is not State.RUN and in_force(state, now_ns) is not None


def after(state: GateState) -> tuple[int, str]:
    """The sequence number and the id that the next decision follows."""
    return state.seq, state.last.id if state.last is not None else ""


def learn(state: GateState, before: GateDecision, decision: GateDecision, now_ns: int) -> GateState:
    """The state after reading in the store that `decision` followed `before`."""
    eased = GRAVITY[decision.state] < GRAVITY[before.state]
    at_ns = decision.issued_at_ns
    if not eased or at_ns in state.eased_ns:  # the audit log and the store tell the same
        return state
    return replace(state, eased_ns=_of_the_hour((*state.eased_ns, at_ns), now_ns))


def due(params: GateSettings, state: GateState, ruling: Ruling, now_ns: int) -> bool:
    """Whether `ruling` is to be said now: it is news and may be said, or a renewal is due.

    A target that runs at full pace and of which nothing was said gets no decision: absence means RUN.
    """
    last = in_force(state, now_ns)
    verdict = ruling.verdict
    if last is None:
        return verdict.asks
    if _differs(last, ruling):
        urgent = ruling.policy == OPERATOR or last.policy == OPERATOR
        urgent = urgent or (verdict.state is State.REPAIR and last.state is not State.REPAIR)
        urgent = urgent or (verdict.urgent and verdict.pace < last.pace)
        return urgent or _passed(state.changed_at_ns, params.dwell_s, now_ns)
    if not verdict.asks:
        return False  # it may expire: it says the same afterwards
    return _passed(last.issued_at_ns, params.ttl_s * params.renew_share, now_ns)


def kept(params: GateSettings, state: GateState, now_ns: int) -> Kept | None:
    """What has to stay, because the target was let go too often within the last hour."""
    last = in_force(state, now_ns)
    eased = _of_the_hour(state.eased_ns, now_ns)
    if last is None or len(eased) < params.eased_most_count:
        return None
    until_ns = eased[-params.eased_most_count] + _HOUR_NS
    return Kept(
        last.state, last.pace, last.mode, last.policy, last.policy_version, params.eased_most_count, until_ns
    )


def issue(
    params: GateSettings, state: GateState, about: About, ruling: Ruling, now_ns: int, inputs: str
) -> tuple[GateState, GateDecision]:
    """The decision that says `ruling`, issued at `now_ns` (UTC)."""
    last = in_force(state, now_ns)
    follows = after(state)
    decision = compose(params, about, ruling, now_ns, after=follows, inputs=inputs)
    same = last is not None and not _differs(last, ruling)
    eased = _of_the_hour(state.eased_ns, now_ns)
    if last is not None and _eases(last, ruling):
        eased = (*eased, now_ns)
    return GateState(
        last=decision,
        changed_at_ns=state.changed_at_ns if same else now_ns,
        seq=decision.seq,
        held_as=_held_as(decision, state.held_as if is_held(state, now_ns) else State.RUN),
        eased_ns=eased,
    ), decision


def compose(
    params: GateSettings, about: About, ruling: Ruling, now_ns: int, *, after: tuple[int, str], inputs: str
) -> GateDecision:
    """The decision as it is said; `after` are the sequence number and id of the one before.

    Its sequence number is at least the UTC milliseconds: it grows across a restart even when the
    broker has forgotten what was retained. Its id is made of what it says, not drawn.
    """
    seq = max(after[0] + 1, now_ns // 1_000_000)
    seed = f"{about.kind}/{about.target}/{seq}/{inputs}".encode()
    verdict = ruling.verdict
    return GateDecision(
        id=new_ulid(now_ns, hashlib.sha256(seed).digest()[:10]),
        seq=seq,
        kind=about.kind,
        target=about.target,
        state=verdict.state,
        pace=verdict.pace,
        mode=ruling.mode,
        issued_at_ns=now_ns,
        expires_at_ns=now_ns + int(params.ttl_s * NS),
        policy=ruling.policy,
        policy_version=ruling.version,
        why=verdict.why + (f" ({about.origin})" if about.origin else ""),
        because=verdict.because,
        cjp=verdict.cjp,
        inputs=inputs,
        supersedes=after[1],
        others=ruling.others,
    )


def digest(inputs: bytes) -> str:
    """The digest of the inputs of a decision, as it stands in it."""
    return hashlib.sha256(inputs).hexdigest()[:_DIGEST_HEX]


def _differs(last: GateDecision, ruling: Ruling) -> bool:
    """Whether the ruling is another one. Of two that ask for nothing the mode is no matter."""
    verdict = ruling.verdict
    if (verdict.state, verdict.pace) != (last.state, last.pace):
        return True
    return verdict.asks and ruling.mode != last.mode


def _eases(last: GateDecision, ruling: Ruling) -> bool:
    return GRAVITY[ruling.verdict.state] < GRAVITY[last.state]


def _of_the_hour(eased_ns: tuple[int, ...], now_ns: int) -> tuple[int, ...]:
    return tuple(at_ns for at_ns in eased_ns if 0 <= now_ns - at_ns < _HOUR_NS)


def _held_as(decision: GateDecision, before: State) -> State:
    if decision.mode != "enforce":
        return State.RUN
    if decision.state is State.SYNC:
        return before
    return decision.state if decision.state in STOPS else State.RUN


def _passed(since_ns: int, time_s: float, now_ns: int) -> bool:
    """Whether `time_s` has passed; so it has when the clock was set back past `since_ns`."""
    return not 0 <= now_ns - since_ns < time_s * NS

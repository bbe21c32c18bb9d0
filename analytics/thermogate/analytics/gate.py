"""The gate: from verdicts to decisions. It changes seldom, renews what stands, and lets go by itself.

Pure: `due` says whether to speak, `issue` says it. What all policies share is here: dwell, renewal,
expiry, sequence, mode. A decision is made of one verdict; where several policies are combined, or a
circuit breaker bounds how much of a fleet is held, it is between the verdicts and `due`.
"""

import hashlib

import msgspec

from thermogate.analytics.config import GateSettings
from thermogate.analytics.policies.base import Observation, Verdict
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, State, new_ulid

_DIGEST_HEX = 32
"""128 bits of SHA-256: nobody finds a second input for them, and a person can compare them."""


class GateState(msgspec.Struct, frozen=True):
    """What the gate remembers of one target. `last` is what it said; `seq` never goes down."""

    last: GateDecision | None = None
    changed_at_ns: int = 0
    seq: int = 0


def recover(decision: GateDecision, now_ns: int) -> GateState:
    """The state after a restart, from the decision retained on the target's topic.

    When the decision changed, and was not only renewed, is not known: the dwell begins again.
    """
    if not decision.valid_at(now_ns):
        return GateState(seq=decision.seq)
    return GateState(last=decision, changed_at_ns=decision.issued_at_ns, seq=decision.seq)


def due(params: GateSettings, state: GateState, verdict: Verdict, now_ns: int) -> bool:
    """Whether `verdict` is to be said now: it is news and may be said, or a renewal is due.

    A target that runs and of which nothing was said gets no decision: absence means RUN.
    """
    last = state.last
    if last is None or last.state is State.RUN:
        changed = verdict.state is not State.RUN
    else:
        changed = (verdict.state, verdict.pace, params.mode) != (last.state, last.pace, last.mode)
    if last is None:
        return changed
    if changed:
        urgent = verdict.state is State.REPAIR and last.state is not State.REPAIR
        return urgent or _passed(state.changed_at_ns, params.dwell_s, now_ns)
    if verdict.state is State.RUN:
        return False  # a RUN may expire: it says the same afterwards
    return _passed(last.issued_at_ns, params.ttl_s * params.renew_share, now_ns)


def issue(
    params: GateSettings,
    state: GateState,
    verdict: Verdict,
    observation: Observation,
    now_ns: int,
    *,
    policy: str,
    policy_version: int,
    inputs: str,
) -> tuple[GateState, GateDecision]:
    """The decision that says `verdict`, issued at `now_ns` (UTC).

    Its sequence number is at least the UTC milliseconds: it grows across a restart even when the
    broker has forgotten what was retained. Its id is made of what it says, not drawn.
    """
    last = state.last
    seq = max(state.seq + 1, now_ns // 1_000_000)
    seed = f"{observation.kind}/{observation.target}/{seq}/{inputs}".encode()
    decision = GateDecision(
        id=new_ulid(now_ns, hashlib.sha256(seed).digest()[:10]),
        seq=seq,
        kind=observation.kind,
        target=observation.target,
        state=verdict.state,
        pace=verdict.pace,
        mode=params.mode,
        issued_at_ns=now_ns,
        expires_at_ns=now_ns + int(params.ttl_s * NS),
        policy=policy,
        policy_version=policy_version,
        why=verdict.why + (f" ({observation.origin})" if observation.origin else ""),
        because=verdict.because,
        cjp=verdict.cjp,
        inputs=inputs,
        supersedes=last.id if last else "",
    )
    renewed = last is not None and (last.state, last.pace, last.mode) == (
        decision.state,
        decision.pace,
        decision.mode,
    )
    changed_at_ns = state.changed_at_ns if renewed else now_ns
    return GateState(last=decision, changed_at_ns=changed_at_ns, seq=seq), decision


def digest(policy: str, policy_version: int, params: object, state: object, observation: Observation) -> str:
    """A digest of everything that the verdict of one step was computed from.

    It is taken of the JSON with sorted keys, so that whoever has the same inputs finds the same.
    """
    inputs = (policy, policy_version, params, state, observation)
    encoded = msgspec.json.encode(inputs, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:_DIGEST_HEX]


def _passed(since_ns: int, time_s: float, now_ns: int) -> bool:
    """Whether `time_s` has passed; so it has when the clock was set back past `since_ns`."""
    return not 0 <= now_ns - since_ns < time_s * NS

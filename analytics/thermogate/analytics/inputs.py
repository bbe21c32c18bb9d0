"""What a decision was made of, kept for the audit, and the decision made of it again. Pure.

One step of the deciding policy is kept whole (settings, state before, observation); of the other policies
what they said. So whoever has the inputs computes the deciding verdict anew, weighs it against the rest, and
must come to the same decision.
"""

from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from thermogate.analytics.combine import Case, Said, combine
from thermogate.analytics.config import AnalyticsSettings, GateSettings
from thermogate.analytics.gate import About, compose, digest
from thermogate.analytics.policies.base import GroupObservation, JobObservation, Observation, Verdict
from thermogate.analytics.policies.registry import GROUP_POLICIES, JOB_POLICIES, NODE_POLICIES
from thermogate.core.decision import GateDecision, TargetKind
from thermogate.core.errors import WireError
from thermogate.core.model import Origin

FORM = "thermogate-inputs/1"


class Step(NamedTuple):
    """One step of a policy as it was taken: everything is immutable, so keeping it costs a reference."""

    policy: str
    version: int
    params: object
    state: object
    observation: object


class _Step(msgspec.Struct, frozen=True):
    policy: str
    version: int
    params: msgspec.Raw
    state: msgspec.Raw
    observation: msgspec.Raw


class _Inputs(msgspec.Struct, frozen=True, kw_only=True):
    form: str
    kind: TargetKind
    target: str
    origin: Origin | None
    now_ns: int
    after: tuple[int, str]
    gate: GateSettings
    case: Case
    step: _Step | None


def pack(
    gate: GateSettings, about: About, case: Case, step: Step | None, now_ns: int, after: tuple[int, str]
) -> bytes:
    """The inputs as JSON with sorted keys: whoever has the same finds the same bytes, and the same digest."""
    return msgspec.json.encode(
        {
            "form": FORM,
            "kind": about.kind,
            "target": about.target,
            "origin": about.origin,
            "now_ns": now_ns,
            "after": after,
            "gate": gate,
            "case": case,
            "step": step._asdict() if step is not None else None,
        },
        order="deterministic",
    )


def recompute(inputs: bytes, settings: AnalyticsSettings | None = None) -> GateDecision:
    """The decision that follows from `inputs`, without issuer and signature.

    With `settings` thresholds and modes are taken from there: what would have been decided. Raises
    WireError for inputs that this version cannot read.
    """
    try:
        had = msgspec.json.decode(inputs, type=_Inputs)
        if had.form != FORM:
            raise WireError(f"inputs are of the form {had.form!r}, not {FORM!r}")
        said = tuple(_say_again(had, settings))
    except msgspec.MsgspecError as err:
        raise WireError(f"inputs cannot be read by this version: {err}") from err
    gate = had.gate if settings is None else settings.gate
    about = About(had.kind, had.target, had.origin)
    ruling = combine(replace(had.case, said=said))
    return compose(gate, about, ruling, had.now_ns, after=had.after, inputs=digest(inputs))


def _say_again(had: _Inputs, settings: AnalyticsSettings | None) -> list[Said]:
    """What was said, in the modes of `settings`, the deciding verdict computed anew."""
    said = []
    for one in had.case.said:
        mode = one.mode if settings is None else getattr(settings.modes, one.policy, one.mode)
        if mode == "off":
            continue
        if had.step is not None and one.policy == had.step.policy:
            version, verdict = _step_again(had.step, had.target, settings)
            said.append(Said(one.policy, version, mode, verdict))
        else:
            said.append(replace(one, mode=mode))
    return said


def _step_again(step: _Step, target: str, settings: AnalyticsSettings | None) -> tuple[int, Verdict]:
    policy, observed = _policy(step.policy)
    known = getattr(AnalyticsSettings() if settings is None else settings, step.policy)
    params = known if settings is not None else msgspec.json.decode(step.params, type=type(known))
    state = msgspec.json.decode(step.state, type=type(policy.initial()))
    observation: object = msgspec.json.decode(step.observation, type=observed)
    _, verdict = policy.step(params, state, observation)
    return policy.VERSION, verdict[target] if isinstance(verdict, dict) else verdict


def _policy(name: str) -> tuple[Any, type]:
    kinds = ((NODE_POLICIES, Observation), (JOB_POLICIES, JobObservation), (GROUP_POLICIES, GroupObservation))
    for policies, observed in kinds:
        for policy in policies:
            if name == policy.NAME:
                return policy, observed
    raise WireError(f"there is no policy {name!r} in this version")

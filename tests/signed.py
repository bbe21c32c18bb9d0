"""A decision and an override to be signed, and the key of tests."""

from thermogate.core.decision import Cjp, GateDecision, Reason, State
from thermogate.core.gate_messages import Override
from thermogate.core.key_files import TrustedKey
from thermogate.core.signing import SigningKey, TrustedKeys

NOW_NS = 1_763_712_000_000_000_000
KEY = SigningKey.generate()
TRUSTED = TrustedKeys((TrustedKey("gate", KEY.public_bytes),))
DECISION = GateDecision(
    id="01M7ZZARZZXZ9N2XGA5SM7PTVN",
    seq=7,
    kind="node",
    target="n17",
    state=State.HOLD,
    pace=0.7,
    mode="enforce",
    issued_at_ns=NOW_NS,
    expires_at_ns=NOW_NS + 120 * 10**9,
    policy="thermal",
    policy_version=1,
    why="gpu0 is at 85 °C",
    because=(Reason(metric="temp_c", value=85.0, threshold=88.0),),
    cjp=Cjp("none", "hot", "cool"),
    inputs="0" * 32,
)
OVERRIDE = Override(
    id="01M7ZZARZZXZ9N2XGA5SM7PTVN",
    kind="node",
    target="n17",
    state=State.HOLD,
    issued_at_ns=NOW_NS,
    from_ns=NOW_NS,
    until_ns=NOW_NS + 3600 * 10**9,
    why="fan is being changed",
    by="alice",
)

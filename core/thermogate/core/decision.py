"""The gate contract: what is decided about a target, why, and until when."""

import os
import time
from enum import StrEnum
from typing import Literal

import msgspec

from thermogate.core.schema import VERSION

TargetKind = Literal["node", "job", "trial", "retrain", "ensemble", "fleet"]


class State(StrEnum):
    """What a scheduler does. Without a valid decision, work runs."""

    RUN = "RUN"
    """Go on, at `pace`."""
    HOLD = "HOLD"
    """Start nothing new; running work checkpoints and waits."""
    REPAIR = "REPAIR"
    """Take it out of rotation and mend it."""
    SYNC = "SYNC"
    """Signals are stale or disagree: keep what you have, change nothing."""


class Reason(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One measured cause: `metric` on `device` was `value`, against `threshold`, over `window_s`."""

    metric: str
    value: float
    threshold: float
    unit: str = ""
    window_s: float = 0.0
    device: str = ""
    since_ns: int = 0


class Cjp(msgspec.Struct, frozen=True):
    """Conflict: which signals disagree. Justify: why this state. Path: what releases it."""

    conflict: str
    justify: str
    path: str


Mode = Literal["shadow", "enforce"]


class Opinion(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What another policy says of the same target, and in which mode; it did not decide."""

    policy: str
    state: State
    pace: float
    mode: Mode
    why: str


class GateDecision(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Retained on `gate/<kind>/<target>`. After `expires_at_ns` it says nothing.

    `pace` is the share of full power, members or batch to use, 0 to 1. In `shadow` mode nobody
    acts: it is what would have been decided. `inputs` is a digest of what it was computed from.
    `policy` is the one that decided, or "operator"; `others` are the policies that also ask for
    something. `issuer` is the id of the key of `signature` (core/signing.py), which stands last.
    """

    id: str
    seq: int
    kind: TargetKind
    target: str
    state: State
    pace: float
    mode: Mode
    issued_at_ns: int
    expires_at_ns: int
    policy: str
    policy_version: int
    why: str
    because: tuple[Reason, ...]
    cjp: Cjp
    inputs: str
    schema: str = VERSION
    supersedes: str = ""
    others: tuple[Opinion, ...] = ()
    issuer: str = ""
    signature: str = ""

    def valid_at(self, now_ns: int) -> bool:
        """Whether the decision still speaks at `now_ns` (UTC nanoseconds)."""
        return now_ns < self.expires_at_ns


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_ulid(time_ns: int | None = None, entropy: bytes | None = None) -> str:
    """A ULID: 48 bits of UTC milliseconds, 80 random bits, 26 characters that sort by time.

    Source: the ULID specification (github.com/ulid/spec).
    """
    millis = (time.time_ns() if time_ns is None else time_ns) // 1_000_000
    number = millis << 80 | int.from_bytes(os.urandom(10) if entropy is None else entropy)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))

"""Which power limit a GPU is to have, and whose the present one is. Pure."""

from typing import Literal

import msgspec

from thermogate.schedulers.adapter import Mark

WATT_MW = 1000
"""Limits are set in whole watts and compared to within one: a driver may round what it is told."""


class Limits(msgspec.Struct, frozen=True):
    """A GPU's power limit now, the least that may be set, and the one that it has after a boot."""

    now_mw: int
    least_mw: int
    default_mw: int


class Claim(msgspec.Struct, frozen=True):
    """What the journal keeps of a GPU: the limit before ours, and those of ours that may be in force.

    `boot` is the machine's: after another boot limits are the defaults, and nothing is ours.
    """

    boot: str
    before_mw: int
    ours_mw: tuple[int, ...]

    def holds(self, limit_mw: int) -> bool:
        """Whether a limit is one that we have set."""
        return any(_same(limit_mw, ours_mw) for ours_mw in self.ours_mw)


class Move(msgspec.Struct, frozen=True):
    """What to do about one GPU.

    `set`: to `limit_mw`, with `claim` in the journal before. `restore`: to `limit_mw`, and the claim ends.
    `forget`: the claim ends without a call. `rest`: all is as wanted. `theirs`: somebody has changed what we
    had set, and theirs stays.
    """

    what: Literal["set", "restore", "forget", "rest", "theirs"]
    limit_mw: int = 0
    claim: Claim | None = None


def cap_mw(pace: float, limits: Limits) -> int:
    """The limit of a pace: that share of the default limit, in whole watts, within the device's bounds."""
    share_mw = round(pace * limits.default_mw) // WATT_MW * WATT_MW
    return min(max(share_mw, limits.least_mw), limits.default_mw)


def claim_of(mark: Mark) -> Claim | None:
    """What a mark of the journal says; None when it is not one of ours."""
    try:
        return msgspec.json.decode(mark.detail, type=Claim)
    except msgspec.MsgspecError:
        return None


def detail_of(claim: Claim) -> str:
    """The other way round."""
    return msgspec.json.encode(claim).decode()


def move(limits: Limits, mark: Mark | None, pace: float, boot: str, *, was_reset: bool = False) -> Move:
    """From what is to what `pace` wants; at 1.0 nothing of ours is to stay.

    A limit is only ever lowered: where it is low enough already, it is another's. `was_reset`: the GPU was
    lost since, so that a default limit is its driver's doing and nobody's wish.
    """
    claim = claim_of(mark) if mark is not None else None
    begun = _begin(limits, pace, boot)
    if mark is None:
        return begun
    if claim is None or claim.boot != boot or _not_set(limits, mark, claim, was_reset=was_reset):
        return Move("forget") if begun.what == "rest" else begun
    if not claim.holds(limits.now_mw):
        return Move("theirs" if pace < 1 else "forget")
    wanted_mw = cap_mw(pace, limits) if pace < 1 else claim.before_mw
    if wanted_mw >= claim.before_mw:
        return Move("restore", claim.before_mw)
    if mark.done and _same(wanted_mw, limits.now_mw):
        return Move("rest", limits.now_mw)
    return Move("set", wanted_mw, Claim(boot, claim.before_mw, (limits.now_mw, wanted_mw)))


def _begin(limits: Limits, pace: float, boot: str) -> Move:
    wanted_mw = cap_mw(pace, limits) if pace < 1 else limits.now_mw
    if wanted_mw >= limits.now_mw - WATT_MW:
        return Move("rest", limits.now_mw)
    return Move("set", wanted_mw, Claim(boot, limits.now_mw, (wanted_mw,)))


def _not_set(limits: Limits, mark: Mark, claim: Claim, *, was_reset: bool) -> bool:
    """Whether a crash came before our limit was set, or a reset after it."""
    never = not mark.done and _same(limits.now_mw, claim.before_mw)
    return never or (was_reset and _same(limits.now_mw, limits.default_mw))


def _same(one_mw: int, other_mw: int) -> bool:
    return abs(one_mw - other_mw) < WATT_MW

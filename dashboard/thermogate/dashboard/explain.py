"""Why a target is held, or is not: one answer for the page and for `thermogate explain`."""

import asyncio
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import cast, get_args

import msgspec

from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, TargetKind
from thermogate.core.errors import ConfigError
from thermogate.core.model import Event, Status
from thermogate.core.query import Device, Query, Series
from thermogate.core.schema import DEVICE_KINDS, SIGNAL_FIELDS, Kind
from thermogate.core.wire import is_name
from thermogate.dashboard import signals

FIELDS = ("temp_c", "temp_limit_c", "power_w", "rle", *SIGNAL_FIELDS)
"""What is shown of each device over time."""

_LOOK_BACK_NS = 86_400 * NS
_MOST_DECISIONS = 2000
"""A day of renewals, one a minute, and some changes."""
_MOST_SPELLS = 20
_MOST_EVENTS = 1000
_MOST_APPLIED = 50
_MOST_DEVICES = 16
_STEPS = 60
_BEFORE_NS = 10 * 60 * NS
"""An id holds the time at which it was made, to be found this near its decision's."""
_DEVICE_RE = re.compile(
    rf"(?:(?P<node>[A-Za-z0-9._-]{{1,128}})[/ ])?(?P<kind>{'|'.join(DEVICE_KINDS)})(?P<number>\S+)"
)
_ULID_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Spell(msgspec.Struct, frozen=True):
    """A verdict for as long as it was renewed: `decision` is the last of it.

    `ended_ns` is when another took its place, or when it expired; in the future while it is in force.
    """

    decision: GateDecision
    began_ns: int
    ended_ns: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What was in force about a target at `at_ns`, and what it rests on.

    `decision` is the newest then, also when it had expired; None when there was none. `spells` are
    what was decided since `known_from_ns`, the newest first, that of `decision` included; `applied` what
    schedulers said that they did (events `gate_applied`). `series` are of the devices that the
    decision names, or of all of a node, over [start_ns, at_ns); `bounds` of the signals in them.
    `known` says that a node of this name has reported, or that something was decided about the target.
    """

    kind: TargetKind
    target: str
    at_ns: int
    known: bool
    in_force: bool
    decision: GateDecision | None
    known_from_ns: int
    spells: tuple[Spell, ...]
    applied: tuple[Event, ...]
    start_ns: int
    step_ns: int
    series: tuple[Series, ...]
    bounds: dict[str, float]


def parse_target(text: str) -> tuple[TargetKind, str]:
    """("node", "n17") of "gate/node/n17", "node/n17" or "n17". Raises ConfigError."""
    kind, slash, target = text.removeprefix("gate/").rpartition("/")
    kind = kind if slash else "node"
    if kind not in get_args(TargetKind) or not is_name(target):
        kinds = ", ".join(get_args(TargetKind))
        raise ConfigError(f"target: {text[:160]!r} is not KIND/NAME, such as node/n17; kinds are {kinds}")
    return cast("TargetKind", kind), target


async def explain(
    query: Query,
    kind: TargetKind,
    target: str,
    at_ns: int,
    span_ns: int,
    bounds: dict[str, float],
    decision_id: str | None = None,
    only: Device | None = None,
) -> Explanation:
    """With an id, as it was just after that decision; `only` with the series of this device.

    Raises StoreError; ConfigError for an unknown id.
    """
    if decision_id is not None:
        at_ns = await _issued(query, kind, target, decision_id)
    from_ns = max(0, at_ns - _LOOK_BACK_NS)
    issued = await query.decisions(start_ns=from_ns, end_ns=at_ns + 1, target=target, limit=_MOST_DECISIONS)
    if len(issued) == _MOST_DECISIONS:
        from_ns = issued[-1].issued_at_ns
    mine = [one for one in issued if one.kind == kind]
    newest = mine[0] if mine else await _older(query, kind, target, at_ns)
    statuses = await query.statuses() if kind == "node" else []
    status = next((one for one in statuses if one.node == target), None)
    devices = _devices(kind, target, newest, status) if only is None else [only]
    start_ns, step_ns = max(0, at_ns - span_ns), max(NS, span_ns // _STEPS)
    found = await asyncio.gather(
        *(signals.series(query, device, FIELDS, start_ns, at_ns, step_ns) for device in devices)
    )
    return Explanation(
        kind=kind,
        target=target,
        at_ns=at_ns,
        known=newest is not None or status is not None,
        in_force=newest is not None and newest.valid_at(at_ns),
        decision=newest,
        known_from_ns=from_ns,
        spells=tuple(spells(mine))[:_MOST_SPELLS],
        applied=tuple(await _applied(query, kind, target, from_ns, at_ns)),
        start_ns=start_ns,
        step_ns=step_ns,
        series=tuple(itertools.chain.from_iterable(found)),
        bounds=bounds,
    )


def spells(newest_first: Iterable[GateDecision]) -> list[Spell]:
    """Decisions about one target, renewals taken together, the newest first."""
    found: list[Spell] = []
    for one in newest_first:
        last = found[-1] if found else None
        if last and _verdict(one) == _verdict(last.decision) and last.began_ns <= one.expires_at_ns:
            found[-1] = Spell(last.decision, one.issued_at_ns, last.ended_ns)
        else:
            ended_ns = min(one.expires_at_ns, last.began_ns) if last else one.expires_at_ns
            found.append(Spell(one, one.issued_at_ns, ended_ns))
    return found


def _verdict(decision: GateDecision) -> tuple[str, float, str, str]:
    return decision.state.value, decision.pace, decision.mode, decision.policy


async def _issued(query: Query, kind: TargetKind, target: str, decision_id: str) -> int:
    """When a decision was issued. Raises ConfigError when there is none of this id about the target."""
    made_ns = _ulid_ns(decision_id)
    near = await query.decisions(
        start_ns=max(0, made_ns - _BEFORE_NS),
        end_ns=made_ns + _BEFORE_NS,
        target=target,
        limit=_MOST_DECISIONS,
    )
    for one in near:
        if one.id == decision_id and one.kind == kind:
            return one.issued_at_ns
    raise ConfigError(f"decision: there is none {decision_id} about {kind}/{target}")


def _ulid_ns(text: str) -> int:
    """When a ULID was made. Raises ConfigError."""
    if len(text) != 26 or text[0] > "7" or any(digit not in _ULID_DIGITS for digit in text):
        raise ConfigError(f"decision: {text[:80]!r} is no id of a decision (26 of 0-9 A-Z)")
    millis = 0
    for digit in text[:10]:
        millis = millis << 5 | _ULID_DIGITS.index(digit)
    return min(millis * 1_000_000, 2**63 - 1 - _BEFORE_NS)


async def _older(query: Query, kind: TargetKind, target: str, at_ns: int) -> GateDecision | None:
    """The newest decision, when that was more than a day ago; it has expired."""
    gates = await query.gates()
    return next(
        (one for one in gates if (one.kind, one.target) == (kind, target) and one.issued_at_ns <= at_ns), None
    )


async def _applied(query: Query, kind: TargetKind, target: str, from_ns: int, at_ns: int) -> list[Event]:
    """What schedulers did about it, newest first."""
    found = await query.events(
        start_ns=from_ns,
        end_ns=at_ns + NS,
        node=target if kind == "node" else None,
        kinds=("gate_applied",),
        limit=_MOST_EVENTS,
    )
    mine = [one for one in found if (one.data.get("kind"), one.data.get("target")) == (kind, target)]
    return mine[:_MOST_APPLIED]


def _devices(
    kind: TargetKind, target: str, decision: GateDecision | None, status: Status | None
) -> Sequence[Device]:
    """Those that the decision names, then the others of the node: its GPUs, or without one its CPUs."""
    named = (_DEVICE_RE.fullmatch(reason.device) for reason in (decision.because if decision else ()))
    found = [
        Device(match["node"] or target, cast("Kind", match["kind"]), match["number"])
        for match in named
        if match is not None and (kind == "node" or match["node"])
    ]
    infos = [info for info in (status.devices if status else ()) if info.kind in DEVICE_KINDS]
    kinds = {info.kind for info in infos}
    shown: Kind = "gpu" if "gpu" in kinds else "cpu"
    found += [Device(target, info.kind, info.device) for info in infos if info.kind == shown]
    return list(dict.fromkeys(found))[:_MOST_DEVICES]

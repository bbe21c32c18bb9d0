"""An operator's word from arguments: what makes no sense is refused before anybody hears of it."""

import argparse
import time

from thermogate.cli import render
from thermogate.core.clock import NS
from thermogate.core.decision import State, new_ulid
from thermogate.core.errors import ConfigError
from thermogate.core.gate_messages import MOST_SPAN_NS, Override, OverrideKind
from thermogate.core.wire import is_name
from thermogate.dashboard.times import parse_duration, parse_time

FLEET = "all"
_STATES = {"hold": State.HOLD, "repair": State.REPAIR, "run": State.RUN, "maintain": State.SYNC}
_LEAST_NS = NS
_MOST_WHY = 300
_PAST_NS = 60 * NS
"""A beginning this long ago is a slip of the pen."""


def word(args: argparse.Namespace, by: str, now_ns: int) -> Override:
    """The word, unsigned. Raises ConfigError that says what to write instead."""
    kind, name_ = target(args)
    from_ns = _from_ns(args.start, now_ns)
    return Override(
        id=new_ulid(now_ns),
        kind=kind,
        target=name_,
        state=_STATES[args.action],
        issued_at_ns=now_ns,
        from_ns=from_ns,
        until_ns=_until_ns(args.for_, from_ns, now_ns),
        why=_sentence("--why", args.why, '--why "fan is being changed"'),
        by=_sentence("--by", by, "--by NAME"),
        pace=_pace(args),
    )


def over(kind: OverrideKind, name_: str, by: str, before: Override | None = None) -> Override:
    """A word that is over as it is said: it takes back the one before, and is signed, too.

    It is the newer one also when the clock of who said the one before is ahead of ours.
    """
    now_ns = max(time.time_ns(), before.issued_at_ns + 1 if before is not None else 0)
    return Override(
        id=new_ulid(now_ns),
        kind=kind,
        target=name_,
        state=State.RUN,
        issued_at_ns=now_ns,
        from_ns=now_ns,
        until_ns=now_ns,
        why="taken back",
        by=by,
    )


def target(args: argparse.Namespace) -> tuple[OverrideKind, str]:
    """(kind, target) of the arguments. Raises ConfigError."""
    kind: OverrideKind = args.kind
    given: str | None = args.target
    if kind == "fleet":
        if given not in (None, FLEET):
            raise ConfigError(f"there is one fleet: leave {given[:80]!r} out, or say node {given[:80]}")
        return kind, FLEET
    if given is None:
        raise ConfigError(f"which {kind}? Its name is missing")
    if not is_name(given):
        raise ConfigError(f"{given[:80]!r} is no name of a {kind}: letters, digits, '.', '_' and '-'")
    return kind, given


def name(about: Override) -> str:
    """As an argument: "node n17", "fleet"."""
    return about.kind if about.kind == "fleet" else f"{about.kind} {about.target}"


def cells(about: Override, now_ns: int) -> tuple[str, ...]:
    """A row for people."""
    begins = render.local_time(about.from_ns)
    return (
        f"{about.kind}/{about.target}",
        str(about.state),
        render.percent(about.pace),
        begins if about.from_ns <= now_ns else f"{begins} (to come)",
        render.local_time(about.until_ns),
        about.by,
        about.why,
    )


def _from_ns(text: str | None, now_ns: int) -> int:
    if text is None:
        return now_ns
    from_ns = now_ns + parse_duration(text[1:]) if text.startswith("+") else parse_time(text, now_ns)
    if from_ns < now_ns - _PAST_NS:
        raise ConfigError(f"--from {text}: lies in the past; in half an hour is +30m")
    if from_ns > now_ns + MOST_SPAN_NS:
        raise ConfigError(f"--from {text}: is more than 30 days from now")
    return from_ns


def _until_ns(text: str | None, from_ns: int, now_ns: int) -> int:
    if text is None:
        raise ConfigError("for how long? Whatever is held must have an end: --for 2h")
    span_ns = parse_duration(text)
    if span_ns > MOST_SPAN_NS:
        raise ConfigError(f"--for {text}: 30 days at most")
    if span_ns < _LEAST_NS or from_ns + span_ns <= now_ns:
        raise ConfigError(f"--for {text}: its end lies in the past")
    return from_ns + span_ns


def _sentence(option: str, text: str | None, example: str) -> str:
    said = (text or "").strip()
    if not said:
        raise ConfigError(f"{option} is missing: {example}")
    if len(said) > _MOST_WHY or not said.isprintable():
        raise ConfigError(f"{option}: one line of {_MOST_WHY} characters at most")
    return said


def _pace(args: argparse.Namespace) -> float:
    if args.action == "repair":
        return 0.0
    pace: float | None = getattr(args, "pace", None)
    if pace is None:
        return 1.0
    if not 0 <= pace <= 1:
        raise ConfigError(f"--pace {pace:g}: a share of full power, 0 to 1")
    return pace

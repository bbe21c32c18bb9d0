"""`thermogate explain TARGET`: on one screen why work is held here, or is not, and what lets it go."""

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence

from thermogate.cli import asking, explain_chart, render, watching
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, State
from thermogate.core.errors import ConfigError
from thermogate.core.model import Event
from thermogate.dashboard.explain import Explanation, Spell, parse_target
from thermogate.dashboard.times import parse_duration, parse_time

WIDTH = 80
_MOST_SPELLS = 3
_MOST_APPLIED = 3
_MOST_OTHERS = 4
_MOST_REASONS = 6
_MODES = {"enforce": "enforced: schedulers obey it", "shadow": "SHADOW: nobody acts on it"}
_MODES_THEN = {"enforce": "enforced", "shadow": "in shadow"}
_DOES = {
    State.RUN: "work goes on",
    State.HOLD: "start nothing new; what runs checkpoints and waits",
    State.REPAIR: "take it out of rotation and mend it",
    State.SYNC: "keep what there is, change nothing",
}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("explain", help="show why a target is held, or is not, and what releases it")
    parser.add_argument("target", help="such as node/n17, gate/node/n17 or job/NAME; NAME alone is a node")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--at", metavar="TIME", help="as it was then, such as -2h or 2026-11-21T03:10:00Z")
    when.add_argument("--decision", metavar="ID", help="as it was just after this decision")
    parser.add_argument(
        "--span", default="30m", metavar="TIME", help="show signals over this long (default 30m)"
    )
    parser.add_argument("--device", help="show the signals of this device only, such as gpu0")
    asking.add_arguments(parser)
    watching.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is in force, why, and what has been done about it."""
    kind, name = parse_target(args.target)
    try:
        span_ns = parse_duration(args.span)
    except ConfigError as err:
        raise ConfigError(f"--span {err}") from err

    async def ask(answers: asking.Asked) -> Explanation:
        at_ns = None if args.at is None else parse_time(args.at, time.time_ns())
        return await answers.explain(
            f"{kind}/{name}", at_ns=at_ns, decision=args.decision, span_ns=span_ns, device=args.device
        )

    return asyncio.run(watching.watch(args, ask, text_of))


def text_of(answer: Explanation) -> str:
    """All of it, in lines of up to 80 characters; what is not known is left out."""
    parts = [*_verdict(answer)]
    if answer.decision is not None:
        parts += [*_reasons(answer.decision), *_others(answer.decision)]
    parts += [*explain_chart.lines(answer, WIDTH), *_before(answer), *_applied(answer)]
    return "\n".join(parts)


def _verdict(answer: Explanation) -> Iterator[str]:
    """What is in force, since when and until when, and by whom."""
    target, decision = f"{answer.kind}/{answer.target}", answer.decision
    if decision is None:
        yield f"{target}: nothing has been decided: work runs"
        if answer.kind == "node" and not answer.known:
            yield "  no node of this name has reported either: `thermogate fleet` has them all"
        return
    if not answer.in_force:
        ago = render.span((answer.at_ns - decision.expires_at_ns) / NS)
        yield f"{target}: no decision is in force: work runs"
        yield f"  the last one expired {ago} ago, at {_when(decision.expires_at_ns, answer)}:"
    verdict = f"{decision.state} at {_pace(decision)}"
    if answer.in_force:
        yield f"{target}: {verdict}, {_MODES[decision.mode]}"
        shadow = decision.mode == "shadow"
        yield f"  {'work runs; if enforced: ' if shadow else ''}{_DOES[decision.state]}"
        yield from _times(answer, decision)
    else:
        yield f"  it was {verdict}, {_MODES_THEN[decision.mode]}"
    policy = (
        "an operator"
        if decision.policy == "operator"
        else f"{decision.policy} version {decision.policy_version}"
    )
    signed = f"signed by key {decision.issuer}" if decision.signature else "not signed"
    yield render.paragraph(f"decided by {policy}; {signed}; id {decision.id}", WIDTH)


def _times(answer: Explanation, decision: GateDecision) -> Iterator[str]:
    spell = answer.spells[0] if answer.spells else Spell(decision, decision.issued_at_ns, 0)
    whole = spell.began_ns - answer.known_from_ns > 300 * NS or len(answer.spells) > 1
    since = f"since {_when(spell.began_ns, answer)}{'' if whole else ' or before'}"
    lasted = render.span((answer.at_ns - spell.began_ns) / NS)
    left = render.span((decision.expires_at_ns - answer.at_ns) / NS)
    yield f"  {since} ({lasted}), until {_when(decision.expires_at_ns, answer)} unless renewed (in {left})"


def _reasons(decision: GateDecision) -> Iterator[str]:
    yield from ("", "WHY", render.paragraph(decision.why, WIDTH))
    cjp = decision.cjp
    for name, text in (("conflict", cjp.conflict), ("justify", cjp.justify), ("path", cjp.path)):
        if text:
            yield _hanging(name, text, 11)
    if decision.because:
        rows = [
            (
                reason.metric,
                f"{_number(reason.value)} {_unit(reason.unit)}".rstrip(),
                f"{_number(reason.threshold)} {_unit(reason.unit)}".rstrip(),
                render.span(reason.window_s) if reason.window_s else render.ABSENT,
                reason.device or render.ABSENT,
            )
            for reason in decision.because[:_MOST_REASONS]
        ]
        yield ""
        table = render.table(("BECAUSE", "VALUE", "THRESHOLD", "OVER", "DEVICE"), rows)
        yield from table.split("\n")
        yield from _more(len(decision.because) - _MOST_REASONS)


def _others(decision: GateDecision) -> Iterator[str]:
    if not decision.others:
        return
    yield from ("", "OTHER POLICIES")
    for one in decision.others[:_MOST_OTHERS]:
        said = f"{one.state} at {render.percent(one.pace)}, {one.mode}: {one.why}"
        yield _hanging(one.policy, said, 11)
    yield from _more(len(decision.others) - _MOST_OTHERS)


def _before(answer: Explanation) -> Iterator[str]:
    """What was decided until the verdict of now."""
    older = [one for one in answer.spells if one.decision is not answer.decision]
    older = [one for one in older if answer.decision is None or one.decision.id != answer.decision.id]
    hours = render.span((answer.at_ns - answer.known_from_ns) / NS)
    if not older:
        if answer.decision is not None:
            yield from ("", f"DECIDED BEFORE: nothing else in the last {hours}")
        return
    yield from ("", f"DECIDED BEFORE, in the last {hours}")
    for one in older[:_MOST_SPELLS]:
        decision = one.decision
        lasted = render.span((one.ended_ns - one.began_ns) / NS)
        shadow = ", shadow" if decision.mode == "shadow" else ""
        said = (
            f"{decision.state} at {_pace(decision)}{shadow}, for {lasted} ({decision.policy}): {decision.why}"
        )
        yield _hanging(_when(one.began_ns, answer), said, 11, lines=2)
    yield from _more(len(older) - _MOST_SPELLS)


def _applied(answer: Explanation) -> Iterator[str]:
    if not answer.applied:
        if answer.decision is not None:
            yield from ("", "SCHEDULERS: none has said that it did anything")
        return
    yield from ("", "SCHEDULERS")
    for event in answer.applied[:_MOST_APPLIED]:
        yield _hanging(_when(event.time_ns, answer), _done(event), 11, lines=2)
    yield from _more(len(answer.applied) - _MOST_APPLIED)


def _done(event: Event) -> str:
    data = event.data
    where = f"{data.get('scheduler', '?')} on {data.get('host', '?')}"
    return f"{where}: {data.get('outcome', '?')}: {event.text}"


def _more(count: int) -> Sequence[str]:
    return (f"  and {count} more (--json has all)",) if count > 0 else ()


def _hanging(name: str, text: str, indent: int, lines: int = 0) -> str:
    """A name, and beside it the text, wrapped; cut after so many lines, if any."""
    wrapped = render.paragraph(text, WIDTH, " " * indent).split("\n")
    if lines and len(wrapped) > lines:
        wrapped = [*wrapped[: lines - 1], f"{wrapped[lines - 1][: WIDTH - 4]} ..."]
    first = f"  {render.plain(name)}".ljust(indent - 1) + " "
    if len(first) > indent:
        return "\n".join((first.rstrip(), *wrapped))
    return "\n".join((first + wrapped[0][indent:], *wrapped[1:]))


def _when(time_ns: int, answer: Explanation) -> str:
    """Local time of day; with the date when it is not that of the question."""
    text, now = render.local_time(time_ns), render.local_time(answer.at_ns)
    return text[11:] if text[:10] == now[:10] else text[5:16]


def _pace(decision: GateDecision) -> str:
    return "full power" if decision.pace >= 1 else f"{render.percent(decision.pace)} of full power"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _unit(unit: str) -> str:
    return {"degC": "C", "1": "", "ratio": ""}.get(unit, unit)

"""`thermogate gates`: what was decided about each target, and why."""

import argparse
import asyncio
import time
from collections.abc import Sequence

from thermogate.cli import asking, render, watching
from thermogate.core.decision import GateDecision


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("gates", help="show gate decisions with their reasons")
    parser.add_argument("--all", action="store_true", help="every decision of the range, not only the newest")
    parser.add_argument("--target", help="of this target only (with --all)")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="(with --all)")
    asking.add_range(parser, start="-24h")
    asking.add_arguments(parser)
    watching.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the decisions."""

    async def ask(answers: asking.Asked) -> list[GateDecision]:
        if not args.all:
            return await answers.gates()
        start_ns, end_ns = asking.time_range(args)
        return await answers.decisions(start_ns=start_ns, end_ns=end_ns, target=args.target, limit=args.limit)

    return asyncio.run(watching.watch(args, ask, _text))


def _text(decisions: Sequence[GateDecision]) -> str:
    if not decisions:
        return "nothing has been decided: all work runs"
    now_ns = time.time_ns()
    rows = [_cells(decision, now_ns) for decision in decisions]
    return render.table(("TARGET", "STATE", "PACE", "MODE", "ISSUED", "UNTIL", "WHY"), rows)


def _cells(decision: GateDecision, now_ns: int) -> tuple[str, ...]:
    until = render.local_time(decision.expires_at_ns)
    return (
        f"{decision.kind}/{decision.target}",
        str(decision.state),
        render.percent(decision.pace),
        decision.mode,
        render.local_time(decision.issued_at_ns),
        until if decision.valid_at(now_ns) else f"{until} (expired)",
        decision.why,
    )

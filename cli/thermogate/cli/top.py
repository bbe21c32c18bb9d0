"""`thermogate top`: devices ranked over a range, by a ranking that has a name or by any field."""

import argparse
import asyncio
from collections.abc import Callable, Sequence

from thermogate.cli import asking, render, watching
from thermogate.core.errors import ConfigError
from thermogate.core.query import Ranked, Reduction
from thermogate.core.schema import MEASUREMENTS
from thermogate.dashboard.rankings import RANKINGS, Ranking, RankingName

_EPILOG = "rankings:\n" + "\n".join(f"  {name:<16} {ranking.what}" for name, ranking in RANKINGS.items())


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser(
        "top",
        help="rank devices over time",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "ranking",
        nargs="?",
        metavar="RANKING",
        help="one of those below, or a field such as temp_c; docs/metrics.md has them all",
    )
    parser.add_argument("--field", help="rank by this field")
    parser.add_argument("--kind", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--by", choices=("mean", "min", "max"), help="of a field (default mean)")
    parser.add_argument("--smallest", action="store_true", help="of a field: smallest first")
    parser.add_argument("--limit", type=int, default=20, metavar="N")
    asking.add_range(parser, start="-1h")
    asking.add_arguments(parser)
    watching.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the ranking."""
    name, ranking = _chosen(args)

    async def ask(answers: asking.Asked) -> list[Ranked]:
        start_ns, end_ns = asking.time_range(args)
        if name is not None:
            return await answers.ranking(args.kind, name, start_ns=start_ns, end_ns=end_ns, limit=args.limit)
        return await answers.top(
            args.kind,
            ranking.field,
            start_ns=start_ns,
            end_ns=end_ns,
            limit=args.limit,
            by=ranking.by,
            largest=ranking.largest,
        )

    def text(answer: Sequence[Ranked]) -> str:
        if not answer:
            lacking = f"sent {ranking.field}" if ranking.field else "began a collapse"
            return f"no {args.kind} {lacking} in this range"
        head, show = _column(ranking)
        rows = [(r.device.node, f"{r.device.kind}{r.device.device}", show(r.value)) for r in answer]
        return f"{args.kind.upper()}s by {ranking.what}\n" + render.table(("NODE", "DEVICE", head), rows)

    return asyncio.run(watching.watch(args, ask, text))


def _chosen(args: argparse.Namespace) -> tuple[RankingName | None, Ranking]:
    """A ranking by its name, or (None, the one by a field)."""
    name: RankingName | None = next((known for known in RANKINGS if known == args.ranking), None)
    if name is not None:
        if args.field or args.by or args.smallest:
            raise ConfigError(f"{name} has its own field and order: leave out --field, --by, --smallest")
        return name, RANKINGS[name]
    field = args.field or args.ranking
    if not field or (args.field and args.ranking):
        raise ConfigError(f"name a ranking ({', '.join(RANKINGS)}) or a field with --field")
    by: Reduction = args.by or "mean"
    unit = next((f.unit for m in MEASUREMENTS.values() for f in m.fields if f.name == field), "")
    order = ", the smallest first" if args.smallest else ""
    return None, Ranking(f"{by} {field}{order}", unit, field, by, not args.smallest)


def _column(ranking: Ranking) -> tuple[str, Callable[[float], str]]:
    if not ranking.field:
        return "COLLAPSES", lambda value: f"{value:.0f}"
    head = f"{ranking.by.upper()} {ranking.field}"
    if ranking.unit == "ratio":
        return head, lambda value: f"{100 * value:.1f}%"
    return f"{head} {ranking.unit}" if ranking.unit not in ("", "1") else head, lambda value: f"{value:.4g}"

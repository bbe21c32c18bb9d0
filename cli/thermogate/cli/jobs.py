"""`thermogate jobs`: what each job had, what it used and how its devices fared."""

import argparse
import asyncio

from thermogate.cli import asking, render, watching
from thermogate.dashboard.jobs import JobAnswer, JobRow

_HEADER = (
    "JOB",
    "USER",
    "WHERE",
    "BEGAN",
    "ENDED",
    "GPU H",
    "KWH",
    "POWER W",
    "RLE",
    "COLLAPSES",
    "THROTTLED S",
    "TEMP C",
    "MAX C",
)
_NOTES = {
    "~": "energy from mean power, not from energy counters",
    "*": "shared devices with other jobs: their energy, RLE and the rest count in full for each of them",
    "?": "its end was not told: counted until its last sample",
    "#": "nodes disagree whose it is",
    "!": "samples are missing: they cover less than 95 % of its time",
}
_COVERED_RATIO = 0.95
_KWH_J = 3_600_000.0


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("jobs", help="show what jobs used and how their devices fared")
    parser.add_argument("job", nargs="?", help="one job, such as slurm:123 or 123, with a row a device")
    parser.add_argument("--user", help="of this user only")
    parser.add_argument("--node", help="only what was on this node")
    parser.add_argument("--by", choices=("job", "device"), help="a row a job (default), or a device of a job")
    parser.add_argument("--clip", action="store_true", help="count only what lies in the range")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="jobs, those that began last")
    asking.add_range(parser, start=None)
    asking.add_arguments(parser)
    watching.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a row a job, the one that began last first."""
    if args.start is None:
        args.start = "-24h" if args.job is None else "-30d"

    async def ask(answers: asking.Asked) -> JobAnswer:
        start_ns, end_ns = asking.time_range(args)
        return await answers.jobs(
            start_ns=start_ns,
            end_ns=end_ns,
            job=args.job,
            user=args.user,
            node=args.node,
            by=args.by or ("job" if args.job is None else "device"),
            clip=args.clip,
            limit=args.limit,
        )

    return asyncio.run(watching.watch(args, ask, text_of))


def text_of(answer: JobAnswer) -> str:
    """The table, what its marks mean, and what is left out."""
    notes = []
    if answer.left_out:
        nodes = render.plain(", ".join(answer.left_out))
        notes.append(f"without what was on {nodes}: too many jobs began or ended there to be read")
    if not answer.rows:
        return "\n".join(("no job was on a device in this range", *notes))
    marks = [_marks(row) for row in answer.rows]
    table = render.table(_HEADER, [_cells(row, mark) for row, mark in zip(answer.rows, marks, strict=True)])
    marked = [f"{mark} {text}" for mark, text in _NOTES.items() if any(mark in some for some in marks)]
    return "\n".join((table, *marked, *notes))


def _marks(row: JobRow) -> str:
    given = {
        "~": row.energy_from in ("power", "both"),
        "*": row.shared_ratio > 0,
        "?": row.state == "unknown",
        "#": bool(row.users),
        "!": row.measured_ratio < _COVERED_RATIO,
    }
    return "".join(mark for mark, is_so in given.items() if is_so)


def _cells(row: JobRow, marks: str) -> tuple[str, ...]:
    name = f"{row.job} {marks}" if marks else row.job
    energy = None if row.energy_j is None else row.energy_j / _KWH_J
    return (
        name,
        row.user or ",".join(row.users) or render.ABSENT,
        _where(row),
        render.local_time(row.began_ns),
        _ended(row),
        render.number(row.device_s / 3600, 2),
        render.number(energy, 3),
        render.number(row.power_w),
        render.number(row.rle, 3),
        render.number(row.collapse_count),
        render.number(row.throttled_s),
        render.number(row.temp_c),
        render.number(row.temp_max_c),
    )


def _where(row: JobRow) -> str:
    """The devices by name when they are few, else how many."""
    if len(row.devices) <= 2:
        return " ".join(row.devices)
    nodes = row.nodes[0] if len(row.nodes) == 1 else f"{len(row.nodes)} nodes"
    return f"{nodes}, {len(row.devices)} devices"


def _ended(row: JobRow) -> str:
    if row.ended_ns is not None:
        return render.local_time(row.ended_ns)
    return "running" if row.state == "running" else f"unknown, after {render.local_time(row.until_ns)}"

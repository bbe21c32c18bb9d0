"""`thermogate fleet`: a row a device, what needs a person first."""

import argparse
import asyncio
from collections.abc import Sequence

from thermogate.cli import asking, render, watching
from thermogate.core.decision import State
from thermogate.dashboard.answers import FleetRow

HEADER = (
    "NODE",
    "DEVICE",
    "MODEL",
    "UTIL",
    "TEMP C",
    "POWER W",
    "RLE",
    "STATE",
    "FINGERPRINT",
    "GATE",
    "WHY",
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("fleet", help="show every device now, what needs a person first")
    asking.add_arguments(parser)
    watching.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the fleet once, or again and again with --watch."""
    return asyncio.run(watching.watch(args, _ask, _text))


async def _ask(answers: asking.Asked) -> list[FleetRow]:
    return await answers.fleet()


def _text(rows: Sequence[FleetRow]) -> str:
    if not rows:
        return "no device has sent anything yet"
    return render.table(HEADER, [_cells(row) for row in rows])


def _cells(row: FleetRow) -> tuple[str, ...]:
    gate = row.gate
    return (
        render.node(row.node, row.origin),
        f"{row.kind}{row.device}",
        row.model or render.ABSENT,
        render.percent(row.util_ratio),
        render.number(row.temp_c),
        render.number(row.power_w, 1),
        render.number(row.rle, 3),
        row.state,
        row.fingerprint or render.ABSENT,
        f"{gate.state} {render.percent(gate.pace)} {gate.mode}" if gate else render.ABSENT,
        gate.why if gate and gate.state is not State.RUN else row.text,
    )

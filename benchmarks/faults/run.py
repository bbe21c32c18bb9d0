"""One case from beginning to end, and what came of it."""

import asyncio
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.faults import raw
from benchmarks.faults.bed import Bed, bed
from benchmarks.faults.cases import Case
from benchmarks.faults.plan import Plan
from thermogate.cli import simulate_fleet
from thermogate.cli.verify import samples_of, verify
from thermogate.cli.verify_compare import Verdict

_CAUGHT_UP_S = 120.0
_FIELD = "util_ratio"
"""The one that every recorded device has in every row."""
_MS = 1_000_000


class Result(NamedTuple):
    """`raw` rows the database itself counts, of a field that all samples have; with what its deduplication
    hides they are `copies`.
    """

    name: str
    what: str
    verdict: Verdict
    raw: int
    copies: int
    fault_s: float
    caught_up_s: float
    fleet: dict[str, Any]
    quarantined: int

    @property
    def double(self) -> int:
        """Samples that are there more than once, for whoever asks and in the database itself."""
        return self.verdict.double + max(0, self.raw - self.verdict.stored)

    @property
    def passed(self) -> bool:
        """Nothing lost, nothing double, nothing changed, and the fleet knows it."""
        return self.verdict.sound and not self.double and self.fleet["waiting"] == 0 and self.verdict.sent > 0

    def json(self) -> dict[str, Any]:
        """The object of `cases`."""
        verdict = self.verdict
        return {
            "name": self.name,
            "sent": verdict.sent,
            "stored": verdict.stored,
            "lost": verdict.missing,
            "double": self.double,
            "differing": verdict.differing,
            "foreign": verdict.foreign,
            "raw": self.raw,
            "copies": self.copies,
            "quarantined": self.quarantined,
            "fault_s": round(self.fault_s, 1),
            "caught_up_s": round(self.caught_up_s, 1),
            "skipped_ticks": self.fleet["skipped"],
        }


def run(case: Case, plan: Plan, folder: Path) -> Result:
    """Inject the fault while the fleet publishes, wait until all is stored, and compare.

    Raises SkippedError where the fault cannot be injected here, SystemExit when nothing catches up.
    """
    with bed(folder, plan) as made, case.prepare(made):
        try:
            made.start()
            time.sleep(plan.lead_s)
            began_s = time.monotonic()
            case.inject(made)
            ended_s, ended_ns = time.monotonic(), time.time_ns()
            made.wait(
                lambda: made.stored_until_ns() >= ended_ns, f"{case.name}: all is caught up", _CAUGHT_UP_S
            )
            caught_up_s = time.monotonic() - ended_s
            time.sleep(plan.tail_s)
            fleet = made.stop_fleet()
            verdict, rows, copies = asyncio.run(_compare(made))
            return Result(
                case.name,
                case.what,
                verdict,
                rows,
                copies,
                ended_s - began_s,
                caught_up_s,
                fleet,
                made.quarantined(),
            )
        finally:
            made.end()  # before what the case prepared goes: its disk, its network


async def _compare(made: Bed) -> tuple[Verdict, int, int]:
    """The verdict; the rows that the database itself counts; and those before it leaves out copies."""
    is_victoria = made.store_kind == "victoria"
    fleet = simulate_fleet.load(made.fleet_folder)
    async with made.store() as store:
        verdict = await verify(made.fleet_folder, fleet, samples_of(store), _MS if is_victoria else 1)
    if is_victoria:
        rows = raw.victoria_rows(made.database_url, _FIELD)
        return verdict, rows, raw.victoria_rows(made.database_url, _FIELD, copies=True)
    rows = raw.influx_rows(made.database_url, _FIELD)
    return verdict, rows, rows


def sentence(result: Result) -> str:
    """One line while the others run."""
    row = result.json()
    numbers = ", ".join(f"{name} {value}" for name, value in row.items() if name != "name")
    lines = [f"{result.name}: {'passed' if result.passed else 'FAILED'}: {numbers}"]
    lines += [
        f"    {one.what} {one.node} {one.device} {one.time_ns} {one.text}" for one in result.verdict.examples
    ]
    return "\n".join(lines)


def table(results: list[Result], nodes: int) -> str:
    """The table of docs/faults.md."""
    lines = [
        f"| fault, while {nodes} nodes of 8 GPUs publish | lasted | sent | lost | double | caught up after |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        row = result.json()
        lines.append(
            f"| {result.what} (`{result.name}`) | {row['fault_s']:.0f} s | {row['sent']:,} | {row['lost']:,} "
            f"| {row['double']:,} | {row['caught_up_s']:.1f} s |"
        )
    return "\n".join(lines)

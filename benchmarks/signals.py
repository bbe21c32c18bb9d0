"""How often the regulator's signals pass their bounds on recordings, healthy and made ill.

    python benchmarks/signals.py [FILE_OR_FOLDER ...]

Reads tests/recordings unless told otherwise (signal_recordings.py says what a recording is). Prints, as
the tables of docs/signals.md, of each group of recordings: volatility and overload (with the windows that
are shipped, and with a slow window of 120 s, for recordings shorter than ten minutes), pacing incoherence
of jobs of several devices, repair severity of machines recorded more than once. Then what the health
policy does with recordings that were made ill in a stated way, a sweep of the bounds, and what a message
of 8 GPUs costs. The last line is one JSON object. All the recordings of this project's study take some
two minutes.
"""

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.signal_ill import cooler_table, straggler_table  # noqa: E402
from benchmarks.signal_recordings import Recording, find  # noqa: E402
from benchmarks.signal_series import (  # noqa: E402
    BOUNDS,
    SHIPPED,
    Series,
    chains,
    hours,
    job_series,
    jobs,
    judge,
    most,
    node_series,
    only,
    values,
)
from thermogate.analytics import signals  # noqa: E402
from thermogate.analytics.config import SignalSettings  # noqa: E402
from thermogate.analytics.policies import health  # noqa: E402
from thermogate.analytics.policies.base import Observation  # noqa: E402
from thermogate.core.clock import NS  # noqa: E402
from thermogate.core.wire import Point  # noqa: E402

RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings"
SHORT = SignalSettings(slow_s=120.0)
UNSMOOTHED = SignalSettings(smooth_s=0.001)
PUBLISHED = {"overload": 0.30, "incoherence": 0.25, "repair_severity": 0.40}
SWEEP = {
    "overload": (0.3, 0.5, 1.0, 1.5, 2.0, 3.0),
    "incoherence": (0.1, 0.15, 0.2, 0.25, 0.3, 0.4),
    "repair_severity": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
}
HOT_C = 3.0
"""A recording with a GPU this near to its limit in a tenth of its samples is one of a GPU at its limit."""

Table = list[dict[str, Any]]
Groups = Mapping[str, list[Series]]


def main() -> None:
    """Study, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[RECORDINGS])
    paths = parser.parse_args().paths
    for path in paths:
        if not path.exists():
            parser.error(f"there is no {path}")
    report = study(paths)
    for title, rows in report["tables"].items():
        print(f"{title}\n\n{markdown(rows)}\n")
    report["us_per_message"] = round(cost_us(), 1)
    print(f"a message of 8 GPUs: {report['us_per_message']} us for the signals and the health policy")
    print(json.dumps(report))


def study(paths: Iterable[Path]) -> dict[str, Any]:
    """Every table of the study that has a row, by its title."""
    recordings = list(find(paths))
    long, short = _heat_groups(recordings, SHIPPED), _heat_groups(recordings, SHORT)
    paced, worn = _job_groups(recordings, SHIPPED), _wear_groups(recordings)
    tables = {
        "Volatility and overload, slow window 600 s": _overload_table(long),
        "Volatility and overload, slow window 120 s": _overload_table(short),
        "Pacing incoherence": _table(paced, "incoherence"),
        "Pacing incoherence, not smoothed": _table(_job_groups(recordings, UNSMOOTHED), "incoherence"),
        "Repair severity": _table(worn, "repair_severity"),
        "Between recordings of one machine, at the same load": _spread_table(recordings),
        "Made ill": [*straggler_table(recordings), *cooler_table(recordings)],
        "Sweep": [
            *_sweep_table({f"{group}, 600 s": of for group, of in long.items()}, "overload"),
            *_sweep_table({f"{group}, 120 s": of for group, of in short.items()}, "overload"),
            *_sweep_table(paced, "incoherence"),
            *_sweep_table(worn, "repair_severity"),
        ],
    }
    return {"recordings": len(recordings), "tables": {title: rows for title, rows in tables.items() if rows}}


def markdown(rows: Table) -> str:
    """The rows of a table, one block for each form that they have."""
    lines: list[str] = []
    names: list[str] = []
    for row in rows:
        if list(row) != names:
            names = list(row)
            lines += [*([""] if lines else []), _line(names), _line(["---"] * len(names))]
        lines.append(_line([cell(value) for value in row.values()]))
    return "\n".join(lines)


def cell(value: object) -> str:
    """A value as the tables write it."""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def cost_us(messages: int = 5000) -> float:
    """Microseconds of processor time that a message of 8 GPUs costs the signals and the health policy."""
    draw = random.Random(1)
    made = [tuple(_gpu(draw, device, second) for device in range(8)) for second in range(messages)]
    state, judged = signals.initial(), health.initial()
    began_s = time.process_time()
    for second, points in enumerate(made):
        state, found = signals.step(SHIPPED, state, points, {})
        seen = Observation(target="n", now_ns=second * NS + 1, points=points, signals=found)
        judged, _ = health.step(BOUNDS, judged, seen)
    return (time.process_time() - began_s) / messages * 1e6


def _gpu(draw: random.Random, device: int, second: int) -> Point:
    fields = {
        "rle": draw.uniform(0.3, 0.9),
        "power_w": draw.uniform(500, 650),
        "power_limit_w": 700.0,
        "temp_c": draw.uniform(60, 65),
        "temp_limit_c": 90.0,
    }
    return Point("gpu", "n", str(device), "", "", fields, second * NS + 1)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _heat_groups(recordings: Iterable[Recording], params: SignalSettings) -> dict[str, list[Series]]:
    groups: dict[str, list[Series]] = defaultdict(list)
    for recording in recordings:
        series = node_series(params, [recording])
        if values(series, "overload"):
            groups[_heat_group(recording)].append(series)
    return groups


def _heat_group(recording: Recording) -> str:
    gpus = [row.temp_c for row in recording.rows if row.kind == "gpu" and row.temp_c is not None]
    hot = sum(temp_c >= recording.limit_c["gpu"] - HOT_C for temp_c in gpus)
    limit = "" if recording.limit_is_stated else " *"
    return f"{recording.group}{', GPU at its limit' if hot > 0.1 * len(gpus) else ''}{limit}"


def _job_groups(recordings: Iterable[Recording], params: SignalSettings) -> dict[str, list[Series]]:
    groups: dict[str, list[Series]] = defaultdict(list)
    for job in jobs(recordings):
        series = job_series(params, job)
        if values(series, "incoherence"):
            groups[job[0].group].append(series)
    return groups


def _wear_groups(recordings: Iterable[Recording]) -> dict[str, list[Series]]:
    """Each machine in the order of its recordings, and in the reverse one: healthy too, and it grows
    warmer."""
    groups: dict[str, list[Series]] = {}
    for chain in chains(recordings):
        for name, ordered in ((chain[0].system, chain), (f"{chain[0].system}, in reverse", _reversed(chain))):
            series = node_series(SHIPPED, ordered)
            if values(series, "repair_severity"):
                groups[name] = [series]
    return groups


def _reversed(chain: Sequence[Recording]) -> list[Recording]:
    """The recordings from the last to the first, with stamps that go forward."""
    end_ns = chain[0].rows[0].time_ns + chain[-1].rows[-1].time_ns
    turned = []
    for one in reversed(chain):
        shift_ns = end_ns - one.rows[0].time_ns - one.rows[-1].time_ns
        turned.append(one._replace(rows=[row._replace(time_ns=row.time_ns + shift_ns) for row in one.rows]))
    return turned


def _overload_table(groups: Groups) -> Table:
    volatility = _quantiles_by_group(groups, "volatility")
    return [{**row, **volatility[row["recordings"]]} for row in _table(groups, "overload")]


def _quantiles_by_group(groups: Groups, signal: str) -> dict[str, dict[str, float]]:
    return {
        group: {f"{signal} {name}": value for name, value in _quantiles(of, signal).items()}
        for group, of in groups.items()
    }


def _table(groups: Groups, signal: str) -> Table:
    """How a signal is spread, how often it is above the published bound, and alarms an hour at both
    bounds."""
    published, name = PUBLISHED[signal], signal.removeprefix("repair_")
    shipped = getattr(BOUNDS, f"{name}_bound")
    return [
        {
            "recordings": group,
            "series": len(of),
            "hours": hours(of, signal),
            **_quantiles(of, signal),
            f"above {published:g}": f"{_above(of, signal, published):.1%}",
            f"alarms/h at {published:g}": _alarms_per_hour(of, signal, published),
            f"alarms/h at {shipped:g}": _alarms_per_hour(of, signal, shipped),
        }
        for group, of in sorted(groups.items())
    ]


def _sweep_table(groups: Groups, signal: str) -> Table:
    return [
        {signal: group}
        | {
            f"> {bound:g}": f"{_above(of, signal, bound):.1%}, {_alarms_per_hour(of, signal, bound):.2f}/h"
            for bound in SWEEP[signal]
        }
        for group, of in sorted(groups.items())
    ]


def _all(of: Iterable[Series], signal: str) -> list[float]:
    """The values of a signal; of a job the most of its devices counts."""
    return [value for one in of for value in (most(one) if signal == "incoherence" else values(one, signal))]


def _quantiles(of: Sequence[Series], signal: str) -> dict[str, float]:
    ordered = sorted(_all(of, signal))
    picks = {"median": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: ordered[round((len(ordered) - 1) * at)] for name, at in picks.items()}


def _above(of: Sequence[Series], signal: str, bound: float) -> float:
    found = _all(of, signal)
    return sum(value > bound for value in found) / len(found)


def _alarms_per_hour(of: Sequence[Series], signal: str, bound: float) -> float:
    return sum(len(judge(only(signal, bound), one)) for one in of) / hours(of, signal)


def _spread_table(recordings: Iterable[Recording]) -> Table:
    """How far apart the medians of recordings of one healthy machine are at the same tenth of load, and
    how its thermal resistance (K/W above the air) depends on the load."""
    rows = []
    for chain in chains(recordings):
        steps: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for one in chain:
            for step, found in one.at_load(SHIPPED).items():
                steps[step].append((median(rle for rle, _ in found), median(rise for _, rise in found)))
        shared = [found for found in steps.values() if len(found) > 1]
        if shared:
            ratios = [[max(column) / min(column) for column in zip(*found, strict=True)] for found in shared]
            rle, rise = zip(*ratios, strict=True)
            k_per_w = {
                step: median(k for _, k in steps[step]) / chain[0].rated_w["gpu"] for step in sorted(steps)
            }
            rows.append(
                {
                    "machine": chain[0].system,
                    "RLE, most / least": max(rle),
                    "rise, most / least": max(rise),
                    "K/W by tenth of load": ", ".join(f"{step}: {k:.3f}" for step, k in k_per_w.items()),
                }
            )
    return rows


if __name__ == "__main__":
    main()

"""What the health policy does with recordings that were made ill in a stated way."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from benchmarks.signal_recordings import Recording, straggler, worse_cooler
from benchmarks.signal_series import (
    BOUNDS,
    SHIPPED,
    chains,
    is_paced,
    job_series,
    jobs,
    judge,
    node_series,
    only,
    values,
)
from thermogate.core.clock import NS


def straggler_table(recordings: Iterable[Recording]) -> list[dict[str, Any]]:
    """Jobs of five minutes or more, one of whose devices becomes a straggler half way."""
    cases: dict[str, list[tuple[float | None, bool]]] = defaultdict(list)
    for job in jobs(recordings):
        first, begins, ends = job[0], job[0].rows[0].time_ns, job[0].rows[-1].time_ns
        if "training" not in first.group or ends - begins < 300 * NS:
            continue
        half_ns = (begins + ends) // 2
        device = next(row.kind + row.device for row in first.rows if is_paced(row))
        for how in ("slow", "late", "stopped"):
            ill = first._replace(rows=straggler(first.rows, device, how, half_ns))
            alarms = judge(BOUNDS, job_series(SHIPPED, [ill, *job[1:]]))
            named = [one.time_ns for one in alarms if one.device == f"0/{device}" and one.time_ns >= half_ns]
            others = any(one.device != f"0/{device}" for one in alarms)
            after_s = (named[0] - half_ns) / NS if named else None
            cases[f"{first.group}, one device {how}"].append((after_s, others))
    return [ill_row(name, "SYNC", found) for name, found in sorted(cases.items())]


def cooler_table(recordings: Iterable[Recording]) -> list[dict[str, Any]]:
    """Machines whose cooler becomes worse before the second half of their recordings."""
    rows = []
    for chain in chains(recordings):
        if not values(node_series(SHIPPED, chain), "repair_severity"):
            continue
        from_ns = chain[len(chain) // 2].rows[0].time_ns
        for share in (0.3, 0.6, 1.0):
            change = worse_cooler(
                share,
                from_ns=from_ns,
                limit_c=chain[0].limit_c["gpu"],
                ambient_c=SHIPPED.ambient_c,
                heat_s=SHIPPED.heat_s,
            )
            alarms = judge(
                only("repair_severity", BOUNDS.severity_bound), node_series(SHIPPED, chain, change)
            )
            after = [one.time_ns for one in alarms if one.time_ns >= from_ns]
            after_s = _recorded_s(chain, from_ns, after[0]) if after else None
            name = f"{chain[0].system}, thermal resistance +{share:.0%}"
            rows.append(ill_row(name, "REPAIR", [(after_s, len(after) < len(alarms))]))
    return rows


def _recorded_s(chain: Sequence[Recording], from_ns: int, to_ns: int) -> float:
    """Seconds between two instants that were recorded: the nights between recordings do not count."""
    return sum(
        max(0, min(one.rows[-1].time_ns, to_ns) - max(one.rows[0].time_ns, from_ns)) / NS for one in chain
    )


def ill_row(name: str, state: str, cases: Sequence[tuple[float | None, bool]]) -> dict[str, Any]:
    """A row of cases: after how many seconds each was seen, None for never, and whether another was named."""
    seen = sorted(after_s for after_s, _ in cases if after_s is not None)
    return {
        "made ill": name,
        "state": state,
        "cases": len(cases),
        "seen": len(seen),
        "median s until": round(median(seen)) if seen else "-",
        "another named": sum(others for _, others in cases),
    }

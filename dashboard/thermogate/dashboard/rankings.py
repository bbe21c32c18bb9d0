"""Rankings of devices by name, and what their numbers mean."""

from collections import Counter
from typing import Literal

import msgspec

from thermogate.core.errors import ConfigError
from thermogate.core.query import Device, Query, Ranked, Reduction
from thermogate.core.schema import Kind

RankingName = Literal[
    "hottest", "least-efficient", "most-throttled", "most-collapses", "most-power", "least-utilized"
]

_PAGE = 5000


class Ranking(msgspec.Struct, frozen=True):
    """By what devices are ranked: `by` of `field` over the range, or with no field by counted events."""

    what: str
    unit: str
    field: str = ""
    by: Reduction = "mean"
    largest: bool = True


RANKINGS: dict[RankingName, Ranking] = {
    "hottest": Ranking("highest temperature", "degC", "temp_c", "max"),
    "least-efficient": Ranking("mean RLE, the lowest first", "1", "rle", largest=False),
    "most-throttled": Ranking("share of its samples in which it slowed itself down", "ratio", "throttled"),
    "most-collapses": Ranking("thermal collapses that began", "count"),
    "most-power": Ranking("mean power", "W", "power_w"),
    "least-utilized": Ranking("mean utilization, the lowest first", "ratio", "util_ratio", largest=False),
}


def order(ranked: Ranked, *, largest: bool) -> tuple[float, str, str]:
    """Sort key: by value, then by device, so that it is the same with every store."""
    return -ranked.value if largest else ranked.value, ranked.device.node, ranked.device.device


async def collapses(query: Query, kind: Kind, start_ns: int, end_ns: int, most: int) -> list[Ranked]:
    """How many collapses began on each device that had any, in no order.

    Counted from events, of which there is one a collapse: samples of 1,000 nodes would be 29 million an
    hour. Raises ConfigError when more than `most` would have to be read.
    """
    counts: Counter[Device] = Counter()
    edge: set[tuple[Device, int]] = set()
    limit, read = _PAGE, 0
    while True:
        events = await query.events(start_ns=start_ns, end_ns=end_ns, kinds=("collapse_began",), limit=limit)
        fresh = {(Device(e.node, kind, e.device), e.time_ns) for e in events if e.device_kind == kind} - edge
        counts.update(device for device, _ in fresh)
        if len(events) < limit:
            return [Ranked(device, float(count)) for device, count in counts.items()]
        read += len(events)
        if read > most or limit > most:
            raise ConfigError(f"from: over {most} collapses began in this range: narrow it")
        last_ns = events[-1].time_ns
        edge = {one for one in edge | fresh if one[1] == last_ns}
        limit = 2 * limit if events[0].time_ns == last_ns else _PAGE
        end_ns = last_ns + 1  # others of that instant may be missing

"""The regulator's signals, asked for as fields of the device that they are about.

Stores keep them as a measurement of their own, whose `device` is a kind and a number ("gpu0").
"""

from collections.abc import Iterable, Sequence

import msgspec

from thermogate.core.query import Device, Query, Ranked, Series
from thermogate.core.schema import DEVICE_KINDS, SIGNAL_FIELDS, Kind
from thermogate.dashboard.rankings import Ranking


async def series(
    query: Query, device: Device, fields: Sequence[str], start_ns: int, end_ns: int, step_ns: int
) -> list[Series]:
    """As `Query.series`, signals among the fields, in the order asked."""
    signals = tuple(name for name in fields if is_signal(device.kind, name))
    own = tuple(name for name in fields if name not in signals)
    given = {"start_ns": start_ns, "end_ns": end_ns, "step_ns": step_ns}
    found = await query.series(device, own, **given) if own else []
    if signals:
        stored = Device(device.node, "signal", f"{device.kind}{device.device}")
        said = await query.series(stored, signals, **given)
        found += [msgspec.structs.replace(one, device=device) for one in said]
    return sorted(found, key=lambda one: fields.index(one.field))


async def top(
    query: Query, kind: Kind, ranking: Ranking, start_ns: int, end_ns: int, limit: int, most: int
) -> list[Ranked]:
    """As `Query.top` of a signal over devices of one kind; `most` of any kind are read."""
    found = await query.top(
        "signal",
        ranking.field,
        start_ns=start_ns,
        end_ns=end_ns,
        limit=most,
        by=ranking.by,
        largest=ranking.largest,
    )
    return list(_of_kind(found, kind))[:limit]


def is_signal(kind: Kind, field: str) -> bool:
    """Whether a field of a device is one of its signals."""
    return kind in DEVICE_KINDS and field in SIGNAL_FIELDS


def _of_kind(found: Iterable[Ranked], kind: Kind) -> Iterable[Ranked]:
    for one in found:
        if one.device.device.startswith(kind):
            number = one.device.device.removeprefix(kind)
            yield Ranked(Device(one.device.node, kind, number), one.value)

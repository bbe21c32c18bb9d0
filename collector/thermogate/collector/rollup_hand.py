"""Rolling up a time again because somebody asks for it."""

from collections.abc import AsyncIterator

from thermogate.collector.store.base import RollsUp
from thermogate.collector.store.resolution import (
    RESOLUTIONS,
    STEP_NS,
    Kept,
    Resolution,
    Span,
    Window,
    ceil,
    floor,
    horizon,
)
from thermogate.core.errors import ConfigError

_HOUR_NS = STEP_NS["1h"]


async def roll_up_again(
    store: RollsUp, start_ns: int, end_ns: int, kept: Kept, now_ns: int
) -> AsyncIterator[tuple[Resolution, Span]]:
    """Make every window that touches the range anew, minutes and then hours, an hour at a time.

    Tells what has been made. Windows that have not ended, or have lost what they are made from, are left as
    they are. Raises ConfigError when no window is left, StoreError.
    """
    first_ns = max(floor(start_ns, _HOUR_NS), horizon(None, kept, now_ns))
    last_ns = min(ceil(end_ns, STEP_NS["1m"]), floor(now_ns, STEP_NS["1m"]))
    if first_ns >= last_ns:
        raise ConfigError(
            "no minute of that time has ended and still has its samples (collector.retention.raw_days)"
        )
    for resolution in RESOLUTIONS:
        until_ns = floor(last_ns, STEP_NS[resolution])
        for begin_ns in range(first_ns, until_ns, _HOUR_NS):
            span = (begin_ns, min(begin_ns + _HOUR_NS, until_ns))
            await store.roll_up(resolution, [Window(*span)])
            await store.cover(resolution, *span)
            yield resolution, span

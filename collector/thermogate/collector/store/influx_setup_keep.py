"""How long each resolution is kept in InfluxDB: told, compared and changed, the same in every generation."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from thermogate.collector.config import RetentionSettings
from thermogate.collector.store.influx_places import RAW
from thermogate.collector.store.resolution import RESOLUTIONS, kept_by
from thermogate.collector.store.setting_up import Step, Wish
from thermogate.core.clock import NS

HOUR_S = 3600
DAY_S = 24 * HOUR_S
_UNITS_S = {"h": HOUR_S, "m": 60, "s": 1}

Make = Callable[[], Awaitable[Any]]


def wanted(retention: RetentionSettings) -> dict[str, int]:
    """Seconds by resolution, whole hours: an hour is the least that InfluxDB takes."""
    kept = kept_by(retention)
    ages_ns: dict[str, int] = {RAW: kept.raw_ns}
    ages_ns |= {resolution: kept.of(resolution) for resolution in RESOLUTIONS}
    return {name: max(1, round(age_ns / NS / HOUR_S)) * HOUR_S for name, age_ns in ages_ns.items()}


async def keep(what: str, wanted_s: int, found_s: int | None, make: Make, change: Make, wish: Wish) -> Step:
    """One place with its retention. `found_s` is 0 where it is for ever, and None where nothing is there."""
    if found_s is None:
        if not wish.dry_run:
            await make()
        return Step("made", f"{what}, kept {told(wanted_s)}")
    if found_s == wanted_s:
        return Step("there", f"{what}, kept {told(wanted_s)}")
    if (found_s == 0 or wanted_s < found_s) and not wish.shrink:
        said = f"{what}, kept {told(found_s)} and not {told(wanted_s)}"
        return Step("left", f"{said}: that would delete what is older (--shrink does it)")
    if not wish.dry_run:
        await change()
    return Step("changed", f"{what}, kept {told(wanted_s)} instead of {told(found_s)}")


def told(age_s: int) -> str:
    """30 days, 36 hours, for ever."""
    if age_s == 0:
        return "for ever"
    count, unit = (age_s // HOUR_S, "hour") if age_s % DAY_S else (age_s // DAY_S, "day")
    return f"{count} {unit}" + ("" if count == 1 else "s")


def seconds(duration: str) -> int:
    """Of "720h0m0s", as InfluxDB writes durations; 0 is for ever."""
    return sum(int(number) * _UNITS_S[unit] for number, unit in re.findall(r"([0-9]+)([hms])", duration))

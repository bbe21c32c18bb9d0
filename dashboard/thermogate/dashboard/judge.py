"""What a person should know of a device, and the few words that say why. Pure functions."""

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, State
from thermogate.core.model import DeviceInfo, Status
from thermogate.core.query import Device
from thermogate.core.schema import THROTTLE_CAUSES
from thermogate.core.wire import Point
from thermogate.dashboard.settings import DashboardSettings
from thermogate.dashboard.times import format_clock

DeviceState = Literal["repair", "collapse", "throttled", "hot", "stale", "offline", "ok"]
"""What a person should know of a device, most urgent first."""

URGENCY: dict[DeviceState, int] = {state: rank for rank, state in enumerate(get_args(DeviceState))}


class Seen(msgspec.Struct, frozen=True, gc=False):
    """All that is known of one device."""

    device: Device
    point: Point | None
    info: DeviceInfo | None
    status: Status | None
    gate: GateDecision | None
    node_heard_ns: int
    """The newest sample of any device or agent of its node, 0 without one."""


Judgement = tuple[DeviceState, str]


def forgotten(seen: Seen, now_ns: int, settings: DashboardSettings) -> bool:
    """Whether its node has been offline for so long that nobody waits for it."""
    status = seen.status
    return (
        status is not None
        and not status.online
        and _offline_ns(seen, status, now_ns) > int(settings.forget_offline_s * NS)
    )


def silence_of(seen: Seen, now_ns: int, settings: DashboardSettings) -> Judgement | None:
    """Why the device has no values now, or None when it has."""
    limit_ns = int(settings.stale_after_s * NS)
    status, point = seen.status, seen.point
    if status and not status.online:
        since_ns = now_ns - _offline_ns(seen, status, now_ns)
        return "offline", _and(f"node offline since {format_clock(since_ns, now_ns)}", status.text)
    if point is None:
        fresh = status is not None and now_ns - status.time_ns <= limit_ns
        return "stale", "no sample yet" if fresh else "no sample since start"
    if now_ns - point.time_ns > limit_ns:
        return "stale", f"no sample since {format_clock(point.time_ns, now_ns)}"
    if point.time_ns - now_ns > limit_ns:
        return "stale", f"its clock is {(point.time_ns - now_ns) // NS} s ahead: set it"
    return None


def judge(
    gate: GateDecision | None,
    silence: Judgement | None,
    values: Mapping[str, float],
    settings: DashboardSettings,
) -> Judgement:
    """The most urgent thing there is to say, from the valid gate of the node and the values of now."""
    if gate and gate.state is State.REPAIR:
        return "repair", _and(f"REPAIR ({gate.mode}): {gate.why}", silence[1] if silence else "")
    if silence:
        return silence
    if values.get("collapse") == 1:
        return "collapse", _collapse_text(values)
    if values.get("throttled") == 1:
        return "throttled", _throttled_text(values)
    hot = _hot_text(values, settings)
    return ("hot", hot) if hot else ("ok", "")


def _offline_ns(seen: Seen, status: Status, now_ns: int) -> int:
    # A last will carries the time at which the node connected; its samples tell when it went.
    return now_ns - max(status.time_ns, seen.node_heard_ns)


def _collapse_text(values: Mapping[str, float]) -> str:
    rle, peak = values.get("rle"), values.get("rle_peak")
    if rle is None or not peak:
        return "thermal collapse"
    return f"thermal collapse: RLE {rle:.2f}, {100 * rle / peak:.0f} % of its peak {peak:.2f}"


def _throttled_text(values: Mapping[str, float]) -> str:
    causes = [cause for name, cause in THROTTLE_CAUSES.items() if values.get(name) == 1]
    return f"slowed down by {', '.join(causes)}" if causes else "slows itself down"


def _hot_text(values: Mapping[str, float], settings: DashboardSettings) -> str:
    """Why the device is hot, or "" when it is not."""
    temp, limit, left = values.get("temp_c"), values.get("temp_limit_c"), values.get("t_sustain_s")
    if temp is not None and limit is not None and limit - temp <= settings.hot_margin_c:
        where = f"{limit - temp:.0f} °C below" if temp < limit else "at or above"
        return f"{temp:.0f} °C, {where} its limit of {limit:.0f} °C"
    if left is not None and left < settings.hot_t_sustain_s and _loaded(values, settings):
        return f"reaches its limit{f' of {limit:.0f} °C' if limit else ''} in {left:.0f} s at this rate"
    return ""


def _loaded(values: Mapping[str, float], settings: DashboardSettings) -> bool:
    limit_w = values.get("power_limit_w", 0.0)
    return values.get("util_ratio", 0.0) > settings.loaded_util_ratio or (
        limit_w > 0 and values.get("power_w", 0.0) / limit_w > settings.loaded_power_ratio
    )


def _and(text: str, more: str) -> str:
    return f"{text}; {more}" if more else text

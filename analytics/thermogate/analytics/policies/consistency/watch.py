"""Since when the signals of one device have contradicted one another."""

import msgspec

from thermogate.analytics.config import ConsistencySettings
from thermogate.analytics.policies import sane
from thermogate.core.clock import NS
from thermogate.core.model import DeviceInfo
from thermogate.core.wire import Point


class Watch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One device. Each `*_ns` is since when a contradiction has held on end, 0 while it does not.

    `temp_c`, of `temp_ns`, has been the same since `same_ns`, and `slow_w` (power, smoothed) between
    `low_w` and `high_w` since then. A jump went from `jump_from_c` to `jump_to_c`; it is judged once it
    has stayed.
    """

    seen_ns: int = 0
    temp_c: float | None = None
    temp_ns: int = 0
    same_ns: int = 0
    slow_w: float | None = None
    low_w: float = 0.0
    high_w: float = 0.0
    limit_w: float | None = None
    range_ns: int = 0
    far_ns: int = 0
    over_ns: int = 0
    busy_ns: int = 0
    jump_ns: int = 0
    jump_from_c: float = 0.0
    jump_to_c: float = 0.0
    margin_c: float = 0.0
    power_w: float = 0.0


def take(params: ConsistencySettings, before: Watch, point: Point, info: DeviceInfo | None) -> Watch:
    """The device after a sample. A signal that is not in it contradicts nothing."""
    fields, now_ns = point.fields, point.time_ns
    is_gpu = point.measurement == "gpu"
    temp_c, power_w = fields.get("temp_c"), sane.power(fields.get("power_w"))
    limit_w = fields.get("power_limit_w")
    if limit_w is None and info:
        limit_w = info.rated_power_w
    limit_w = sane.rated(limit_w)
    limit_c = fields.get("temp_limit_c")
    if limit_c is None and info:
        limit_c = info.temp_limit_c
    limit_c, core_c = sane.temperature(limit_c), sane.temperature(temp_c)
    margin_c = None if limit_c is None or core_c is None else limit_c - core_c
    same = temp_c is not None and temp_c == before.temp_c
    slow_w = _smoothed(params, before, power_w, now_ns)
    kept_w = before.slow_w if slow_w is None else slow_w
    here_w = 0.0 if kept_w is None else kept_w
    keeps = same or temp_c is None
    jump = _NO_JUMP
    if is_gpu and (before.jump_ns or _is_apart(params, before.temp_c, core_c)):
        jump = _jump(params, before, core_c, now_ns)
    out_of_range = temp_c is not None and not params.temp_least_c <= temp_c <= params.temp_most_c
    is_over = power_w is not None and limit_w is not None and power_w > params.over_ratio * limit_w
    return Watch(
        now_ns,
        before.temp_c if temp_c is None else temp_c,
        before.temp_ns if temp_c is None else now_ns,
        before.same_ns if keeps and before.same_ns else now_ns,
        kept_w,
        min(before.low_w, here_w) if keeps and before.slow_w is not None else here_w,
        max(before.high_w, here_w) if keeps and before.slow_w is not None else here_w,
        limit_w,
        (before.range_ns or now_ns) if out_of_range else 0,
        (before.far_ns or now_ns) if is_gpu and _is_far(params, fields, margin_c) else 0,
        (before.over_ns or now_ns) if is_gpu and is_over else 0,
        (before.busy_ns or now_ns) if is_gpu and _is_busy_idle(params, fields, power_w, limit_w) else 0,
        *jump,
        0.0 if margin_c is None else margin_c,
        0.0 if power_w is None else power_w,
    )


_NO_JUMP = (0, 0.0, 0.0)


def _smoothed(params: ConsistencySettings, before: Watch, power_w: float | None, now_ns: int) -> float | None:
    if power_w is None or before.slow_w is None:
        return power_w
    past_s = (now_ns - before.seen_ns) / NS
    return before.slow_w + (power_w - before.slow_w) * past_s / (past_s + params.stuck_smooth_s)


def _is_apart(params: ConsistencySettings, before_c: float | None, temp_c: float | None) -> bool:
    return temp_c is not None and before_c is not None and abs(temp_c - before_c) > params.jump_c


def _jump(
    params: ConsistencySettings, before: Watch, temp_c: float | None, now_ns: int
) -> tuple[int, float, float]:
    """(since when, from, to) of a jump that has not come back, and is not yet an old story."""
    kept = before.jump_ns, before.jump_from_c, before.jump_to_c
    if temp_c is None or before.temp_c is None:
        return kept
    if before.jump_ns:
        middle_c = (before.jump_from_c + before.jump_to_c) / 2
        came_back = (temp_c > middle_c) != (before.jump_to_c > middle_c)
        told = now_ns - before.jump_ns > 2 * params.jump_stays_s * NS
        return _NO_JUMP if came_back or told else kept
    is_near = now_ns - before.temp_ns <= params.jump_gap_s * NS
    if is_near and _is_apart(params, before.temp_c, temp_c):
        return now_ns, before.temp_c, temp_c
    return _NO_JUMP


def _is_far(params: ConsistencySettings, fields: dict[str, float], margin_c: float | None) -> bool:
    if not (fields.get("clock_event_hw_thermal") or fields.get("clock_event_sw_thermal")):
        return False
    if margin_c is None or margin_c < params.far_c:
        return False
    return fields.get("mem_temp_c", 0.0) < params.far_memory_c


def _is_busy_idle(
    params: ConsistencySettings, fields: dict[str, float], power_w: float | None, limit_w: float | None
) -> bool:
    if fields.get("util_ratio", 0.0) < params.busy_util_ratio or limit_w is None or power_w is None:
        return False
    clock_hz = fields.get("sm_clock_hz")
    return (
        clock_hz is not None
        and clock_hz <= params.busy_clock_hz
        and power_w < params.busy_power_ratio * limit_w
    )

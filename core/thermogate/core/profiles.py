"""The three published RLE profiles as pure step functions: parameters, state, one sample at a time.

`monitor` and `core` are one formula with other parameters; `headroom` is a formula of its own. The
time and memory of a sample are constant; nothing here reads a clock or a device. See docs/rle.md.
"""

import re
from math import inf

import msgspec

from thermogate.core import collapse, rle
from thermogate.core.collapse import CollapseParams
from thermogate.core.rle import Window
from thermogate.core.schema import Kind

PROFILES = ("monitor", "core", "headroom")
PUBLISHED_LIMITS: dict[Kind, tuple[float, float]] = {"gpu": (200.0, 83.0), "cpu": (125.0, 80.0)}
"""Rated power in W and temperature limit in C that the published programs assume: those of the
machine they were written on. For recordings that do not say; a live device says itself."""

_CORE: dict[str, float | None] = {
    "stability_window_count": 5,
    "stability_min_count": 2,
    "a_load_floor_ratio": 1e-6,
    "zero_power_is_missing": True,
    "warmup_s": None,
    "warmup_count": 5,
    "peak_floor": 1e-6,
    "heating_needs_reading": True,
}
_ONLY_HEADROOM = {"a_load_fixed_ratio"}
_HEADROOM = _ONLY_HEADROOM | {
    "interval_s",
    "interval_floor_s",
    "smoothing_count",
    "t_sustain_min_s",
    "t_sustain_max_s",
    "peak_decay_ratio",
    "drop_ratio",
}


class Params(CollapseParams, frozen=True, kw_only=True):
    """Every parameter of a profile; make it with `params`."""

    profile: str


_NAMES = set(Params.__struct_fields__) - {"profile", "rated_power_w", "temp_limit_c"}


class Sample(msgspec.Struct, frozen=True, gc=False):
    """What was measured on one device at one instant; None is "not measured".

    `util_ratio` is 0 to 1. `elapsed_s` is the source's own steady clock; only differences matter.
    """

    util_ratio: float
    temp_c: float | None
    power_w: float | None
    elapsed_s: float


class Result(msgspec.Struct, frozen=True, gc=False):
    """RLE of one sample and what it is made of. Every number is finite and at least 0."""

    rle_raw: float
    rle_smoothed: float
    e_th: float
    e_pw: float
    a_load: float
    t_sustain_s: float
    rolling_peak: float
    collapse: bool
    stability: float


class State(msgspec.Struct, frozen=True, gc=False):
    """What is remembered of one device between samples: a number of values that does not grow.

    Windows run from the oldest value to the newest. The last two temperatures keep the times they
    were read at, and `rise_c` and `t_sustain_s` are what came of them.
    """

    t_sustain_s: float
    rise_c: float = 0.0
    temp_c: float | None = None
    temp_at_s: float = 0.0
    temp_before_c: float | None = None
    temp_before_at_s: float = 0.0
    util_pct: Window = ()
    raw: Window = ()
    warm: bool = False
    samples_count: int = 0
    started_s: float = 0.0
    elapsed_s: float = -inf
    peak: float = 0.0
    drops_count: int = 0


def params(
    profile: str, *, rated_power_w: float | None, temp_limit_c: float | None, **overrides: float | None
) -> Params:
    """The published parameters of `profile` for one device, with `overrides` by name.

    `rated_power_w` may be None in `headroom`, which reads no power, and 0 in `monitor`. Raises
    ValueError, in words for a person, on a profile, a name or a value that cannot be.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown RLE profile {profile!r}: expected one of {', '.join(PROFILES)}")
    reads = _HEADROOM if profile == "headroom" else _NAMES - _ONLY_HEADROOM
    for name in overrides.keys() - reads:
        raise ValueError(f"the RLE profile {profile} has no parameter {name!r}")
    if profile == "headroom" and rated_power_w is None:
        rated_power_w = 0.0
    if rated_power_w is None or (profile == "core" and rated_power_w == 0):
        raise ValueError(f"the RLE profile {profile} needs rated_power_w, the device's power limit")
    if temp_limit_c is None:
        raise ValueError(f"the RLE profile {profile} needs temp_limit_c, the device's temperature limit")
    values = {"rated_power_w": rated_power_w, "temp_limit_c": temp_limit_c, **overrides}
    return _checked(profile, {**(_CORE if profile == "core" else {}), **values})


def _checked(profile: str, values: dict[str, float | None]) -> Params:
    try:
        made = msgspec.convert({"profile": profile, **values}, Params)
    except msgspec.ValidationError as err:
        text = re.sub(r"(.*) - at `\$\.(\w+)`", lambda m: f"{m[2]}: {m[1]}", str(err))
        raise ValueError(f"RLE parameter {text}") from None
    if made.stability_min_count > made.stability_window_count:
        raise ValueError("RLE parameter stability_min_count: more than stability_window_count")
    if made.t_sustain_min_s > made.t_sustain_max_s:
        raise ValueError("RLE parameter t_sustain_min_s: more than t_sustain_max_s")
    return made


def initial(params: Params) -> State:
    """The state of a device before its first sample."""
    return State(params.t_sustain_max_s)


def why_absent(params: Params, sample: Sample) -> str | None:
    """Why `sample` has no RLE under `params`, in words; None when it has one."""
    if not 0.0 <= sample.util_ratio <= 1.0:
        return f"util_ratio is {sample.util_ratio}, not 0 to 1"
    if sample.temp_c is not None and not -inf < sample.temp_c < inf:
        return f"temp_c is {sample.temp_c}"
    if params.profile == "headroom":
        return "temp_c was not measured" if sample.temp_c is None else None
    try:
        rle.a_load(params, sample.power_w)
    except ValueError as err:
        return str(err)
    return None


def step(params: Params, state: State, sample: Sample) -> tuple[State, Result]:
    """One sample: the state after it, and its RLE. Pure; `state` stays as it is.

    Raises ValueError where `why_absent` has a reason or `elapsed_s` goes back; the caller leaves
    RLE absent for that sample and goes on from `state`.
    """
    util, temp_c, now_s = sample.util_ratio, sample.temp_c, sample.elapsed_s
    if not (0.0 <= util <= 1.0 and state.elapsed_s <= now_s < inf):
        raise ValueError(why_absent(params, sample) or f"elapsed_s is {now_s} after {state.elapsed_s}")
    if params.profile == "headroom":
        return _step_headroom(params, state, sample)
    a_load = rle.a_load(params, sample.power_w)

    last_c, last_at_s = state.temp_c, state.temp_at_s
    rise_c, t_sustain_s = state.rise_c, state.t_sustain_s
    if temp_c is not None:
        if not -inf < temp_c < inf:
            raise ValueError(f"temp_c is {temp_c}")
        if last_c is not None:
            rise_c = temp_c - last_c
            interval_s = params.interval_s
            t_sustain_s = rle.t_sustain_s(
                params, temp_c, rise_c, now_s - last_at_s if interval_s is None else interval_s
            )
        last_c, last_at_s = temp_c, now_s

    util_pct, stability = rle.next_stability(
        state.util_pct, util * 100.0, params.stability_window_count, params.stability_min_count
    )
    e_th = stability / (1.0 + 1.0 / t_sustain_s)
    floor = params.a_load_floor_ratio
    e_pw = util / (a_load if a_load > floor else floor)
    rle_raw = e_th * e_pw
    raw, smoothed = rle.next_mean(state.raw, rle_raw, params.smoothing_count)

    warm, count, started_s = state.warm, state.samples_count, state.started_s
    if not warm:
        started_s = started_s if count else now_s
        count += 1
        warm = collapse.warm(params, count, now_s - started_s)
    peak, drops_count, collapsed = 0.0, 0, False
    if warm:
        peak, drops_count, collapsed = collapse.detect(
            params, state.peak, state.drops_count, smoothed, util, a_load, t_sustain_s, temp_c, rise_c
        )
    return (
        State(
            t_sustain_s, rise_c, last_c, last_at_s, None, 0.0, util_pct, raw,
            warm, count, started_s, now_s, peak, drops_count,
        ),
        Result(rle_raw, smoothed, e_th, e_pw, a_load, t_sustain_s, peak, collapsed, stability),
    )  # fmt: skip


def _step_headroom(params: Params, state: State, sample: Sample) -> tuple[State, Result]:
    util, temp_c, now_s = sample.util_ratio, sample.temp_c, sample.elapsed_s
    if temp_c is None or not -inf < temp_c < inf:
        raise ValueError(why_absent(params, sample))
    rise_c = None if state.temp_before_c is None else temp_c - state.temp_before_c
    over_s = now_s - state.temp_before_at_s if params.interval_s is None else 2.0 * params.interval_s
    t_sustain_s = rle.headroom_t_sustain_s(params, temp_c, rise_c, over_s)
    stability = rle.headroom(params, temp_c)
    e_pw = util / params.a_load_fixed_ratio
    e_th = stability / (1.0 + 1.0 / t_sustain_s) if t_sustain_s > 0.0 else 0.0
    rle_raw = e_th * e_pw
    counted = e_pw * stability / (1.0 + 1.0 / max(t_sustain_s, params.t_sustain_min_s))
    raw = rle.shift(state.raw, counted, params.smoothing_count)
    smoothed = rle.mean(raw) if len(raw) >= params.smoothing_count else rle_raw
    peak, collapsed = collapse.headroom_detect(params, raw, rle_raw)
    after = msgspec.structs.replace(
        state,
        raw=raw,
        temp_c=temp_c,
        temp_at_s=now_s,
        temp_before_c=state.temp_c,
        temp_before_at_s=state.temp_at_s,
        elapsed_s=now_s,
    )
    if state.temp_c is None:  # as published: no RLE yet, though the peak and the mean will count it
        return after, Result(0.0, 0.0, 0.0, 0.0, params.a_load_fixed_ratio, 0.0, 0.0, False, 0.0)
    a_load = params.a_load_fixed_ratio
    return after, Result(rle_raw, smoothed, e_th, e_pw, a_load, t_sustain_s, peak, collapsed, stability)

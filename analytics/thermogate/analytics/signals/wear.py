"""Repair severity: how much hotter a device runs than it did at the same load when it was healthy.

The baseline is kept by load, because a fan makes the thermal resistance fall as the load grows. It is
learned slowly, and never from what is clearly hotter than it.
"""

import msgspec
from msgspec.structs import replace

from thermogate.analytics.config import SignalSettings
from thermogate.analytics.signals.heat import Heat
from thermogate.analytics.signals.windows import share
from thermogate.core.clock import NS

_STEPS = 8
_STEP_RATIO = 0.1
"""A step of load: its rise differs by a tenth or less from one end to the other."""
_SETTLED = 3.0
"""Time constants of the heat sink after which 95 % of a change of load are in the temperature."""


class Wear(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of one device's cooler.

    It is judged every `interval_most_s` at most, last at `time_ns`: heat sinks are slow, and it is the
    dearest of the signals. For each step of load, a tenth of `full_w`: `learned_s`, and `k_per_w`, the
    healthy thermal resistance above the air. `drift` is the mean excess over it, `judged_s` the time it was
    judged for. `severity` is the worst drift less the recovery that has lasted; since drift was last that
    bad, `since_worst` was the most, for `since_worst_s`.
    """

    time_ns: int = 0
    full_w: float = 0.0
    learned_s: tuple[float, ...] = (0.0,) * _STEPS
    k_per_w: tuple[float, ...] = (0.0,) * _STEPS
    drift: float = 0.0
    judged_s: float = 0.0
    severity: float = 0.0
    since_worst: float = 0.0
    since_worst_s: float = 0.0


NEW = Wear()


def wear(params: SignalSettings, before: Wear, heat: Heat, temp_c: float) -> Wear:
    """The wear after a sample under load for long enough; `before` itself after any other."""
    if heat.loaded_s < _SETTLED * params.heat_s:
        return before
    if (heat.time_ns - before.time_ns) / NS < params.interval_most_s:
        return before
    known = before if before.full_w == heat.full_w else Wear(full_w=heat.full_w)  # its steps are other ones
    known = replace(known, time_ns=heat.time_ns)
    rise_k = max(temp_c - params.ambient_c, 0.0)
    step = min(int((heat.soaked_w / heat.full_w - params.load_least_ratio) / _STEP_RATIO), _STEPS - 1)
    healthy_k = _healthy_k(params, known, step, heat.soaked_w)
    if healthy_k is None:
        return _learn(params, known, step, rise_k / heat.soaked_w)
    excess = (rise_k - healthy_k) / max(healthy_k, params.rise_least_k)
    after = _judge(params, known, excess)
    if excess > params.learn_band_ratio:
        return after
    if known.learned_s[step] >= params.learn_s:  # one cool night does not make every day hot
        rise_k = max(rise_k, healthy_k * (1.0 - params.learn_band_ratio))
    return _learn(params, after, step, rise_k / heat.soaked_w)


def repair_severity(params: SignalSettings, now: Wear) -> float | None:
    """The worst drift less the recovery that has lasted, 0 or more; None before drift is known."""
    return now.severity if now.judged_s >= params.drift_s else None


def _healthy_k(params: SignalSettings, known: Wear, step: int, soaked_w: float) -> float | None:
    """The rise of the healthy device at this power; None when nothing like it has been learned.

    At a load that has not been learned it is the most that those which have been allow: a device is never
    hotter at less load, and its rise grows no faster than its load.
    """
    if known.learned_s[step] >= params.learn_s:
        return known.k_per_w[step] * soaked_w
    least_k: float | None = None
    for other, learned_s in enumerate(known.learned_s):
        if learned_s >= params.learn_s:
            ends_w = (params.load_least_ratio + (other + 1) * _STEP_RATIO) * known.full_w
            allowed_k = known.k_per_w[other] * max(soaked_w, ends_w)
            least_k = allowed_k if least_k is None else min(least_k, allowed_k)
    return least_k


def _learn(params: SignalSettings, known: Wear, step: int, k_per_w: float) -> Wear:
    sample_s = params.interval_most_s
    learned_s, known_k_per_w = list(known.learned_s), list(known.k_per_w)
    part = share(learned_s[step], sample_s, params.baseline_s) if learned_s[step] else 1.0
    known_k_per_w[step] += part * (k_per_w - known_k_per_w[step])
    learned_s[step] = min(learned_s[step] + sample_s, params.baseline_s)
    return replace(known, learned_s=tuple(learned_s), k_per_w=tuple(known_k_per_w))


def _judge(params: SignalSettings, known: Wear, excess: float) -> Wear:
    """The wear with one more excess: severity grows at once, and goes down as recovery lasts."""
    sample_s = params.interval_most_s
    part = share(known.judged_s, sample_s, params.drift_s) if known.judged_s else 1.0
    drift = known.drift + part * (excess - known.drift)
    judged_s = min(known.judged_s + sample_s, params.baseline_s)
    bad = max(drift, 0.0) if judged_s >= params.drift_s else 0.0
    severity, since_worst, since_worst_s = bad, 0.0, 0.0
    if bad < known.severity:
        since_worst, since_worst_s = max(known.since_worst, bad), known.since_worst_s + sample_s
        severity = known.severity
        if since_worst_s >= params.recovery_s:
            severity, since_worst, since_worst_s = since_worst, 0.0, 0.0
    return replace(
        known,
        drift=drift,
        judged_s=judged_s,
        severity=severity,
        since_worst=since_worst,
        since_worst_s=since_worst_s,
    )

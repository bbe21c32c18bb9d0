"""RLE of `monitor` and `core` written down once more, as plainly as the formula: lists that grow.

Independent of thermogate.core.rle on purpose; tests compare the two.
"""

from dataclasses import dataclass, field
from statistics import fmean, pstdev


@dataclass
class GrowingRle:
    """One device; `sample` returns the columns of a recorded session by name."""

    rated_power_w: float
    temp_limit_c: float
    core: bool
    utils_pct: list[float] = field(default_factory=list)
    temps_c: list[float] = field(default_factory=list)
    raws: list[float] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    peak: float = 0.0
    drops: int = 0

    def sample(self, util: float, temp_c: float | None, power_w: float, at_s: float) -> dict[str, float]:
        self.utils_pct.append(100 * util)
        self.times_s.append(at_s)
        if temp_c is not None:
            self.temps_c.append(temp_c)
        window = self.utils_pct[-5:] if self.core else self.utils_pct[-10:]
        spread = pstdev(window) if len(self.utils_pct) >= (2 if self.core else 5) else 0.0
        stability = 1 / (1 + spread)
        a_load = power_w / self.rated_power_w
        divisor = max(a_load, 1e-6 if self.core else 1e-3)
        t_sustain_s = self._t_sustain_s()
        raw = util * stability / (divisor * (1 + 1 / t_sustain_s))
        self.raws.append(raw)
        smoothed = fmean(self.raws[-5:])
        return {
            "rle_raw": raw,
            "rle_smoothed": smoothed,
            "e_th": stability / (1 + 1 / t_sustain_s),
            "e_pw": util / divisor,
            "a_load": a_load,
            "t_sustain_s": t_sustain_s,
            "stability": stability,
            "collapse": self._collapse(smoothed, util, a_load, t_sustain_s, temp_c),
            "rolling_peak": self.peak,
        }

    def _t_sustain_s(self) -> float:
        if len(self.temps_c) < 2:
            return 600.0
        before_c, now_c = self.temps_c[-2:]
        return max(1.0, min(600.0, (self.temp_limit_c - now_c) / max(now_c - before_c, 1e-3)))

    def _collapse(
        self, smoothed: float, util: float, a_load: float, t_sustain_s: float, temp_c: float | None
    ) -> bool:
        warm = len(self.raws) >= 5 if self.core else self.times_s[-1] - self.times_s[0] > 60
        if not warm:
            return False
        self.peak = max(smoothed, 0.998 * self.peak)
        heating = len(self.temps_c) >= 2 and self.temps_c[-1] - self.temps_c[-2] > 0.05
        if self.core and temp_c is None:
            heating = False
        loaded = util > 0.60 or a_load > 0.75
        dropped = smoothed < 0.65 * (max(self.peak, 1e-6) if self.core else self.peak)
        self.drops = self.drops + 1 if heating and loaded and dropped else 0
        near = temp_c is not None and temp_c > self.temp_limit_c - 5
        return self.drops >= 7 and (t_sustain_s < 60 or near or a_load > 0.95)

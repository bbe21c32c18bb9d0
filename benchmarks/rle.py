"""RLE: what one sample costs, beside an implementation that keeps growing lists, and in numpy.

Samples are those of the shipped GPU recording, played over and over. Rounds of the three take turns,
so that a machine that slows down slows all of them down.
"""

import json
from collections.abc import Callable
from itertools import cycle, islice
from statistics import fmean, median, pstdev
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from thermogate.agent import recording
from thermogate.analytics import rle_batch
from thermogate.core.profiles import Params, Sample, initial, params, step

ROUNDS_COUNT = 40
"""Many and short: the best of them is one that nothing else on the machine disturbed."""
STEP_COUNT = 5_000
GROWING_COUNT = 500
BATCH_COUNT = 1_000_000
WARM_UP_COUNT = 1_000
"""Samples before the clock starts: windows are full and the detector is at work."""


def recorded(count: int) -> list[Sample]:
    """`count` samples, 1 s apart, of the recorded GPU."""
    (path,) = (path for path in recording.shipped() if path.stem == "monitor_gpu_light")
    rows = islice(cycle(recording.read(path).of(("gpu", "0"))), count)
    return [
        Sample((row.util_pct or 0.0) / 100, row.temp_c, row.power_w, float(second))
        for second, row in enumerate(rows)
    ]


class GrowingLists:
    """The `monitor` profile with whole histories in lists and the standard library's statistics."""

    def __init__(self, made: Params) -> None:
        self._params = made
        self._utils: list[float] = []
        self._temps: list[float] = []
        self._raws: list[float] = []
        self._times: list[float] = []
        self._peak = 0.0
        self._drops = 0

    def add(self, sample: Sample) -> tuple[float, bool]:
        """Smoothed RLE and collapse of one more sample."""
        made, temp_c = self._params, sample.temp_c or 0.0
        self._utils.append(sample.util_ratio * 100)
        self._temps.append(temp_c)
        self._times.append(sample.elapsed_s)
        rise_c = temp_c - self._temps[-2] if len(self._temps) > 1 else 0.0
        t_sustain_s = max(1.0, min(600.0, (made.temp_limit_c - temp_c) / max(rise_c, 1e-3)))
        spread = pstdev(self._utils[-10:]) if len(self._utils) >= 5 else 0.0
        a_load = (sample.power_w or 0.0) / made.rated_power_w
        self._raws.append(sample.util_ratio / (1 + spread) / (max(a_load, 1e-3) * (1 + 1 / t_sustain_s)))
        smoothed = fmean(self._raws[-5:])
        if self._times[-1] - self._times[0] <= 60:
            return smoothed, False
        self._peak = max(smoothed, 0.998 * self._peak)
        loaded = sample.util_ratio > 0.60 or a_load > 0.75
        drops = loaded and rise_c > 0.05 and smoothed < 0.65 * self._peak
        self._drops = self._drops + 1 if drops else 0
        near = t_sustain_s < 60 or temp_c > made.temp_limit_c - 5 or a_load > 0.95
        return smoothed, self._drops >= 7 and near


Update = Callable[[Sample], tuple[float, bool]]


def stepping(made: Params) -> Update:
    """`profiles.step` with its state kept between calls."""
    state = initial(made)

    def update(sample: Sample) -> tuple[float, bool]:
        nonlocal state
        state, result = step(made, state, sample)
        return result.rle_smoothed, result.collapse

    return update


def check(made: Params, samples: list[Sample]) -> None:
    """The two that are compared compute the same."""
    ours, theirs = stepping(made), GrowingLists(made).add
    for sample in samples:
        (smoothed, collapse), (expected, expected_collapse) = ours(sample), theirs(sample)
        if abs(smoothed - expected) > 1e-9 * expected or collapse != expected_collapse:
            raise SystemExit(f"the implementations differ at {sample}")


def step_us(made: Params, samples: list[Sample]) -> float:
    """Microseconds a sample of `profiles.step`, its result included, with full windows."""
    state = initial(made)
    for sample in samples[:WARM_UP_COUNT]:
        state, _ = step(made, state, sample)
    measured = samples[WARM_UP_COUNT:]
    began_s = perf_counter()
    for sample in measured:
        state, _result = step(made, state, sample)
    return (perf_counter() - began_s) / len(measured) * 1e6


def growing_us(made: Params, samples: list[Sample]) -> float:
    """Microseconds a sample with growing lists."""
    add = GrowingLists(made).add
    for sample in samples[:WARM_UP_COUNT]:
        add(sample)
    measured = samples[WARM_UP_COUNT : WARM_UP_COUNT + GROWING_COUNT]
    began_s = perf_counter()
    for sample in measured:
        add(sample)
    return (perf_counter() - began_s) / len(measured) * 1e6


def batch_per_s(made: Params, columns: list[NDArray[np.float64]]) -> float:
    """Samples a second of `rle_batch.run`, which uses one core."""
    began_s = perf_counter()
    rle_batch.run(made, *columns)
    return len(columns[0]) / (perf_counter() - began_s)


def main() -> None:
    """Measure, print a table, and as the last line one JSON object."""
    made = params("monitor", rated_power_w=200.0, temp_limit_c=83.0)
    samples = recorded(WARM_UP_COUNT + STEP_COUNT)
    check(made, samples)
    repeats = BATCH_COUNT // len(samples) + 1
    util, temp_c, power_w = (
        np.tile([getattr(sample, name) for sample in samples], repeats)
        for name in ("util_ratio", "temp_c", "power_w")
    )
    columns = [util, temp_c, power_w, np.arange(len(util), dtype=np.float64)]
    rounds = [
        (step_us(made, samples), growing_us(made, samples), batch_per_s(made, columns))
        for _ in range(ROUNDS_COUNT)
    ]
    ours_us, theirs_us, a_second = zip(*rounds, strict=True)
    report = {
        "us_per_sample": round(min(ours_us), 3),
        "reference_us_per_sample": round(min(theirs_us), 3),
        "batch_samples_per_s": round(max(a_second)),
    }
    print(f"RLE, profile monitor, best of {ROUNDS_COUNT} rounds (median in brackets)")
    print(f"  profiles.step           {min(ours_us):8.2f} us a sample   ({median(ours_us):.2f})")
    print(f"  growing lists, pstdev   {min(theirs_us):8.2f} us a sample   ({median(theirs_us):.2f})")
    print(
        f"  rle_batch.run           {max(a_second) / 1e6:8.2f} M samples/s   ({median(a_second) / 1e6:.2f})"
    )
    print(f"  step is {min(theirs_us) / min(ours_us):.1f} times as fast as growing lists")
    print(json.dumps(report))


if __name__ == "__main__":
    main()

"""Samples for tests of RLE: any that Hypothesis likes, and runs that look like a device at work."""

import random

from hypothesis import strategies as st

from thermogate.core.profiles import Params, Result, Sample, State, initial, step

UTIL = st.floats(0.0, 1.0)
TEMP_C = st.floats(0.0, 120.0)
POWER_W = st.floats(1e-3, 1000.0)
GAP_S = st.floats(0.0, 30.0)


@st.composite
def any_samples(draw: st.DrawFn, *, with_temp: bool = False, max_size: int = 60) -> list[Sample]:
    """Up to `max_size` samples of one device; some without temperature unless `with_temp`."""
    temp = TEMP_C if with_temp else st.none() | TEMP_C
    rows = draw(st.lists(st.tuples(UTIL, temp, POWER_W, GAP_S), max_size=max_size))
    at_s, samples = 0.0, []
    for util, temp_c, power_w, gap_s in rows:
        at_s += gap_s
        samples.append(Sample(util, temp_c, power_w, at_s))
    return samples


def at_work(seed: int, count: int, *, with_temp: bool = False) -> list[Sample]:
    """A device of 200 W and 83 C that idles, works and overheats in phases of half a minute.

    Its RLE jumps by more than a third between phases and it heats within them, so that every
    condition of the detector is now true and now false.
    """
    rng = random.Random(seed)
    samples, temp_c = [], 50.0
    for number in range(count):
        if number % 30 == 0:
            util, power_w = rng.choice([0.05, 0.5, 0.65, 0.95]), rng.choice([30.0, 80.0, 155.0, 196.0])
            trend_c = rng.choice([-0.6, 0.0, 0.04, 0.2, 0.7])
            steady = rng.choice([0.0, 0.001, 0.02])
        temp_c = min(85.0, max(40.0, temp_c + trend_c + rng.gauss(0.0, 0.02)))
        missing = not with_temp and rng.random() < 0.03
        samples.append(
            Sample(
                min(1.0, max(0.0, util + rng.gauss(0.0, steady))),
                None if missing else temp_c,
                power_w + rng.random(),
                number * 1.003,
            )
        )
    return samples


def run(params: Params, samples: list[Sample], state: State | None = None) -> list[Result]:
    """The results of `step` over all samples."""
    state = state or initial(params)
    results = []
    for sample in samples:
        state, result = step(params, state, sample)
        results.append(result)
    return results

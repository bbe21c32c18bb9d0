"""Means over a window of time, one sample at a time, at whatever intervals samples come.

A window begins as the plain mean of what it has seen; once it has covered its time it forgets
exponentially. One rule does both: the newest sample has the share `share(...)` of the mean. Nothing is
kept but the means.
"""


def share(covered_s: float, sample_s: float, window_s: float) -> float:
    """Share of the mean, over 0 and below 1, of a sample that stands for `sample_s`.

    `covered_s` is what was seen before it. The first sample has stood for as long as the second.
    """
    seen_s = covered_s if covered_s > sample_s else sample_s
    return sample_s / (sample_s + (seen_s if seen_s < window_s else window_s))

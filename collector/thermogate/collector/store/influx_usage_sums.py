"""Sums over the pieces of a device's time, and the usage that they come to. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from thermogate.collector.store.resolution import STEP_NS, Resolution
from thermogate.core.clock import NS
from thermogate.core.query import DeviceTime, Usage

MEANS = ("power_w", "temp_c", "rle", "collapse", "throttled")

COUNTED = (*MEANS, "util_ratio", "energy_j")
"""Of a GPU or CPU, the fields that nearly every sample has one of."""

_Span = tuple[int, int]


class Sums:
    """What has been added so far. `growth` is by how much counters and flags have grown."""

    def __init__(self) -> None:
        self.growth: dict[str, float] = {}
        self._totals: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._weights: dict[str, int] = {}
        self._hottest_c: float | None = None
        self._windows: list[_Span] = []
        self._energy_windows: list[_Span] = []

    def add_samples(self, means: Sequence[Any], counts: Iterable[tuple[str, int]]) -> None:
        """A row of a stamp, mean and count of each of MEANS and the largest temperature; counts by field."""
        for name, count in counts:
            self._counts[name] = self._counts.get(name, 0) + count
        for index, name in enumerate(MEANS):
            mean, count = means[2 * index + 1 : 2 * index + 3] if means else (None, 0)
            self._weigh(name, mean, count)
        self._heat(means[-1] if means else None)

    def add_windows(
        self, names: Sequence[str], rows: Iterable[Sequence[Any]], resolution: Resolution
    ) -> None:
        """Windows, each a row of its begin and what columns are named."""
        for row in rows:
            window = dict(zip(names, row, strict=True))
            span = (row[0], row[0] + STEP_NS[resolution])
            self._windows.append(span)
            for name in MEANS:
                self._weigh(name, window.get(f"{name}_mean"), window.get(f"{name}_count"))
            self._heat(window.get("temp_c_max"))
            for name, value in window.items():
                if name.endswith("_count") and value:
                    field = name.removesuffix("_count")
                    self._counts[field] = self._counts.get(field, 0) + round(value)
                elif name.endswith("_growth") and value is not None:
                    self.grow(name.removesuffix("_growth"), value, None, None)
            if window.get("energy_j_count"):
                self._energy_windows.append(span)

    def grow(self, name: str, grown: float | None, first: float | None, before: float | None) -> None:
        """A growth within samples, and the step up to the first of them from one before."""
        step = max(0.0, first - before) if first is not None and before is not None else 0.0
        if grown is not None or first is not None:
            self.growth[name] = self.growth.get(name, 0.0) + (grown or 0.0) + step

    def usage(self, samples: _Span | None, energy: _Span | None, time: DeviceTime) -> Usage | None:
        """What it comes to; `samples` and `energy` are the stamps of the first and last that are kept."""
        span = _outer(samples, self._windows, time)
        if span is None:
            return None
        energy_first_ns, energy_last_ns = _outer(energy, self._energy_windows, time) or (0, 0)
        energy_ns = energy_last_ns - energy_first_ns
        collapse_ratio = self._mean("collapse")
        return Usage(
            first_ns=span[0],
            last_ns=span[1],
            sample_count=max(self._counts.values(), default=0),
            power_w=self._mean("power_w"),
            temp_c=self._mean("temp_c"),
            temp_max_c=self._hottest_c,
            rle=self._mean("rle"),
            rle_count=self._weights.get("rle", 0),
            collapse_ratio=collapse_ratio,
            collapse_count=None if collapse_ratio is None else round(self.growth.get("collapse", 0.0)),
            throttled_ratio=self._mean("throttled"),
            energy_j=self.growth.get("energy_j", 0.0) if energy_ns else None,
            energy_s=energy_ns / NS,
        )

    def _weigh(self, name: str, mean: float | None, count: float | None) -> None:
        if mean is not None and count:
            self._totals[name] = self._totals.get(name, 0.0) + mean * count
            self._weights[name] = self._weights.get(name, 0) + round(count)

    def _heat(self, temp_c: float | None) -> None:
        if temp_c is not None:
            self._hottest_c = float(temp_c) if self._hottest_c is None else max(self._hottest_c, temp_c)

    def _mean(self, name: str) -> float | None:
        return self._totals[name] / self._weights[name] if name in self._weights else None


def _outer(samples: _Span | None, windows: Sequence[_Span], time: DeviceTime) -> _Span | None:
    """First and last stamp: of samples, or of windows that have outlived theirs."""
    if not windows:
        return samples
    first, last = min(windows), max(windows)
    if samples is None:
        return max(time.start_ns, first[0]), min(time.end_ns, last[1]) - 1
    return (
        max(time.start_ns, first[0]) if first[1] <= samples[0] else samples[0],
        min(time.end_ns, last[1]) - 1 if last[0] > samples[1] else samples[1],
    )

"""What the devices of one model have as thermal resistance over the fleet."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from thermogate.analytics.policies.base import Peers
from thermogate.analytics.policies.cooling.memory import CoolingState

_LEAST = 3
"""Fewer than this have no spread. How many a device is compared with is `CoolingSettings.min_peers`."""
_APART_RATIO = 1.35
_APART_SHARE = 0.1
"""When more than a tenth are this far above the median, it is no distribution to stand out from: two ways
of cooling under one name, or a hall that is too hot. A robust spread would not see it."""
_NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


def resistances(state: CoolingState) -> dict[str, tuple[str, float]]:
    """(model, K/W) of each device of a node that has a fresh thermal resistance."""
    return {
        name: (device.model, device.k_per_w) for name, device in state.devices.items() if device.resistances
    }


def distribution(values: Iterable[tuple[str, float]]) -> dict[str, Peers]:
    """The robust distribution of each model among (model, K/W) of many devices.

    Models of which there are too few, or whose devices fall apart into groups, are left out.
    """
    by_model: dict[str, list[float]] = defaultdict(list)
    for model, k_per_w in values:
        if model:
            by_model[model].append(k_per_w)
    return {
        model: peers
        for model, of_model in by_model.items()
        if (peers := _peers(sorted(of_model))) is not None
    }


def _peers(values: list[float]) -> Peers | None:
    if len(values) < _LEAST:
        return None
    middle = median(values)
    apart = sum(value > _APART_RATIO * middle for value in values)
    if apart > max(1.0, _APART_SHARE * len(values)):
        return None
    spread = _NORMAL * median(abs(value - middle) for value in values)
    return Peers(len(values), middle, spread)

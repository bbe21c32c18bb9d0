"""Numbers that a device can mean. A message may carry any up to 1e308, whose sums and ratios are infinite."""

_MOST_C = 1e4
_MOST_W = 1e6
_MOST_RATIO = 1e6


def temperature(temp_c: float | None) -> float | None:
    """The temperature, or limit of one; None when it is none at all."""
    return temp_c if temp_c is not None and -_MOST_C < temp_c < _MOST_C else None


def power(power_w: float | None) -> float | None:
    """The power; None when it is none at all."""
    return power_w if power_w is not None and -_MOST_W < power_w < _MOST_W else None


def rated(rated_w: float | None) -> float | None:
    """The rated power or power limit; None when nothing can be divided by it."""
    return rated_w if rated_w is not None and 1.0 <= rated_w < _MOST_W else None


def ratio(value: float | None) -> float | None:
    """The utilization or another share; None when it is none at all."""
    return value if value is not None and 0.0 <= value < _MOST_RATIO else None

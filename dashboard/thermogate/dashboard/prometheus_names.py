"""What a stored field is called in Prometheus: base units and endings as its conventions have them."""

from thermogate.core.schema import Field

_UNITS = {
    "W": ("_w", "_watts"),
    "J": ("_j", "_joules"),
    "degC": ("_c", "_celsius"),
    "s": ("_s", "_seconds"),
    "Hz": ("_hz", "_hertz"),
    "1": ("_count", ""),
}
"""Ending of our name and of theirs, by unit. Ratios and bytes end alike."""


def metric_name(measurement: str, field: Field) -> str:
    """`thermogate_gpu_power_watts` of `power_w`; counters end in `_total`."""
    ours, theirs = _UNITS.get(field.unit, ("", ""))
    base = field.name.removesuffix(ours) + theirs if ours and field.name.endswith(ours) else field.name
    return f"thermogate_{measurement}_{base}{'_total' if field.counter else ''}"

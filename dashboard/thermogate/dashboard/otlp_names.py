"""What a stored field is called in OpenTelemetry.

Sources: semantic conventions for hardware (github.com/open-telemetry/semantic-conventions, docs/hardware;
status: development, so a later version may rename). What they do not know is
`thermogate.<measurement>.<field>`, without its unit, which OpenTelemetry keeps beside the name.
"""

from typing import Literal, NamedTuple

from thermogate.core.schema import Field

OtlpKind = Literal["gauge", "counter", "updown"]

_UNITS = {"W": "W", "J": "J", "degC": "Cel", "s": "s", "Hz": "Hz", "bytes": "By", "ratio": "1", "1": "1"}
"""UCUM, by our units."""
_ENDINGS = {"W": "_w", "J": "_j", "degC": "_c", "s": "_s", "Hz": "_hz", "bytes": "_bytes", "ratio": "_ratio"}


class OtlpName(NamedTuple):
    """A metric. `part` is what of the device it is of, when that is a component of its own (a sensor, a
    fan); `attributes` are the same for all its points."""

    name: str
    unit: str
    kind: OtlpKind
    attributes: dict[str, str]
    part: str = ""


_MEMORY = {"hw.sensor_location": "memory"}
_BOTH = {
    "power_w": OtlpName("hw.power", "W", "gauge", {}),
    "energy_j": OtlpName("hw.energy", "J", "counter", {}),
    "temp_c": OtlpName("hw.temperature", "Cel", "gauge", {"hw.sensor_location": "die"}, "temp"),
    "temp_limit_c": OtlpName(
        "hw.temperature.limit",
        "Cel",
        "gauge",
        {"hw.sensor_location": "die", "hw.limit_type": "high.degraded"},
        "temp",
    ),
}
_HARDWARE: dict[str, dict[str, OtlpName]] = {
    "gpu": {
        **_BOTH,
        "mem_temp_c": OtlpName(
            "hw.temperature", "Cel", "gauge", {"hw.sensor_location": "memory"}, "mem_temp"
        ),
        "util_ratio": OtlpName("hw.gpu.utilization", "1", "gauge", {"hw.gpu.task": "general"}),
        "mem_used_bytes": OtlpName("hw.gpu.memory.usage", "By", "updown", {}),
        "mem_total_bytes": OtlpName("hw.gpu.memory.limit", "By", "updown", {}),
        "ecc_corrected_count": OtlpName("hw.errors", "{error}", "counter", {"error.type": "corrected"}),
        "ecc_uncorrected_count": OtlpName("hw.errors", "{error}", "counter", {"error.type": "uncorrected"}),
        "fan_ratio": OtlpName("hw.fan.speed_ratio", "1", "gauge", {}, "fan"),
    },
    "cpu": {**_BOTH, "clock_hz": OtlpName("hw.cpu.speed", "Hz", "gauge", {})},
    "node": {"power_w": OtlpName("hw.host.power", "W", "gauge", {})},
}


def otlp_name(measurement: str, field: Field) -> OtlpName:
    """`hw.power` of `power_w`, `thermogate.gpu.rle` of `rle`."""
    known = _HARDWARE.get(measurement, {}).get(field.name)
    if known:
        return known
    base = field.name.removesuffix(_ENDINGS.get(field.unit, "_count"))
    kind: OtlpKind = "counter" if field.counter else "gauge"
    return OtlpName(f"thermogate.{measurement}.{base}", _UNITS[field.unit], kind, {})

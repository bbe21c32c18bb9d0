"""Every stored field: its unit, type and meaning. `docs/metrics.md` is generated from this table."""

from typing import Literal

import msgspec

VERSION = "thermogate/1"

Kind = Literal["gpu", "cpu", "node", "agent", "signal"]
DEVICE_KINDS: tuple[Kind, ...] = ("gpu", "cpu")
"""Kinds that do work and heat up; the others describe the node around them."""
SAMPLED_KINDS: tuple[Kind, ...] = (*DEVICE_KINDS, "node", "agent")
"""What a node measures and sends. Signals are computed from it, and come from analytics."""


class Field(msgspec.Struct, frozen=True):
    """One field of a measurement.

    `unit` is SI or "ratio" (0 to 1) or "1" (no unit). `integer` fields carry the `i` suffix on the
    wire. A `counter` only grows (until it wraps or its device is reset); the rest are gauges.
    """

    name: str
    unit: str
    what: str
    integer: bool = False
    counter: bool = False


class Measurement(msgspec.Struct, frozen=True):
    """A kind of thing that is measured, with the fields it may carry. Any of them may be absent."""

    name: Kind
    what: str
    fields: tuple[Field, ...]


_LOAD = (
    Field("power_w", "W", "Electrical power now, as the device measures it."),
    Field("energy_j", "J", "Energy used since the counter began, as the device counts it.", counter=True),
    Field(
        "temp_c", "degC", "Core (die) temperature; of AMD GPUs the junction, which is what slows them down."
    ),
    Field("util_ratio", "ratio", "Share of the last sample period in which the device was busy."),
    Field("power_limit_w", "W", "Power limit enforced now; the rated power of RLE."),
    Field("temp_limit_c", "degC", "Temperature at which the device slows itself down; the limit of RLE."),
)

_RLE = (
    Field("rle", "1", "Load efficiency (RLE), mean of the last 5 samples. See docs/rle.md."),
    Field("rle_raw", "1", "Load efficiency (RLE) of this sample alone."),
    Field("e_th", "1", "Thermal part of RLE: stability / (1 + 1/t_sustain)."),
    Field("e_pw", "1", "Power part of RLE: util / a_load."),
    Field("a_load_ratio", "ratio", "Power over rated power."),
    Field("t_sustain_s", "s", "Time until the temperature limit at the present rate of heating, 1 to 600."),
    Field("rle_peak", "1", "Rolling peak of RLE, decaying 0.2 % a sample."),
    Field("collapse", "1", "1 while a thermal collapse lasts, else 0.", integer=True),
)

_THROTTLED = Field(
    "throttled",
    "1",
    "1 while the device slows itself down for heat or for a hardware power limit, else 0."
    " Running at the power limit that is set (clock_event_sw_power_cap) is not counted.",
    integer=True,
)

CLOCK_EVENTS = {
    "clock_event_sw_power_cap": "the power limit that is set",
    "clock_event_sw_thermal": "temperature, by the driver",
    "clock_event_hw_thermal": "temperature, by the hardware: clocks halved or worse",
    "clock_event_hw_power_brake": "an external power brake, as from a power supply",
    "clock_event_hw_slowdown": "the hardware, for heat or power",
    "clock_event_sync_boost": "the clocks of other GPUs in its sync boost group",
    "clock_event_app_clocks": "the applications clocks that are set",
}
"""What may hold a GPU's clocks down (NVML: clocks event reasons), by the field that tells."""

THROTTLE_CAUSES = {
    "clock_event_hw_thermal": "temperature (hardware)",
    "clock_event_sw_thermal": "temperature (driver)",
    "clock_event_hw_power_brake": "a power brake",
    "clock_event_hw_slowdown": "hardware slowdown",
}
"""Of CLOCK_EVENTS those that make `throttled`: what a device does to save itself, in a few words.
The others are what somebody has set."""

_GPU = (
    Field("temp_margin_c", "degC", "Margin to the temperature at which the device slows itself down."),
    Field("perf_state", "1", "Performance state: 0 the fastest, 15 the slowest.", integer=True),
    Field(
        "ecc_corrected_count",
        "1",
        "Memory errors that ECC corrected since the driver was loaded.",
        integer=True,
        counter=True,
    ),
    Field(
        "ecc_uncorrected_count",
        "1",
        "Memory errors that ECC could not correct since the driver was loaded.",
        integer=True,
        counter=True,
    ),
    _THROTTLED,
    *(
        Field(name, "1", f"1 while clocks are held down by {by}, else 0.", integer=True)
        for name, by in CLOCK_EVENTS.items()
    ),
    Field("mem_temp_c", "degC", "Memory temperature."),
    Field("mem_util_ratio", "ratio", "Share of the last sample period in which device memory was busy."),
    Field("mem_used_bytes", "bytes", "Device memory in use.", integer=True),
    Field("mem_total_bytes", "bytes", "Device memory in all.", integer=True),
    Field("sm_clock_hz", "Hz", "Streaming multiprocessor clock."),
    Field("mem_clock_hz", "Hz", "Memory clock."),
    Field("fan_ratio", "ratio", "Fan speed over its maximum."),
)

_CPU = (
    Field("clock_hz", "Hz", "Mean clock of some cores spread over the package (agent.cpu.clock_cpus)."),
    Field("dram_power_w", "W", "Power of the memory at this package, as RAPL measures it."),
    Field("dram_energy_j", "J", "Energy of that memory since the counter began.", counter=True),
    _THROTTLED,
)

_STALLED = "Share of the time since the sample before in which {who} stalled for want of {what} (PSI)."

_NODE = (
    Field(
        "power_w",
        "W",
        "Electrical power of the whole node from its ACPI power meter (BMC), a mean over the meter's own"
        " interval, which the source's report tells.",
    ),
    Field("mem_total_bytes", "bytes", "Memory of the node in all.", integer=True),
    Field(
        "mem_available_bytes", "bytes", "Memory that work could still have without swapping.", integer=True
    ),
    Field("cpu_stall_some_ratio", "ratio", _STALLED.format(who="some task", what="a CPU")),
    Field("mem_stall_some_ratio", "ratio", _STALLED.format(who="some task", what="memory")),
    Field("mem_stall_full_ratio", "ratio", _STALLED.format(who="every task", what="memory")),
    Field("io_stall_some_ratio", "ratio", _STALLED.format(who="some task", what="I/O")),
    Field("io_stall_full_ratio", "ratio", _STALLED.format(who="every task", what="I/O")),
)

_AGENT = (
    Field("ticks_count", "1", "Sampling ticks done since the agent started.", integer=True, counter=True),
    Field("late_count", "1", "Ticks that began over a tenth of a period late.", integer=True, counter=True),
    Field(
        "skipped_count",
        "1",
        "Ticks skipped because an earlier one took too long.",
        integer=True,
        counter=True,
    ),
    Field("spool_depth_count", "1", "Messages in the spool that no store has yet.", integer=True),
    Field("spool_bytes", "bytes", "Size of the spool on disk.", integer=True),
    Field(
        "spool_dropped_count", "1", "Messages dropped because the spool was full.", integer=True, counter=True
    ),
    Field("spool_lost_count", "1", "Messages found damaged or missing on disk.", integer=True, counter=True),
    Field("spool_oldest_s", "s", "Age of the oldest message that no store has yet."),
    Field("ack_age_s", "s", "Time since a store last acknowledged anything."),
    Field("sweep_s", "s", "Time that reading all sensors took at the last tick."),
    Field(
        "frugal", "1", "1 while optional sensors are left out to keep to the budget, else 0.", integer=True
    ),
    Field("cpu_s", "s", "Processor time that the agent's process has used.", counter=True),
    Field("rss_bytes", "bytes", "Resident memory of the agent's process.", integer=True),
)

_SIGNAL = (
    Field("volatility", "1", "How much RLE varies now, over how much it has varied of late (mu)."),
    Field("overload", "1", "Volatility squared times load over thermal headroom (Omega)."),
    Field("incoherence", "1", "How far the device is out of step with the others of its job (PCS)."),
    Field("repair_severity", "1", "Drift from a healthy baseline, less what recovery has been seen (RSI)."),
)

MEASUREMENTS: dict[str, Measurement] = {
    m.name: m
    for m in (
        Measurement("gpu", "One GPU at one instant.", _LOAD + _GPU + _RLE),
        Measurement("cpu", "One CPU package at one instant.", _LOAD + _CPU + _RLE),
        Measurement("node", "The whole node at one instant.", _NODE),
        Measurement("agent", "What the agent itself costs and holds back.", _AGENT),
        Measurement(
            "signal",
            "The regulator's signals of one device, which analytics compute (docs/signals.md); its `device`"
            " is a kind and a number (`gpu0`). Ask for them as fields of that device.",
            _SIGNAL,
        ),
    )
}

INTEGER_FIELDS = frozenset(f.name for m in MEASUREMENTS.values() for f in m.fields if f.integer)
SIGNAL_FIELDS = tuple(field.name for field in _SIGNAL)

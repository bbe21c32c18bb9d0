"""What amdgpu's firmware table `gpu_metrics` says beyond the other files: energy and throttling.

Layouts: drivers/gpu/drm/amd/include/kgd_pp_interface.h of the kernel (little endian, naturally aligned);
bits: drivers/gpu/drm/amd/pm/swsmu/inc/amdgpu_smu.h. What a firmware does not know is all ones. Versions
that are not here, 1.0, 1.9, 2.0, 2.1 and 3.0, give nothing.
"""

import struct
from typing import NamedTuple

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.sysfs import KernelFile

_ENERGY_PER_J = 65536
"""The energy accumulator counts 2^-16 J (15.259 uJ)."""
_POWER_CAP = 0xFF
"""Bits 0 to 7 of the throttle status: limits of the package's power (PPT, SPL), as they are set."""
_HEAT = 0xFFFF << 32
"""Bits 32 to 47: temperatures, VRHOT and PROCHOT. Those between are limits of currents, at which a GPU
under load runs without being hot, and say nothing about heat."""
_TABLE_BYTES = 4096


class _Layout(NamedTuple):
    """Offsets in bytes; 0 where the version has no such field.

    `energy_needs_unit`: the header leaves the unit of the energy open, and only some GPUs are known
    to count 2^-16 J.
    """

    energy: int = 0
    status: int = 0
    residency: int = 0
    least_bytes: int = 0
    energy_needs_unit: bool = False


_LAYOUTS = {
    (1, 1): _Layout(energy=24, energy_needs_unit=True),
    (1, 2): _Layout(energy=24, energy_needs_unit=True),
    (1, 3): _Layout(energy=24, status=112, energy_needs_unit=True),
    (1, 4): _Layout(energy=24),
    (1, 5): _Layout(energy=88),
    # A first form of 1.6, of 384 bytes, was another one; no released kernel is known to have it.
    (1, 6): _Layout(energy=16, residency=32, least_bytes=385),
    (1, 7): _Layout(energy=24, residency=40),
    (1, 8): _Layout(energy=24, residency=40),
    (2, 2): _Layout(status=120),
    (2, 3): _Layout(status=120),
    (2, 4): _Layout(status=120),
}


class Metrics(NamedTuple):
    """What one table says; None what it does not.

    `residency` are counters of the firmware: cycles in all, in PROCHOT, at the power limit, and
    held down by the heat of socket, regulators and memory.
    """

    energy_j: float | None = None
    status: int | None = None
    residency: tuple[int, ...] | None = None


def decode(table: bytes, *, unit_known: bool) -> Metrics:
    """`unit_known` says that this GPU counts energy in 2^-16 J even where the header does not."""
    if len(table) < 4:
        return Metrics()
    size, *version = struct.unpack_from("<HBB", table)
    layout = _LAYOUTS.get((version[0], version[1]))
    if layout is None or size < layout.least_bytes:
        return Metrics()
    table = table[:size]  # of a longer one than a page the kernel gives the beginning
    energy = _u64(table, layout.energy) if unit_known or not layout.energy_needs_unit else None
    residency = None
    if layout.residency and layout.residency + 24 <= len(table):
        residency = struct.unpack_from("<6I", table, layout.residency)
    # The second die of an MI250 says 0: its first one measures both.
    return Metrics(energy / _ENERGY_PER_J if energy else None, _u64(table, layout.status), residency)


class MetricsReader:
    """`energy_j`, `throttled` and `clock_event_sw_power_cap` of one GPU, as far as its table has them."""

    def __init__(self, file: KernelFile, *, unit_known: bool) -> None:
        self.file = file
        self._unit_known = unit_known
        self._residency: tuple[int, ...] | None = None

    def read(self) -> Fields:
        """What the table says now; counters of time tell of the time since the last reading."""
        try:
            metrics = decode(self.file.contents(_TABLE_BYTES), unit_known=self._unit_known)
        except OSError:
            return {}
        fields: Fields = {}
        if metrics.energy_j is not None:
            fields["energy_j"] = metrics.energy_j
        if metrics.status is not None:
            fields["throttled"] = int(bool(metrics.status & _HEAT))
            fields["clock_event_sw_power_cap"] = int(bool(metrics.status & _POWER_CAP))
        return fields | self._since(metrics.residency)

    def _since(self, now: tuple[int, ...] | None) -> Fields:
        before, self._residency = self._residency, now
        if before is None or now is None or before[0] == now[0]:
            return {}
        _, prochot, power_cap, *heat = (new != old for new, old in zip(now, before, strict=True))
        return {"throttled": int(prochot or any(heat)), "clock_event_sw_power_cap": int(power_cap)}


def _u64(table: bytes, offset: int) -> int | None:
    if not offset or offset + 8 > len(table):
        return None
    value = int(struct.unpack_from("<Q", table, offset)[0])
    return None if value == 0xFFFF_FFFF_FFFF_FFFF else value

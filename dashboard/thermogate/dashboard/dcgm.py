"""The names under which NVIDIA's DCGM exporter tells what we measure too, so that boards made for it work.

Sources: field identifiers of DCGM (docs.nvidia.com/datacenter/dcgm) for meanings and units;
etc/default-counters.csv and internal/pkg/rendermetrics of github.com/NVIDIA/dcgm-exporter for what it
exports, and under which labels.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from thermogate.core.model import DeviceInfo
from thermogate.dashboard.present import Live
from thermogate.dashboard.prometheus_text import Family, labels

_MIB = 1 << 20


class DcgmName(NamedTuple):
    """`name` is our `field` times `factor`. DCGM's counters are told as untyped: a counter of
    Prometheus' ends in `_total`, which these names do not, and no query asks for the type."""

    name: str
    field: str
    factor: float
    help: str
    counter: bool = False


DCGM_NAMES = (
    DcgmName("DCGM_FI_DEV_SM_CLOCK", "sm_clock_hz", 1e-6, "SM clock (MHz)."),
    DcgmName("DCGM_FI_DEV_MEM_CLOCK", "mem_clock_hz", 1e-6, "Memory clock (MHz)."),
    DcgmName("DCGM_FI_DEV_MEMORY_TEMP", "mem_temp_c", 1, "Memory temperature (C)."),
    DcgmName("DCGM_FI_DEV_GPU_TEMP", "temp_c", 1, "GPU temperature (C)."),
    DcgmName("DCGM_FI_DEV_SLOWDOWN_TEMP", "temp_limit_c", 1, "Temperature at which it slows down (C)."),
    DcgmName("DCGM_FI_DEV_GPU_TEMP_LIMIT", "temp_margin_c", 1, "Margin to the slowdown temperature (C)."),
    DcgmName("DCGM_FI_DEV_POWER_USAGE", "power_w", 1, "Power draw (W)."),
    DcgmName("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "power_limit_w", 1, "Enforced power limit (W)."),
    DcgmName(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "energy_j",
        1000,
        "Energy since the driver was loaded (mJ).",
        counter=True,
    ),
    DcgmName("DCGM_FI_DEV_GPU_UTIL", "util_ratio", 100, "GPU utilization (%)."),
    DcgmName("DCGM_FI_DEV_MEM_COPY_UTIL", "mem_util_ratio", 100, "Memory utilization (%)."),
    DcgmName("DCGM_FI_DEV_FAN_SPEED", "fan_ratio", 100, "Fan speed (%)."),
    DcgmName("DCGM_FI_DEV_PSTATE", "perf_state", 1, "Performance state, 0 the fastest."),
    DcgmName("DCGM_FI_DEV_FB_TOTAL", "mem_total_bytes", 1 / _MIB, "Framebuffer memory in all (MiB)."),
    DcgmName(
        "DCGM_FI_DEV_FB_USED",
        "mem_used_bytes",
        1 / _MIB,
        "Framebuffer memory used (MiB), with what the driver reserves.",
    ),
    DcgmName(
        "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
        "ecc_corrected_count",
        1,
        "Single-bit ECC errors since the driver was loaded.",
        counter=True,
    ),
    DcgmName(
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        "ecc_uncorrected_count",
        1,
        "Double-bit ECC errors since the driver was loaded.",
        counter=True,
    ),
)

_FREE = "DCGM_FI_DEV_FB_FREE"


def families(gpus: Sequence[Live]) -> Iterator[Family]:
    """Of the NVIDIA GPUs among `gpus`. MIG instances are not among them: DCGM's label for one is its
    GPU instance id, and ours is NVML's index."""
    labelled = [(_labels(one), one.point.fields) for one in gpus if one.point.device.isdecimal()]
    for row in DCGM_NAMES:
        # rounded where only the conversion makes digits: 0.57 * 100
        field, factor = row.field, row.factor
        samples = [
            (of, round(fields[field] * factor, 6) if factor != 1 else fields[field])
            for of, fields in labelled
            if field in fields
        ]
        yield Family(row.name, "untyped" if row.counter else "gauge", row.help, samples)
    yield Family(_FREE, "gauge", "Framebuffer memory free (MiB).", _free(labelled))


def _free(labelled: Sequence[tuple[str, dict[str, float]]]) -> Iterator[tuple[str, float]]:
    for of, fields in labelled:
        total, used = fields.get("mem_total_bytes"), fields.get("mem_used_bytes")
        if total is not None and used is not None:
            yield of, round((total - used) / _MIB, 6)


def _labels(one: Live) -> str:
    """As the exporter's, but for `modelName`: that is no name to promtool, so it is spelt as the exporter
    spells it for links, and renamed where it is scraped (grafana/prometheus.yml)."""
    point, info = one.point, one.info or DeviceInfo(kind="gpu", device="", model="")
    return labels(
        {
            "gpu": point.device,
            "UUID": info.uuid,
            "pci_bus_id": info.bus,
            "device": f"nvidia{point.device}",
            "model_name": info.name or point.model,
            "Hostname": point.node,
            "origin": point.origin,
        }
    )

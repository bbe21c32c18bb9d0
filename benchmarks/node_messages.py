"""What a node with 8 GPUs sends in a second, with every field of the schema. Simulated.

Utilization and heating follow a recorded training session (tests/recordings, each GPU at another
place in it), scaled to an H100; the digits are those that drivers give: milliwatts, millijoules,
whole degrees, percent and steps of 15 MHz. RLE is computed, so it has all its digits.
"""

import csv
import random
from collections.abc import Iterator
from pathlib import Path

from thermogate.core import profiles
from thermogate.core.clock import NS
from thermogate.core.schema import CLOCK_EVENTS, MEASUREMENTS
from thermogate.core.wire import format_line

GPUS, CPUS = 8, 2
RECORDING = Path(__file__).parents[1] / "tests" / "recordings" / "rle_sessions" / "headroom_training_1.csv"
Fields = dict[str, float | int | None]


class _Device:
    """RLE of one device, and what it counts."""

    def __init__(self, rated_power_w: float, temp_limit_c: float, rng: random.Random) -> None:
        self.rng = rng
        self.energy_j = rng.uniform(1e8, 1e9)
        self.limits: Fields = {"power_limit_w": rated_power_w, "temp_limit_c": temp_limit_c}
        self._params = profiles.params(
            "monitor", rated_power_w=rated_power_w, temp_limit_c=temp_limit_c, interval_s=None
        )
        self._state = profiles.initial(self._params)

    def fields(self, util: float, temp_c: float, power_w: float, second: int) -> Fields:
        self.energy_j += power_w
        sample = profiles.Sample(util, temp_c, power_w, float(second))
        self._state, rle = profiles.step(self._params, self._state, sample)
        return {
            "power_w": power_w,
            "energy_j": round(self.energy_j, 3),
            "temp_c": temp_c,
            "util_ratio": util,
            **self.limits,
            "rle": rle.rle_smoothed,
            "rle_raw": rle.rle_raw,
            "e_th": rle.e_th,
            "e_pw": rle.e_pw,
            "a_load_ratio": rle.a_load,
            "t_sustain_s": rle.t_sustain_s,
            "rle_peak": rle.rolling_peak,
            "collapse": int(rle.collapse),
        }


def messages(node: str, start_ns: int, count: int, seed: int = 1) -> Iterator[bytes]:
    """The telemetry of `count` seconds from `start_ns` on, without headers."""
    rng = random.Random(seed)
    with RECORDING.open(encoding="utf-8") as file:
        session = [float(row["util_pct"]) / 100 for row in csv.DictReader(file) if row["device"] == "gpu"]
    gpus = [_Device(700.0, 87.0, rng) for _ in range(GPUS)]
    cpus = [_Device(350.0, 95.0, rng) for _ in range(CPUS)]
    for second in range(count):
        time_ns = start_ns + second * NS + rng.randrange(1_000_000)
        lines = [
            format_line(
                "gpu", node, str(n), "NVIDIA-H100-80GB-HBM3", None, _gpu(gpu, session, second, n), time_ns
            )
            for n, gpu in enumerate(gpus)
        ]
        lines += [
            format_line("cpu", node, str(n), "Xeon-Platinum-8480C", None, _cpu(cpu, second), time_ns)
            for n, cpu in enumerate(cpus)
        ]
        lines.append(format_line("node", node, "", "", None, _node(rng), time_ns))
        yield "".join(lines).encode()


def _gpu(gpu: _Device, session: list[float], second: int, number: int) -> Fields:
    rng = gpu.rng
    load = session[(second + 37 * number) % len(session)]
    util = round(0.87 + 0.1 * load + rng.randint(0, 3) / 100, 2)
    temp_c = float(round(57 + 9 * load + rng.gauss(0, 1)))
    capped = int(load > 0.5 and rng.random() < 0.5)
    fields: Fields = {
        **gpu.fields(util, temp_c, round(350 + 300 * util + rng.gauss(0, 25), 3), second),
        "temp_margin_c": 87.0 - temp_c,
        "perf_state": 0,
        "ecc_corrected_count": number,
        "ecc_uncorrected_count": 0,
        "throttled": 0,
        **dict.fromkeys(CLOCK_EVENTS, 0),
        "clock_event_sw_power_cap": capped,
        "mem_temp_c": temp_c + rng.randint(10, 14),
        "mem_util_ratio": rng.randint(30, 60) / 100,
        "mem_used_bytes": 76_543_210_000 + number * 4096,
        "mem_total_bytes": 85_520_809_984,
        "sm_clock_hz": (1980 - 15 * capped * rng.randint(1, 20)) * 1e6,
        "mem_clock_hz": 2619e6,
        "fan_ratio": rng.randint(30, 40) / 100,
    }
    _check("gpu", fields)
    return fields


def _cpu(cpu: _Device, second: int) -> Fields:
    rng = cpu.rng
    util = rng.randint(0, 6400) / 6400
    fields: Fields = {
        **cpu.fields(util, float(rng.randint(50, 60)), rng.gauss(200, 9), second),
        "clock_hz": rng.uniform(2.0e9, 3.0e9),
        "dram_power_w": rng.gauss(40, 2),
        "dram_energy_j": 40.0 * second + rng.random(),
        "throttled": 0,
    }
    _check("cpu", fields)
    return fields


def _node(rng: random.Random) -> Fields:
    fields: Fields = {
        "power_w": float(rng.randint(5800, 6200)),
        "mem_total_bytes": 2 << 40,
        "mem_available_bytes": rng.randint(1 << 28, 1 << 29) * 4096,
        "cpu_stall_some_ratio": rng.randint(0, 10_000) / 1e6,
        "mem_stall_some_ratio": 0.0,
        "mem_stall_full_ratio": 0.0,
        "io_stall_some_ratio": rng.randint(0, 1_000) / 1e6,
        "io_stall_full_ratio": rng.randint(0, 1_000) / 1e6,
    }
    _check("node", fields)
    return fields


def _check(kind: str, fields: Fields) -> None:
    """The schema may grow: what it costs then has to be measured again."""
    missing = {field.name for field in MEASUREMENTS[kind].fields} - fields.keys()
    if missing:
        raise SystemExit(f"benchmarks/node_messages.py lacks the {kind} fields {', '.join(sorted(missing))}")

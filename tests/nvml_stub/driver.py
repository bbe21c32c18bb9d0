"""An NVIDIA driver for tests: a stub libnvidia-ml.so.1 and the state file that scripts it.

`nvml_stub.c` says what can be scripted; the real nvidia-ml-py loads it.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

SOURCE = Path(__file__).with_name("nvml_stub.c")
LIBRARY = "libnvidia-ml.so.1"
STATE_VARIABLE = "NVML_STUB_STATE"
POLL_VARIABLE = "NVML_STUB_POLL_MS"
"""For measurements of cost: how often the stub looks at its state, instead of in every call."""

Gpu = int | str
"""A number, "*" for all, or "0.1" for a MIG instance."""

DRIVER = -1
"""Stands for a GPU in what is about none: nvmlInitWithFlags."""

H100: dict[str, int | str] = {
    "name": "NVIDIA H100 80GB HBM3",
    "power_mw": 598_000,
    "power_instant_mw": 612_400,
    "energy_mj": 123_456_789,
    "temp_c": 63,
    "mem_temp_c": 77,
    "util_pct": 98,
    "mem_util_pct": 41,
    "mem_used_bytes": 76_543_210_000,
    "mem_total_bytes": 85_520_809_984,
    "sm_mhz": 1_980,
    "mem_mhz": 2_619,
    "power_limit_mw": 700_000,
    "slowdown_c": 87,
    "shutdown_c": 92,
    "gpu_max_c": 83,
    "margin_c": 24,
    "perf_state": 0,
    "reasons": 0,
    "supported_reasons": 0x1FF,
    "ecc": 1,
    "ecc_corrected": 2,
    "ecc_uncorrected": 0,
    "compute_capability": 90,
    "mig": 0,
}
"""What an H100 SXM says under load. It has no fan: that key is missing, so its call is not supported."""

BESIDES: dict[str, int | str] = {
    "architecture": 9,
    "bar1_bytes": 137_438_953_472,
    "board": 256,
    "brand": 14,
    "compute_mode": 0,
    "cores": 16_896,
    "decoder_pct": 0,
    "default_power_limit_mw": 700_000,
    "display": 0,
    "encoder_pct": 0,
    "graphics_mhz": 1_980,
    "least_power_limit_mw": 200_000,
    "max_graphics_mhz": 1_980,
    "max_mem_mhz": 2_619,
    "max_sm_mhz": 1_980,
    "mem_bus_bits": 5_120,
    "pcie_generation": 5,
    "pcie_kib_per_s": 1_024,
    "pcie_replays": 0,
    "pcie_width": 16,
    "persistence": 1,
    "power_management": 1,
    "serial": "1650000000000",
    "vbios": "96.00.74.00.01",
    "video_mhz": 1_545,
}
"""What other exporters ask an H100 besides."""


def build(folder: Path, *, without: Sequence[str] = ()) -> Path:
    """Compile the stub into `folder`, `without` some functions as an older driver is.

    Skips the test where there is no compiler, but not in CI.
    """
    if shutil.which("gcc") is None and "CI" not in os.environ:
        pytest.skip("gcc is not installed: no stub of the NVIDIA driver")
    library = folder / LIBRARY
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}", "-pthread"]
    flags += [f"-D{function}=no_{function}" for function in without]
    subprocess.run(["gcc", *flags, "-o", library, SOURCE], check=True)
    return library


class StubDriver:
    """The state of the stub: `count` GPUs that all say `values`, until told otherwise."""

    def __init__(self, folder: Path, count: int = 8, values: dict[str, int | str] = H100) -> None:
        self.state = folder / "nvml.state"
        self._log = folder / "nvml.calls"
        self._statements: dict[tuple[str, str, Gpu], str] = {}
        self.set(DRIVER, count=count, driver="570.86.15", nvml="12.570.86.15", cuda=12_080, wait_ms=100)
        self.set("*", **values)
        for gpu in range(count):
            self.set(gpu, uuid=f"GPU-{gpu:08x}", bus=f"00000000:{0x10 + gpu:02X}:00.0")

    def set(self, gpu: Gpu, **values: int | str) -> None:
        """What a GPU measures or is; the last call holds."""
        for key, value in values.items():
            self._put("set", key, gpu, f"set {gpu} {key} {value}")
        self._write()

    def unset(self, gpu: Gpu, *keys: str) -> None:
        """Take values away: the calls for them are not supported."""
        for key in keys:
            del self._statements["set", key, gpu]
        self._write()

    def error(self, function: str, code: int, gpu: Gpu = "*") -> None:
        """Let a function fail; with code 0 it works again."""
        self._put("error", function, gpu, f"error {function} {gpu} {code}")
        self._write()

    def delay(self, function: str, seconds: float, gpu: Gpu = "*") -> None:
        """Let a function take its time."""
        self._put("delay", function, gpu, f"delay {function} {gpu} {seconds * 1000:.0f}")
        self._write()

    def hang(self, function: str, gpu: Gpu = "*") -> None:
        """Let a function not return until `release`."""
        self._put("hang", function, gpu, f"hang {function} {gpu}")
        self._write()

    def process(self, gpu: Gpu, pid: int, kind: Literal["c", "g"] = "c", used_bytes: int = 1 << 30) -> None:
        """Let a process have a compute or graphics context on a GPU."""
        self._put(f"process {pid}", kind, gpu, f"process {gpu} {kind} {pid} {used_bytes}")
        self._write()

    def end_processes(self) -> None:
        """Let all processes end."""
        kept = {key: text for key, text in self._statements.items() if not key[0].startswith("process")}
        self._statements = kept
        self._write()

    def xid(self, gpu: int, number: int, *instances: int) -> None:
        """Let an XID happen now, in a MIG instance when its GPU and compute instance IDs are given."""
        event = time.monotonic_ns()
        where = "".join(f" {instance}" for instance in instances)
        self._put("event", str(event), gpu, f"event {gpu} {event} {number}{where}")
        self._write()

    def mig(self, gpu: int, index: int, **values: int | str) -> None:
        """Create a MIG instance (1/7 of an H100) on a GPU that is in MIG mode from now on."""
        self.set(gpu, mig=1)
        self.set(
            f"{gpu}.{index}",
            **{
                "name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
                "uuid": f"MIG-{gpu:08x}-{index}",
                "gi": 7 + index,
                "ci": 0,
                "mem_used_bytes": 1_000_000_000,
                "mem_total_bytes": 10_000_000_000,
            }
            | values,
        )

    def release(self) -> None:
        """Let all hanging and slow functions return."""
        kept = {key: text for key, text in self._statements.items() if key[0] not in ("hang", "delay")}
        self._statements = kept
        self._write()

    def forget(self, gpu: Gpu) -> None:
        """Take away all that was set for a GPU or MIG instance: an instance is destroyed so."""
        kept = {key: text for key, text in self._statements.items() if key[0] != "set" or key[2] != gpu}
        self._statements = kept
        self._write()

    def power_limit_w(self, gpu: int) -> float:
        """The power limit in force: what was set last, else what the state says."""
        file = self._limit_file(gpu)
        if file.exists():
            return int(file.read_text(encoding="ascii")) / 1000
        said = (
            self._statements.get(("set", "power_limit_mw", gpu))
            or self._statements["set", "power_limit_mw", "*"]
        )
        return int(said.split()[-1]) / 1000

    def set_power_limit(self, gpu: int, limit_w: float) -> None:
        """What `nvidia-smi -pl` does, or a reset of the GPU."""
        self._limit_file(gpu).write_text(f"{round(limit_w * 1000)}\n", encoding="ascii")

    def _limit_file(self, gpu: int) -> Path:
        uuid = self._statements["set", "uuid", gpu].split()[-1]
        return self.state.with_name(f"{self.state.name}.limit.{uuid}")

    def calls(self, function: str, gpu: Gpu) -> int:
        """How often a function was called for a GPU so far."""
        if not self._log.exists():
            return 0
        return self._log.read_text(encoding="ascii").splitlines().count(f"{function} {gpu}")

    def _put(self, verb: str, name: str, gpu: Gpu, text: str) -> None:
        self._statements.pop((verb, name, gpu), None)
        self._statements[verb, name, gpu] = text

    def _write(self) -> None:
        lines = [f"log {self._log}", *self._statements.values()]
        fresh = self.state.with_suffix(".new")
        fresh.write_text("\n".join(lines) + "\n", encoding="ascii")
        fresh.replace(self.state)  # the stub never sees half a file

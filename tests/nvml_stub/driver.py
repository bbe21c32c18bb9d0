"""An NVIDIA driver for tests: a stub libnvidia-ml.so.1 and the state file that scripts it.

`nvml_stub.c` says what can be scripted; the real nvidia-ml-py loads it.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("nvml_stub.c")
LIBRARY = "libnvidia-ml.so.1"
STATE_VARIABLE = "NVML_STUB_STATE"

Gpu = int | str
"""A number, or "*" for all."""

DRIVER = -1
"""Stands for a GPU in what is about none: nvmlInitWithFlags."""

H100: dict[str, int | str] = {
    "name": "NVIDIA H100 80GB HBM3",
    "power_mw": 612_400,
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
    "gpu_max_c": 83,
}
"""What an H100 SXM says under load. It has no fan: that key is missing, so its call is not supported."""


def build(folder: Path) -> Path:
    """Compile the stub into `folder`; skips the test where there is no compiler, but not in CI."""
    if shutil.which("gcc") is None and "CI" not in os.environ:
        pytest.skip("gcc is not installed: no stub of the NVIDIA driver")
    library = folder / LIBRARY
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}", "-pthread"]
    subprocess.run(["gcc", *flags, "-o", library, SOURCE], check=True)
    return library


class StubDriver:
    """The state of the stub: `count` GPUs that all say `values`, until told otherwise."""

    def __init__(self, folder: Path, count: int = 8, values: dict[str, int | str] = H100) -> None:
        self.state = folder / "nvml.state"
        self._log = folder / "nvml.calls"
        self._statements: dict[tuple[str, str, Gpu], str] = {}
        self.set(DRIVER, count=count, driver="570.86.15")
        self.set("*", **values)
        for gpu in range(count):
            self.set(gpu, uuid=f"GPU-{gpu:08x}")

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

    def release(self) -> None:
        """Let all hanging and slow functions return."""
        kept = {key: text for key, text in self._statements.items() if key[0] not in ("hang", "delay")}
        self._statements = kept
        self._write()

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

"""NVML as a whole: starting it, what its errors mean, and calls that are asked once where not supported."""

import ctypes
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from thermogate.agent.sources.watch import DeviceLostError
from thermogate.core.errors import SourceError
from thermogate.core.wire import to_name

T = TypeVar("T")

Handle = Any
"""An nvmlDevice_t as pynvml hands it out."""

NEVER = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_DEPRECATED,
    }
)
"""Answers that stay the same while the driver does: the call is left alone from then on."""

LOST = frozenset(
    {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_GPU_NOT_FOUND, pynvml.NVML_ERROR_RESET_REQUIRED}
)

_NOT_STARTED = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: ("no NVIDIA driver", "install one if this node has NVIDIA GPUs"),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (
        "NVIDIA's library is here but its kernel module is not loaded",
        "run modprobe nvidia",
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: (
        "no permission to open the NVIDIA driver's /dev/nvidiactl",
        "let the agent's user read and write /dev/nvidia*",
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "the NVIDIA driver was updated and its old kernel module is still loaded",
        "reboot, or load the module again and restart the agent",
    ),
}
"""Cause and cure."""


class NotStartedError(SourceError):
    """There is no working NVIDIA driver now; `cure` says what a person can do."""

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(cause)
        self.cure = cure


def start() -> str:
    """Start NVML; the version of the driver. Raises NotStartedError."""
    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError as err:
        unknown = f"the NVIDIA driver does not start: {err}", "see the kernel's log for NVRM"
        raise NotStartedError(*_NOT_STARTED.get(err.value, unknown)) from err


def stop() -> None:
    """Shut NVML down. A driver that is gone already is no error."""
    try:
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return


def count() -> int:
    """How many GPUs NVML lists. Raises SourceError."""
    try:
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as err:
        raise SourceError(f"nvmlDeviceGetCount: {err}") from err


def uuid_at(index: int) -> str:
    """The UUID of a GPU by NVML's index, "" when it does not tell."""
    try:
        return str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index)))
    except (pynvml.NVMLError, UnicodeDecodeError):
        return ""


def on_the_bus(sysfs: Path) -> frozenset[tuple[str, int]]:
    """The GPUs that the kernel module drives now: PCI address, and a number that replugging changes.

    NVML lists the GPUs that it found when it was started, so it cannot tell. Empty where the kernel
    does not tell either.
    """
    try:
        devices = [path for path in (sysfs / "bus/pci/drivers/nvidia").iterdir() if ":" in path.name]
        return frozenset((path.name, path.stat().st_ino) for path in devices)
    except OSError:
        return frozenset()


def to_model(name: str) -> str:
    """The vendor's name of a device as it stands in a tag."""
    return to_name(name).removeprefix("NVIDIA-")


_VALUE = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Member of nvmlValue_t for each nvmlValueType_t."""


def value_of(answer: Any) -> float | None:
    """What an nvmlFieldValue_t without an error says; None when it is no number, or of a newer type."""
    kind = answer.valueType
    number: float = getattr(answer.value, _VALUE[kind]) if 0 <= kind < len(_VALUE) else math.nan
    return number if math.isfinite(number) else None


def plain(struct: Any) -> Any:
    """A struct of pynvml without what it adds: its members are converted in Python, ten times slower."""
    return type(struct.__name__, (ctypes.Structure,), {"_fields_": struct._fields_})


def function(name: str) -> Callable[..., int] | None:
    """A function of the library for ctypes; None when the installed one is too old to have it.

    pynvml's wrappers look the function up and make new buffers in each call. What is called every
    second is called directly, into buffers that are kept: that halves its cost.
    """
    found: Callable[..., int] | None = getattr(pynvml.nvmlLib, name, None)
    return found


class Calls:
    """The calls about one GPU: which is under way, which failed last, and which it does not support."""

    def __init__(self) -> None:
        self.doing = ""
        self.error = ""
        self.left_alone: set[str] = set()

    def ask(self, name: str, call: Callable[..., T], *arguments: Any) -> T | None:
        """The answer of one of pynvml's functions; None when there is none now or never.

        `name` is the call's name for people, as in nvml.h. Raises DeviceLostError.
        """
        if name in self.left_alone:
            return None
        self.doing = name
        try:
            return call(*arguments)
        except pynvml.NVMLError as err:
            if self.fail(err.value):
                self.left_alone.add(name)
            return None
        except UnicodeDecodeError as err:  # pynvml decodes names; a broken InfoROM has any bytes
            self.error = f"{self.doing}: {err}"
            return None

    def fail(self, code: int) -> bool:
        """Note that the call under way has failed; whether it will always. Raises DeviceLostError."""
        self.error = f"{self.doing}: {pynvml.NVMLError(code)}"
        if code == pynvml.NVML_ERROR_NO_PERMISSION:
            self.error += " (let the agent's user read and write /dev/nvidia*)"
        if code in LOST:
            raise DeviceLostError(self.error)
        return code in NEVER

"""NVML, the library of the NVIDIA driver, as far as power limits need it. Every function blocks.

The only module of the schedulers that knows pynvml (package nvidia-ml-py). Facts are those of nvml.h (13.5).
The kernel module lets set limits who has CAP_SYS_ADMIN (os_is_administrator in its open source).
"""

from pathlib import Path
from typing import Any, NamedTuple

import pynvml

from thermogate.schedulers.adapter import ActionError
from thermogate.schedulers.power_caps.caps import Limits

_LOST = frozenset(
    {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_GPU_NOT_FOUND, pynvml.NVML_ERROR_RESET_REQUIRED}
)
_NEVER = frozenset({pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND})
_CURES = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "there is no NVIDIA driver on this node",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA kernel module is not loaded: run modprobe nvidia",
    pynvml.NVML_ERROR_NO_PERMISSION: "no permission: it takes root with CAP_SYS_ADMIN, and /dev/nvidia*",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the driver was updated: reboot, or load its module again",
}


class LostError(ActionError):
    """The GPU is no longer on the bus, or its driver says so."""


class NoLimitError(ActionError):
    """The GPU or its driver has no power limit that could be set."""


class Listed(NamedTuple):
    """A GPU that NVML lists: what it is called ("gpu0"), its UUID and its handle; None when it is lost."""

    name: str
    uuid: str
    handle: Any


def start() -> str:
    """Start NVML; the version of the driver. Raises ActionError."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as err:
        raise _error("nvmlInit", err) from err
    try:
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError as err:
        stop()
        raise _error("nvmlSystemGetDriverVersion", err) from err


def stop() -> None:
    """Shut NVML down. A driver that is gone already is no error."""
    try:
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return


def gpus() -> list[Listed]:
    """The whole GPUs that NVML lists; one that does not tell its UUID cannot be known again and has "".

    MIG instances have no limit of their own. Raises ActionError.
    """
    try:
        count = int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as err:
        raise _error("nvmlDeviceGetCount", err) from err
    return [_listed(index) for index in range(count)]


def _listed(index: int) -> Listed:
    name = f"gpu{index}"
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        return Listed(name, str(pynvml.nvmlDeviceGetUUID(handle)), handle)
    except (pynvml.NVMLError, UnicodeDecodeError):
        return Listed(name, "", None)


def handle_of(uuid: str) -> Any:
    """The handle of a GPU that may have been lost meanwhile. Raises LostError or ActionError."""
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError as err:
        raise _error("nvmlDeviceGetHandleByUUID", err) from err


def limits(handle: Any) -> Limits:
    """A GPU's power limits. Raises LostError, NoLimitError or ActionError."""
    call = "nvmlDeviceGetPowerManagementLimit"
    try:
        now_mw = pynvml.nvmlDeviceGetPowerManagementLimit(handle)
        call = "nvmlDeviceGetPowerManagementDefaultLimit"
        default_mw = pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle)
        call = "nvmlDeviceGetPowerManagementLimitConstraints"
        least_mw, _ = pynvml.nvmlDeviceGetPowerManagementLimitConstraints(handle)
    except pynvml.NVMLError as err:
        raise _error(call, err) from err
    return Limits(int(now_mw), int(least_mw), int(default_mw))


def set_limit(handle: Any, limit_mw: int) -> None:
    """Raises LostError, NoLimitError or ActionError."""
    try:
        pynvml.nvmlDeviceSetPowerManagementLimit(handle, limit_mw)
    except pynvml.NVMLError as err:
        raise _error("nvmlDeviceSetPowerManagementLimit", err) from err


def on_the_bus(sysfs: Path) -> frozenset[tuple[str, int]]:
    """The GPUs that the kernel module drives now: PCI address, and a number that replugging changes.

    NVML lists those that it found when it was started. Empty where the kernel does not tell either.
    """
    try:
        devices = [path for path in (sysfs / "bus/pci/drivers/nvidia").iterdir() if ":" in path.name]
        return frozenset((path.name, path.stat().st_ino) for path in devices)
    except OSError:
        return frozenset()


def _error(call: str, err: pynvml.NVMLError) -> ActionError:
    if err.value in _LOST:
        return LostError(f"{call}: {err}")
    if err.value in _NEVER:
        return NoLimitError(f"{call}: {err}")
    return ActionError(f"{call}: {_CURES.get(err.value, err)}")

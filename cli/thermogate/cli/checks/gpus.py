"""GPUs on the PCI bus and what the kernel's drivers make of them, without asking a driver anything."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from thermogate.agent.sources.sysfs import read_text
from thermogate.cli.checks.people import Access, access

NVIDIA, AMD = 0x10DE, 0x1002
_DISPLAY = 0x03
"""PCI base class of display controllers; a GPU without outputs is one as well (3D controller)."""
_GONE = b"\xff\xff"
"""What the bus reads where no device answers."""
_HYPERVISOR = "hypervisor"


class PciGpu(msgspec.Struct, frozen=True):
    """A display controller. `driver` is "" when none is bound, `answers` false when the bus reads nothing."""

    address: str
    vendor: int
    driver: str = ""
    answers: bool = True


class KernelLook(msgspec.Struct, frozen=True):
    """What the kernel shows of GPUs and of itself, without any call into a driver."""

    gpus: tuple[PciGpu, ...] = ()
    nvidia_module: str = ""
    nodes: tuple[Access, ...] = ()
    rapl: tuple[Access, ...] = ()
    temperatures: bool = False
    pressure: bool = False
    virtual: bool = False

    def of(self, vendor: int) -> list[PciGpu]:
        """The GPUs of one vendor."""
        return [gpu for gpu in self.gpus if gpu.vendor == vendor]


def look(sysfs: Path, procfs: Path, dev: Path = Path("/dev")) -> KernelLook:
    """Read the trees; what cannot be read is not there."""
    devices = sorted((sysfs / "bus/pci/devices").glob("*"))
    nodes = [dev / "nvidiactl", *sorted(dev.glob("nvidia[0-9]*")), dev / "nvidia-uvm"]
    counters = sorted((sysfs / "class/powercap").glob("intel-rapl:*/energy_uj"))
    return KernelLook(
        gpus=tuple(gpu for device in devices if (gpu := _gpu(device)) is not None),
        nvidia_module=_module(sysfs),
        nodes=tuple(found for node in nodes if (found := access(node)) is not None),
        rapl=tuple(found for counter in counters if (found := access(counter)) is not None),
        temperatures=any(
            read_text(name) in ("coretemp", "k10temp") for name in (sysfs / "class/hwmon").glob("*/name")
        ),
        pressure=(procfs / "pressure").is_dir(),
        virtual=_HYPERVISOR in (read_text(procfs / "cpuinfo") or "").split(),
    )


def same_bus(one: str, other: str) -> bool:
    """Whether two PCI addresses are one: drivers write the domain with 8 digits, the kernel with 4."""
    return bool(_bus(one)) and _bus(one) == _bus(other)


def missing(gpus: Sequence[PciGpu], listed: Sequence[str], count: int) -> list[PciGpu]:
    """GPUs of the bus that a driver does not list: by address, or by number where it tells no addresses."""
    if any(listed):
        return [gpu for gpu in gpus if not any(same_bus(gpu.address, bus) for bus in listed if bus)]
    suspects = [gpu for gpu in gpus if not gpu.answers or not gpu.driver] or list(gpus)
    return suspects[: max(0, len(gpus) - count)]


def _gpu(device: Path) -> PciGpu | None:
    kind, vendor = read_text(device / "class"), read_text(device / "vendor")
    try:
        if kind is None or vendor is None or int(kind, 16) >> 16 != _DISPLAY:
            return None
        driver = device / "driver"
        bound = driver.resolve().name if driver.exists() else ""
        return PciGpu(device.name, int(vendor, 16), bound, _answers(device / "config"))
    except ValueError:
        return None


def _answers(config: Path) -> bool:
    try:
        with config.open("rb") as file:
            return file.read(2) != _GONE
    except OSError:
        return True


def _module(sysfs: Path) -> str:
    module = sysfs / "module/nvidia"
    return (read_text(module / "version") or "of unknown version") if module.is_dir() else ""


def _bus(address: str) -> tuple[int, ...]:
    match = re.fullmatch(r"(?:([0-9a-f]+):)?([0-9a-f]+):([0-9a-f]+)(?:\.([0-9a-f]+))?", address.lower())
    return tuple(int(part or "0", 16) for part in match.groups()) if match else ()

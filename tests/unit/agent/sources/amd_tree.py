"""AMD GPUs in a small sysfs tree, after the documentation of the kernel's driver amdgpu.

Documentation/gpu/amdgpu/thermal.rst, driver-misc.rst and ras.rst, and for the table gpu_metrics
drivers/gpu/drm/amd/include/kgd_pp_interface.h. They are not recordings: the values are made up.
"""

import shutil
import struct
from pathlib import Path

from tests.unit.agent.sources.sysfs_tree import Tree

MI300X = {
    "device": "0x74a1",
    "product_name": "AMD Instinct MI300X OAM",
    "unique_id": "eddb5c8e7eb14a2f",
    "gpu_busy_percent": 97,
    "mem_busy_percent": 41,
    "mem_info_vram_total": 206141652992,
    "mem_info_vram_used": 170000000000,
    "power/runtime_status": "active",
    "ras/umc_err_count": "ue: 1\nce: 12",
    "hwmon/hwmon5/name": "amdgpu",
    "hwmon/hwmon5/power1_input": 712000000,
    "hwmon/hwmon5/power1_cap": 750000000,
    "hwmon/hwmon5/temp2_label": "junction",
    "hwmon/hwmon5/temp2_input": 78000,
    "hwmon/hwmon5/temp2_crit": 100000,
    "hwmon/hwmon5/temp2_emergency": 110000,
    "hwmon/hwmon5/temp3_label": "mem",
    "hwmon/hwmon5/temp3_input": 63000,
    "hwmon/hwmon5/temp3_crit": 105000,
    "hwmon/hwmon5/freq1_label": "sclk",
    "hwmon/hwmon5/freq1_input": 2100000000,
    "hwmon/hwmon5/freq2_label": "mclk",
    "hwmon/hwmon5/freq2_input": 1300000000,
}
"""No fan, no edge sensor."""

RADEON = {
    "device": "0x744c",
    "product_name": "",
    "gpu_busy_percent": 5,
    "mem_info_vram_total": 25753026560,
    "mem_info_vram_used": 1490378752,
    "hwmon/hwmon2/name": "amdgpu",
    "hwmon/hwmon2/power1_average": 53000000,
    "hwmon/hwmon2/power1_cap": 327000000,
    "hwmon/hwmon2/temp1_label": "edge",
    "hwmon/hwmon2/temp1_input": 45000,
    "hwmon/hwmon2/temp1_crit": 100000,
    "hwmon/hwmon2/temp2_label": "junction",
    "hwmon/hwmon2/temp2_input": 52000,
    "hwmon/hwmon2/temp2_crit": 110000,
    "hwmon/hwmon2/temp2_emergency": 115000,
    "hwmon/hwmon2/fan1_input": 825,
    "hwmon/hwmon2/fan1_max": 3300,
    "hwmon/hwmon2/pwm1": 51,
}

ALL_ONES = 0xFFFF_FFFF_FFFF_FFFF


class AmdTree(Tree):
    """Cards of amdgpu, each a link to its PCI device."""

    def gpu(self, address: str, files: dict[str, object], card: int) -> Path:
        """Plug a GPU in, with its files below the PCI device."""
        device = self.sysfs / "devices/pci0000:00" / address
        for name, value in {"vendor": "0x1002", **files}.items():
            self.write(f"devices/pci0000:00/{address}/{name}", value)
        driver = self.sysfs / "bus/pci/drivers/amdgpu"
        driver.mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(driver)
        folder = self.sysfs / f"class/drm/card{card}"
        folder.mkdir(parents=True)
        (folder / "device").symlink_to(device)
        return device

    def unplug(self, address: str, card: int) -> None:
        """The device and its card vanish."""
        shutil.rmtree(self.sysfs / f"class/drm/card{card}")
        shutil.rmtree(self.sysfs / "devices/pci0000:00" / address)

    def kfd_node(self, number: int, gpu_id: int, location: int = 0, domain: int = 0) -> None:
        """A node of KFD's topology; a GPUID of 0 is a CPU."""
        root = f"class/kfd/kfd/topology/nodes/{number}"
        self.write(f"{root}/gpu_id", gpu_id)
        self.write(f"{root}/properties", f"cpu_cores_count 0\nlocation_id {location}\ndomain {domain}")

    def kfd_process(self, pid: int, **vram: int) -> None:
        """A process with its memory on each GPU (vram_GPUID)."""
        for name, used_bytes in vram.items():
            self.write(f"class/kfd/kfd/proc/{pid}/{name}", used_bytes)


def metrics_1_3(energy: int, status: int) -> bytes:
    """gpu_metrics v1.3 with all that this table has around these two fields."""
    return struct.pack(
        "<HBB6H3HHQQ7H7HI4HII4HQ4HQ",
        *(120, 1, 3, 45, 52, 60, 0, 0, 0, 5, 1, 0, 53, energy, 123456789),
        *([0xFFFF] * 14),
        *(0xFFFFFFFF, 825, 16, 160, 0, 1, 2, 0, 0, 0, 0, ALL_ONES, 0, 0, 0, 0, status),
    )


def metrics_1_4(energy: int) -> bytes:
    """The beginning of gpu_metrics v1.4, with its own length."""
    return struct.pack("<HBB3HHHH4HQQII", 48, 1, 4, 78, 63, 50, 712, 97, 41, 0, 0, 0, 0, energy, 1, 0, 0)


def metrics_1_8(energy: int, *residency: int) -> bytes:
    """The beginning of gpu_metrics v1.8 (1.7 has the same), with its own length."""
    return struct.pack("<HBB3HHHHQQQ6I", 64, 1, 8, 78, 63, 50, 712, 97, 41, 5300, energy, 1, *residency)


def metrics_2_2(status: int) -> bytes:
    """gpu_metrics v2.2: an APU."""
    return struct.pack(
        "<HBB12H2HQ12H6H16HI4HQ",
        *(128, 2, 2, *[45] * 12, 5, 0, 1, *[0] * 12, *[0] * 6, *[0] * 16, 0, 0, 0, 0, 0, status),
    )

"""Small sysfs and procfs trees, written by hand after the kernel's documented layout.

Documentation/ABI/testing/sysfs-devices-system-cpu, power/powercap/powercap.rst,
hwmon/sysfs-interface.rst, hwmon/coretemp.rst, hwmon/k10temp.rst, hwmon/acpi_power_meter.rst,
accounting/psi.rst and filesystems/proc.rst. They are not recordings.
"""

from pathlib import Path


class Tree:
    """`sysfs` and `procfs` below one folder."""

    def __init__(self, folder: Path) -> None:
        self.sysfs = folder / "sys"
        self.procfs = folder / "proc"

    def write(self, path: str, value: object) -> Path:
        """Write one file of /sys, as the kernel does: the value and a newline."""
        file = self.sysfs / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n", encoding="ascii")
        return file

    def write_proc(self, path: str, text: str) -> None:
        """Write one file of /proc."""
        file = self.procfs / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="ascii")

    def cpus(self, packages: list[int], name: str = "Intel(R) Xeon(R) Platinum 8480C") -> None:
        """CPU N is in package packages[N]."""
        self.write("devices/system/cpu/online", f"0-{len(packages) - 1}" if len(packages) > 1 else "0")
        for cpu, package in enumerate(packages):
            self.write(f"devices/system/cpu/cpu{cpu}/topology/physical_package_id", package)
        self.write_proc("cpuinfo", f"processor\t: 0\nmodel name\t: {name}\n")

    def clock(self, cpu: int, khz: int) -> None:
        """The clock of one CPU as its cpufreq driver measures it."""
        self.write(f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", khz)

    def throttled(self, cpu: int, count: int, total_ms: int | None) -> None:
        """How often the package of a CPU began to throttle, and for how long it has in all."""
        root = f"devices/system/cpu/cpu{cpu}/thermal_throttle"
        self.write(f"{root}/package_throttle_count", count)
        if total_ms is not None:
            self.write(f"{root}/package_throttle_total_time_ms", total_ms)

    def rapl(self, zone: str, name: str, energy_uj: int, *, limit_uw: int | None = None) -> None:
        """A powercap zone such as intel-rapl:0 with a counter that wraps at 262143.328850 J."""
        root = f"class/powercap/{zone}"
        self.write(f"{root}/name", name)
        self.write(f"{root}/energy_uj", energy_uj)
        self.write(f"{root}/max_energy_range_uj", 262143328850)
        if limit_uw is not None:
            self.write(f"{root}/constraint_0_name", "long_term")
            self.write(f"{root}/constraint_0_power_limit_uw", limit_uw)

    def energy(self, zone: str, energy_uj: int) -> None:
        """The counter goes on."""
        self.write(f"class/powercap/{zone}/energy_uj", energy_uj)

    def hwmon(self, number: int, name: str, sensors: dict[str, int], **limits: int) -> None:
        """An hwmon device; `sensors` maps labels to millidegrees, `limits` crit and max to all."""
        self.write(f"class/hwmon/hwmon{number}/name", name)
        for index, (label, milli_c) in enumerate(sensors.items(), start=1):
            stem = f"class/hwmon/hwmon{number}/temp{index}"
            self.write(f"{stem}_label", label)
            self.write(f"{stem}_input", milli_c)
            for kind, limit in limits.items():
                self.write(f"{stem}_{kind}", limit)

    def power_meter(self, number: int, power_uw: int, *, below: str = "", oem_info: str = "") -> None:
        """An ACPI power meter; `below` is "device/" on older kernels."""
        self.write(f"class/hwmon/hwmon{number}/{below}name", "power_meter")
        self.write(f"class/hwmon/hwmon{number}/{below}power1_average", power_uw)
        self.write(f"class/hwmon/hwmon{number}/{below}power1_average_interval", 1000)
        if oem_info:
            self.write(f"class/hwmon/hwmon{number}/{below}power1_oem_info", oem_info)

    def pressure(self, resource: str, some_us: int, full_us: int) -> None:
        """How long tasks have stalled since the node booted."""
        averages = "avg10=1.53 avg60=1.24 avg300=0.44"
        text = f"some {averages} total={some_us}\nfull {averages} total={full_us}\n"
        self.write_proc(f"pressure/{resource}", text)

    def pci_device(self, number: int, address: str) -> None:
        """Where on the PCI bus an hwmon device sits."""
        device = self.sysfs / "devices" / address
        device.mkdir(parents=True)
        (self.sysfs / f"class/hwmon/hwmon{number}/device").symlink_to(device)

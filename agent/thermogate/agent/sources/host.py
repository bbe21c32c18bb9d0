"""Settings of the machine itself, for the sources that read its kernel."""

from thermogate.core.config import Settings


class HostSettings(Settings, frozen=True):
    """Where the kernel of this machine tells what it measures."""

    sysfs_root: str = "/sys"
    """The kernel's devices: sensors, counters, AMD GPUs; another than the machine's own for a recorded
    one."""
    procfs_root: str = "/proc"
    """The kernel's statistics: processor time, memory, pressure."""
    node_interval_s: float = 5.0
    """How often memory and pressure are read on a node without a power meter. Pressure is counted by the
    kernel, so that nothing between two readings is missed."""
    power_meter: str = ""
    """Which ACPI power meter measures the whole node, by its `power1_oem_info`; only a node with several
    needs it, since some of them measure parts of others."""
    power_timeout_s: float = 0.2
    """A power meter that takes longer is left out of the tick. A BMC answers in some milliseconds."""

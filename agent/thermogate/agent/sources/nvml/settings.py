"""Settings of the NVIDIA GPUs."""

from thermogate.core.config import Settings


class NvidiaSettings(Settings, frozen=True):
    """How long the NVIDIA driver may take, and how often it is asked what seldom changes."""

    read_timeout_s: float = 0.5
    """A GPU that has not answered by then is left out of the tick: half of the default period. Keep it
    below 0.7 of the period: a tick waits 0.8 of it for a source, 0.1 s of which NVML itself may take."""
    hung_after_s: float = 3.0
    """Silence of a GPU that is reported as a hung driver: three ticks, so that a slow one is not."""
    open_timeout_s: float = 10.0
    """How long the driver may take to start: without persistence mode it first wakes every GPU."""
    retry_s: float = 30.0
    """How often a driver that does not start, and a GPU that is lost, are tried again: each attempt may
    take the driver seconds and a line in the kernel's log."""
    slow_interval_s: float = 10.0
    """How often ECC counts, MIG instances and the list of GPUs are looked at: they seldom change."""
    processes_interval_s: float = 5.0
    """How often the processes on each GPU are asked: a job that is shorter has no energy to speak of."""

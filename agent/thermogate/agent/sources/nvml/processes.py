"""Who works on a GPU or MIG instance."""

import pynvml

from thermogate.agent.sources.nvml.library import Calls, Handle

_LISTS = {
    "nvmlDeviceGetComputeRunningProcesses": pynvml.nvmlDeviceGetComputeRunningProcesses,
    "nvmlDeviceGetGraphicsRunningProcesses": pynvml.nvmlDeviceGetGraphicsRunningProcesses,
}


def pids(calls: Calls, device: Handle, label: str = "") -> tuple[int, ...] | None:
    """Processes with a compute or graphics context, as the host numbers them; None when not all are known.

    `label` tells MIG instances from GPUs in the names of calls. Raises DeviceLostError.
    """
    found: set[int] = set()
    told = False
    for name, call in _LISTS.items():
        listed = calls.ask(name + label, call, device)
        if listed is not None:
            told = True
            found.update(process.pid for process in listed)
        elif name + label not in calls.left_alone:
            return None
    return tuple(sorted(found)) if told else None

"""Which processes compute on which AMD GPU, from the kernel's KFD (the driver of ROCm).

class/kfd/kfd/proc/PID/vram_GPUID (drivers/gpu/drm/amd/amdkfd/kfd_process.c of the kernel) is the memory
that a process holds on a GPU; every process that has opened KFD has one for every GPU, so only one that
holds some has work there. Topology nodes (kfd_topology.c) tell where on the PCI bus a GPUID is.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from thermogate.agent.sources.sysfs import numbered, read_int, read_text

_PROPERTY = re.compile(r"^(location_id|domain) (\d+)$", re.MULTILINE)


class KfdProcesses:
    """PIDs by the PCI address of a GPU, as the host counts them."""

    def __init__(self, sysfs: Path) -> None:
        self._root = sysfs / "class/kfd/kfd"
        self._generation: str | None = None
        self._known: dict[int, str] = {}

    def read(self) -> dict[str, tuple[int, ...]] | None:
        """Every GPU that KFD knows, also those without processes; None when there is no KFD."""
        addresses = self._addresses()
        if not addresses:
            return None
        pids: dict[str, set[int]] = {address: set() for address in addresses.values()}
        for pid in self._pids():
            for gpu_id, address in addresses.items():
                if read_int(f"{self._root}/proc/{pid}/vram_{gpu_id}"):
                    pids[address].add(pid)
        return {address: tuple(sorted(found)) for address, found in pids.items()}

    def _pids(self) -> list[int]:
        try:
            names = os.listdir(self._root / "proc")  # noqa: PTH208 - of names only
        except OSError:
            return []
        return [int(name) for name in names if name.isdecimal()]

    def _addresses(self) -> dict[int, str]:
        """PCI address by GPUID, read anew when KFD says that its topology has changed.

        The parts of a partitioned GPU have GPUIDs of their own at one address.
        """
        generation = read_text(self._root / "topology/generation_id")
        if generation is None or generation != self._generation:
            self._known = dict(self._nodes())
        self._generation = generation
        return self._known

    def _nodes(self) -> Iterator[tuple[int, str]]:
        for node in numbered(self._root / "topology/nodes", ""):
            gpu_id = read_int(node / "gpu_id")
            properties = dict(_PROPERTY.findall(read_text(node / "properties") or ""))
            if gpu_id and "location_id" in properties:  # 0: a CPU
                yield gpu_id, _address(int(properties.get("domain", 0)), int(properties["location_id"]))


def _address(domain: int, location: int) -> str:
    """As sysfs writes it: bus in bits 8 to 15 of the location, device in 3 to 7, function below."""
    return f"{domain:04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 7}"

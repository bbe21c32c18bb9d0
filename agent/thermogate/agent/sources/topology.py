"""Which CPUs the node has and in which package each of them sits."""

import re
from pathlib import Path

from thermogate.agent.sources.sysfs import read_int, read_text


def online_cpus(sysfs: Path) -> list[int]:
    """Numbers of the CPUs that are online, ascending: the order of /proc/stat. [] when unknown."""
    cpus: list[int] = []
    for part in (read_text(sysfs / "devices/system/cpu/online") or "").split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            cpus += range(int(first), int(last or first) + 1)
    return cpus


def package_of(sysfs: Path, cpu: int) -> int:
    """The physical package of a CPU; 0 where the kernel does not know, as in some virtual machines."""
    package = read_int(sysfs / f"devices/system/cpu/cpu{cpu}/topology/physical_package_id")
    return max(0, package or 0)


def first_cpus(sysfs: Path) -> dict[int, int]:
    """The lowest CPU that is online in each package."""
    return {package_of(sysfs, cpu): cpu for cpu in reversed(online_cpus(sysfs))}


def is_first_thread(sysfs: Path, cpu: int) -> bool:
    """Whether a CPU is the first one of its core; true where the kernel does not tell."""
    siblings = read_text(sysfs / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or ""
    first = re.match(r"\d+", siblings)
    return first is None or int(first[0]) == cpu


def cpu_name(procfs: Path) -> str:
    """The vendor's name of the CPU; "" when the kernel does not tell."""
    match = re.search(r"^model name\s*:\s*(.+)$", read_text(procfs / "cpuinfo") or "", re.MULTILINE)
    return match[1].strip() if match else ""


def short_name(name: str) -> str:
    """`name` without trade marks, core counts and clocks: "Intel Xeon Platinum 8480C"."""
    text = re.sub(r"\((?:R|TM)\)|@.*|\bCPU\b|\bProcessor\b|\b\d+-Core\b", " ", name, flags=re.IGNORECASE)
    return " ".join(text.split())

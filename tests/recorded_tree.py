"""Trees of /sys and /proc of real machines, recorded twice a second apart, as one text file each.

To record the machine that this runs on: `python -m tests.recorded_tree OUT.txt`, better as root, who may
read RAPL. Only what the agent's sources read is recorded; serial numbers are not. Lines:

    ### 1234.567          a snapshot begins, at this time of the steady clock
    === sys/PATH          a file begins; its lines follow as they are
    =-> sys/PATH TARGET   a symbolic link to TARGET, which is below the same root
    === hex sys/PATH      a binary file in hexadecimal digits
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_FILES = (
    "proc/stat",
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/pressure/*",
    "sys/devices/system/cpu/online",
    "sys/devices/system/cpu/cpu[0-9]*/topology/physical_package_id",
    "sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/package_throttle_*",
    "sys/class/powercap/intel-rapl*/name",
    "sys/class/powercap/intel-rapl*/*energy*_uj",
    "sys/class/powercap/intel-rapl*/constraint_0_*",
    "sys/class/hwmon/hwmon*/name",
    "sys/class/hwmon/hwmon*/temp*_*",
    "sys/class/hwmon/hwmon*/power1_*",
    "sys/class/hwmon/hwmon*/device/name",
    "sys/class/hwmon/hwmon*/device/power1_*",
    "sys/bus/pci/drivers/amdgpu/0*/vendor",
    "sys/bus/pci/drivers/amdgpu/0*/device",
    "sys/bus/pci/drivers/amdgpu/0*/product_name",
    "sys/bus/pci/drivers/amdgpu/0*/*_busy_percent",
    "sys/bus/pci/drivers/amdgpu/0*/mem_info_vram_*",
    "sys/bus/pci/drivers/amdgpu/0*/gpu_metrics",
    "sys/bus/pci/drivers/amdgpu/0*/power/runtime_status",
    "sys/bus/pci/drivers/amdgpu/0*/ras/*umc*",
    "sys/bus/pci/drivers/amdgpu/0*/hwmon/hwmon*/*_*",
    "sys/class/kfd/kfd/topology/generation_id",
    "sys/class/kfd/kfd/topology/nodes/*/gpu_id",
    "sys/class/kfd/kfd/topology/nodes/*/properties",
    "sys/class/kfd/kfd/proc/*/vram_*",
)
_LINKS = (
    "sys/class/hwmon/hwmon*/device",
    "sys/class/drm/card[0-9]/device",
    "sys/class/drm/card[0-9][0-9]/device",
    "sys/bus/pci/drivers/amdgpu/0*/driver",
)


class Snapshot(NamedTuple):
    """A machine at one instant: the contents of files and the targets of links by their path."""

    steady_s: float
    files: dict[str, bytes]
    links: dict[str, str]

    def lay(self, folder: Path) -> None:
        """Write it below `folder`, over what is there: "sys" and "proc" are the roots."""
        for name, target in self.links.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            (folder / target).mkdir(parents=True, exist_ok=True)
            if not path.is_symlink():
                path.symlink_to(folder / target)
        for name, contents in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents)


def load(recording: Path) -> list[Snapshot]:
    """The snapshots of one recording, in the order of their times."""
    found: list[Snapshot] = []
    lines: list[str] = []
    for line in recording.read_text(encoding="utf-8").splitlines():
        if line.startswith("### "):
            found.append(Snapshot(float(line[4:]), {}, {}))
        elif line.startswith("=-> "):
            name, target = line[4:].split(" ")
            found[-1].links[name] = target
        elif line.startswith("=== hex "):
            name, digits = line[8:].split(" ")
            found[-1].files[name] = bytes.fromhex(digits)
        elif line.startswith("=== "):
            lines = []
            found[-1].files[line[4:]] = b""
            name = line[4:]
        elif found:
            lines.append(line)
            found[-1].files[name] = "".join(f"{one}\n" for one in lines).encode()
    return found


def record(root: Path) -> Iterator[str]:
    """The lines of one snapshot of what is below `root`, which is / but for tests."""
    yield f"### {time.monotonic():.6f}"
    for path in _matching(root, _FILES):
        try:
            contents = path.read_bytes() if path.is_file() else None
        except OSError:
            continue
        if contents is None:
            continue
        if path.name == "gpu_metrics":
            yield f"=== hex {_name(path, root)} {contents.hex()}"
        else:
            yield f"=== {_name(path, root)}"
            yield from _kept(path.name, contents)
    for path in _matching(root, _LINKS):
        yield f"=-> {_name(path.parent, root)}/{path.name} {path.resolve().relative_to(root.resolve())}"


def _matching(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted(path for pattern in patterns for path in root.glob(pattern))


def _name(path: Path, root: Path) -> Path:
    """Files of a device are recorded where it is, to which links of its classes lead."""
    at_device = {"device", "amdgpu"} & set(path.parts)
    return (path.resolve() if at_device else path).relative_to(root.resolve() if at_device else root)


def _kept(name: str, contents: bytes) -> list[str]:
    lines = contents.decode("utf-8", "replace").splitlines()
    if name == "cpuinfo":
        return [line for line in lines if line.startswith(("processor", "model name"))][:2]
    return [line if len(line) < 400 else f"{line[:10]} (cut)" for line in lines]


def main() -> None:
    """Record this machine twice."""
    text = [*record(Path("/"))]
    time.sleep(1)
    text += record(Path("/"))
    Path(sys.argv[1]).write_text("\n".join([*text, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()

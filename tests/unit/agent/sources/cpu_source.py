"""A source of CPU packages over a small tree, as its tests need it."""

import contextlib
import os
from collections.abc import Iterator

from tests.fakes import FakeClock
from tests.unit.agent.sources.sysfs_tree import Tree
from thermogate.agent.sources.cpu import CpuSettings, CpuSource
from thermogate.agent.sources.host import HostSettings


class Stat:
    """/proc/stat of a tree: counters of processor time that a test moves on, in hundredths of a second."""

    def __init__(self, tree: Tree, count: int) -> None:
        self.tree = tree
        self.now: dict[int, tuple[int, int]] = dict.fromkeys(range(count), (10000, 100000))
        self.write()

    def write(self) -> None:
        lines = ["cpu  1 2 3 4 5 6 7 8 9 10"]
        for cpu, (busy, total) in self.now.items():
            idle = total - busy
            lines.append(f"cpu{cpu} {busy - 60} 10 10 {idle - 70} 70 10 10 20 5 5")
        self.tree.write_proc("stat", "\n".join([*lines, "intr 9 9", "btime 1763712000", ""]))

    def pass_second(self, *busy_s: float) -> None:
        now = zip(self.now.items(), busy_s, strict=True)
        self.now = {cpu: (busy + round(b * 100), total + 100) for (cpu, (busy, total)), b in now}
        self.write()


def over(tree: Tree, clock: FakeClock, settings: CpuSettings | None = None) -> CpuSource:
    """A source of what the tree says."""
    host = HostSettings(sysfs_root=str(tree.sysfs), procfs_root=str(tree.procfs))
    return CpuSource(settings or CpuSettings(), host, clock)


@contextlib.contextmanager
def unprivileged(folder: str) -> Iterator[None]:
    """Be nobody for a while when root, who may read everything; `folder` is nobody's meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    os.chown(folder, nobody, nobody)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


def values(source: CpuSource, field: str) -> dict[str, float | int]:
    """`field` of each package that has it, from one reading."""
    readings, events = source.read()
    assert events == []
    return {reading.device: reading.fields[field] for reading in readings if field in reading.fields}

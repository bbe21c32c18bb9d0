"""Thermal throttling of CPU packages from small trees (sysfs_tree.py has their source)."""

import pytest

from tests.unit.agent.sources.cpu_source import values
from tests.unit.agent.sources.sysfs_tree import Tree
from thermogate.agent.sources.cpu import CpuSource


class Throttling:
    """A package of one CPU with a limit of 100 degrees, and what the kernel counts of it."""

    def __init__(self, tree: Tree, source: CpuSource) -> None:
        self.tree = tree
        self.source = source
        tree.cpus([0])

    def tick(self, count: int, total_ms: int | None, temp_c: float = 60) -> dict[str, float | int]:
        self.tree.throttled(0, count, total_ms)
        self.tree.write("class/hwmon/hwmon0/temp1_input", round(temp_c * 1000))
        return values(self.source, "throttled")


@pytest.fixture
def throttling(tree: Tree, source: CpuSource) -> Throttling:
    tree.hwmon(0, "coretemp", {"Package id 0": 60_000}, crit=100_000)
    tree.throttled(0, 34_818, 9_000)
    package = Throttling(tree, source)
    assert source.open().text.endswith("; thermal throttling from the kernel's count")
    return package


def test_a_package_throttles_in_the_period_in_which_the_kernel_counts_it(throttling: Throttling) -> None:
    assert throttling.tick(34_818, 9_000) == {}
    assert throttling.tick(34_818, 9_000) == {"0": 0}
    assert throttling.tick(34_819, 9_040) == {"0": 1}
    assert throttling.tick(34_819, 9_040) == {"0": 0}


def test_a_throttle_lasts_from_its_count_to_its_time(throttling: Throttling) -> None:
    throttling.tick(1, 0)
    seen = [throttling.tick(2, 0, 99), throttling.tick(2, 0, 98), throttling.tick(2, 2100, 97)]
    assert seen == [{"0": 1}, {"0": 1}, {"0": 1}]
    assert throttling.tick(2, 2100, 96) == {"0": 0}


def test_a_spike_that_the_kernel_counts_and_does_not_time_ends_with_its_period(
    throttling: Throttling,
) -> None:
    throttling.tick(1, 0)
    assert throttling.tick(2, 0, 85) == {"0": 1}
    assert throttling.tick(2, 0, 85) == {"0": 0}
    assert throttling.tick(2, 0, 95) == {"0": 0}


def test_whether_a_throttle_lasts_is_unknown_without_temperature(throttling: Throttling) -> None:
    throttling.tick(1, 0)
    assert throttling.tick(2, 0, 99) == {"0": 1}
    throttling.tree.write("class/hwmon/hwmon0/temp1_input", "")
    assert values(throttling.source, "throttled") == {}


def test_a_kernel_without_times_counts_as_well(tree: Tree, source: CpuSource) -> None:
    tree.hwmon(0, "coretemp", {"Package id 0": 60_000}, crit=100_000)
    tree.throttled(0, 7, None)
    package = Throttling(tree, source)
    source.open()
    package.tick(7, None)
    assert [package.tick(7, None), package.tick(8, None), package.tick(8, None)] == [
        {"0": 0},
        {"0": 1},
        {"0": 0},
    ]

"""Power and energy of CPU packages and their memory from small trees (sysfs_tree.py has their source)."""

import tempfile
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.unit.agent.sources.cpu_source import over, unprivileged, values
from tests.unit.agent.sources.sysfs_tree import Tree
from thermogate.agent.sources.cpu import CpuSource


def test_power_is_the_energy_over_the_time_between_two_readings(
    tree: Tree, source: CpuSource, clock: FakeClock
) -> None:
    tree.cpus([0, 0, 1, 1])
    tree.rapl("intel-rapl:0", "package-0", 5_000_000)
    tree.rapl("intel-rapl:1", "package-1", 7_000_000)
    source.open()
    first = source.read()[0]
    clock.pass_time(2)
    tree.energy("intel-rapl:0", 505_000_000)
    tree.energy("intel-rapl:1", 107_000_000)
    second = source.read()[0]
    assert [reading.fields for reading in first] == [{"energy_j": 5.0}, {"energy_j": 7.0}]
    assert [reading.fields for reading in second] == [
        {"energy_j": 505.0, "power_w": 250.0},
        {"energy_j": 107.0, "power_w": 50.0},
    ]


def test_energy_and_power_go_on_when_the_counter_wraps(
    tree: Tree, source: CpuSource, clock: FakeClock
) -> None:
    tree.cpus([0])
    tree.rapl("intel-rapl:0", "package-0", 262_143_000_000)
    source.open()
    source.read()
    clock.pass_time(1)
    tree.energy("intel-rapl:0", 99_671_150)
    (reading,) = source.read()[0]
    assert reading.fields == {"energy_j": 262_243.0, "power_w": 100.0}


def test_power_after_a_long_silence_is_left_out_since_the_counter_may_have_wrapped_twice(
    tree: Tree, source: CpuSource, clock: FakeClock
) -> None:
    tree.cpus([0])
    tree.rapl("intel-rapl:0", "package-0", 1_000_000)
    source.open()
    source.read()
    clock.pass_time(61)
    tree.energy("intel-rapl:0", 2_000_000)
    assert values(source, "power_w") == {}


def test_parts_and_doubles_of_a_package_are_not_counted_again(tree: Tree, source: CpuSource) -> None:
    tree.cpus([0])
    tree.rapl("intel-rapl:0", "package-0", 10_000_000)
    tree.rapl("intel-rapl:0:0", "core", 4_000_000)
    tree.rapl("intel-rapl:0:1", "uncore", 2_000_000)
    tree.rapl("intel-rapl:1", "psys", 30_000_000, limit_uw=500_000_000)
    tree.rapl("intel-rapl:1:0", "dram", 7_000_000)
    tree.rapl("intel-rapl-mmio:0", "package-0", 10_000_000)
    source.open()
    assert [reading.fields for reading in source.read()[0]] == [{"energy_j": 10.0}]
    assert source.devices[0].rated_power_w is None


def test_memory_beside_a_package_has_power_and_energy_of_its_own_also_over_a_wrap(
    tree: Tree, source: CpuSource, clock: FakeClock
) -> None:
    tree.cpus([0, 0, 1, 1])
    tree.rapl("intel-rapl:0", "package-0", 10_000_000)
    tree.rapl("intel-rapl:0:0", "dram", 262_143_000_000)
    tree.rapl("intel-rapl:1", "package-1", 20_000_000)
    assert "; power of CPU and memory from RAPL; " in source.open().text
    source.read()
    clock.pass_time(2)
    tree.energy("intel-rapl:0:0", 59_671_150)
    first, second = source.read()[0]
    assert first.fields["dram_energy_j"] == 262_203.0
    assert first.fields["dram_power_w"] == 30.0
    assert first.fields["power_w"] == 0.0
    assert "dram_power_w" not in second.fields


def test_memory_of_a_package_of_two_dies_is_their_sum(tree: Tree, source: CpuSource) -> None:
    tree.cpus([0])
    for die in (0, 1):
        tree.rapl(f"intel-rapl:{die}", f"package-0-die-{die}", 10_000_000)
        tree.rapl(f"intel-rapl:{die}:0", "dram", 3_000_000 + die)
    source.open()
    assert values(source, "dram_energy_j") == {"0": 6.000001}


def test_a_package_of_two_dies_is_their_sum_or_nothing(tree: Tree, source: CpuSource) -> None:
    tree.cpus([0])
    tree.rapl("intel-rapl:0", "package-0-die-0", 10_000_000, limit_uw=150_000_000)
    tree.rapl("intel-rapl:1", "package-0-die-1", 20_000_000, limit_uw=150_000_000)
    source.open()
    assert values(source, "energy_j") == {"0": 30.0}
    assert source.devices[0].rated_power_w == 300.0
    tree.write("class/powercap/intel-rapl:1/energy_uj", "")
    assert values(source, "energy_j") == {}


def test_rated_power_is_the_long_term_limit(tree: Tree, source: CpuSource) -> None:
    tree.cpus([0, 0, 1, 1])
    tree.rapl("intel-rapl:0", "package-0", 1, limit_uw=350_000_000)
    tree.rapl("intel-rapl:1", "package-1", 1)
    source.open()
    assert [device.rated_power_w for device in source.devices] == [350.0, None]


def test_a_limit_that_is_none_leaves_the_design_power_as_rated_power(tree: Tree, source: CpuSource) -> None:
    tree.cpus([0, 0, 1, 1])
    tree.rapl("intel-rapl:0", "package-0", 1, limit_uw=4_090_000_000)
    tree.write("class/powercap/intel-rapl:0/constraint_0_max_power_uw", 15_000_000)
    tree.rapl("intel-rapl:1", "package-1", 1, limit_uw=4_095_875_000)
    source.open()
    assert [device.rated_power_w for device in source.devices] == [15.0, None]


def test_a_counter_for_root_only_is_reported_with_its_file_and_the_cure() -> None:
    with tempfile.TemporaryDirectory() as folder, unprivileged(folder):
        tree = Tree(Path(folder) / "tree")
        tree.rapl("intel-rapl:0", "package-0", 1)
        (tree.sysfs / "class/powercap/intel-rapl:0/energy_uj").chmod(0)
        source = over(tree, FakeClock())
        text = source.open().text
        source.close()
    assert f"{tree.sysfs}/class/powercap/intel-rapl:0/energy_uj is for root only" in text
    assert "chmod g+r" in text


def test_memory_for_root_only_costs_its_own_power_and_no_other() -> None:
    with tempfile.TemporaryDirectory() as folder, unprivileged(folder):
        tree = Tree(Path(folder) / "tree")
        tree.rapl("intel-rapl:0", "package-0", 5_000_000)
        tree.rapl("intel-rapl:0:0", "dram", 1)
        (tree.sysfs / "class/powercap/intel-rapl:0:0/energy_uj").chmod(0)
        source = over(tree, FakeClock())
        text = source.open().text
        assert [reading.fields for reading in source.read()[0]] == [{"energy_j": 5.0}]
        source.close()
    assert "; power from RAPL; RAPL's " in text
    assert "intel-rapl:0:0/energy_uj is for root only: part of the power not measured" in text


def test_a_counter_that_steps_back_has_not_wrapped(tree: Tree, source: CpuSource, clock: FakeClock) -> None:
    tree.cpus([0])
    tree.rapl("intel-rapl:0", "package-0", 500_000_000)
    source.open()
    source.read()
    clock.pass_time(1)
    tree.energy("intel-rapl:0", 499_999_000)
    ((back,), _) = source.read()
    clock.pass_time(1)
    tree.energy("intel-rapl:0", 599_999_000)
    ((next_one,), _) = source.read()
    assert back.fields == {"energy_j": pytest.approx(500.0)}
    assert next_one.fields == {"energy_j": pytest.approx(600.0), "power_w": pytest.approx(100.0)}

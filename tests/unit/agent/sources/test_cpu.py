"""CPU packages from small trees (sysfs_tree.py says where their layout comes from)."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.unit.agent.sources.sysfs_tree import Tree
from thermogate.agent.sources.cpu import CpuSettings, CpuSource
from thermogate.agent.sources.topology import online_cpus, short_name
from thermogate.agent.sources.usage import CpuTime, cpu_times
from thermogate.core.clock import SystemClock


class FakeTimes:
    """Counters of busy and total time that a test moves on."""

    def __init__(self, count: int) -> None:
        self.now = [CpuTime(100.0, 1000.0)] * count

    def __call__(self) -> Sequence[CpuTime]:
        return list(self.now)

    def pass_second(self, *busy_s: float) -> None:
        self.now = [CpuTime(t.busy_s + b, t.total_s + 1) for t, b in zip(self.now, busy_s, strict=True)]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def times() -> FakeTimes:
    return FakeTimes(4)


@pytest.fixture
def source(tree: Tree, clock: FakeClock, times: FakeTimes) -> Iterator[CpuSource]:
    settings = CpuSettings(sysfs_root=str(tree.sysfs), procfs_root=str(tree.procfs))
    source = CpuSource(settings, clock, times)
    yield source
    source.close()


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


def test_utilization_of_a_package_is_the_mean_over_its_cpus(
    tree: Tree, source: CpuSource, times: FakeTimes
) -> None:
    tree.cpus([0, 1, 0, 1])
    source.open()
    first = values(source, "util_ratio")
    times.pass_second(0.5, 1.0, 0.25, 0.0)
    assert first == {}
    assert values(source, "util_ratio") == {"0": 0.375, "1": 0.5}


def test_counters_that_step_back_never_leave_the_range_of_a_ratio(
    tree: Tree, source: CpuSource, times: FakeTimes
) -> None:
    tree.cpus([0, 1, 2, 3])
    source.open()
    source.read()
    times.pass_second(-0.01, 1.01, 0.0, 1.0)
    assert values(source, "util_ratio") == {"0": 0.0, "1": 1.0, "2": 0.0, "3": 1.0}


def test_without_topology_all_cpus_are_one_package(source: CpuSource, times: FakeTimes) -> None:
    report = source.open()
    source.read()
    times.pass_second(1.0, 0.0, 0.0, 0.0)
    assert [device.device for device in source.devices] == ["0"]
    assert source.devices[0].model == "unknown"
    assert values(source, "util_ratio") == {"0": 0.25}
    assert "utilization of 4 CPUs in 1 package;" in report.text


def test_an_unknown_package_id_is_package_0(tree: Tree, source: CpuSource) -> None:
    tree.cpus([-1, -1, -1, -1])
    source.open()
    assert [device.device for device in source.devices] == ["0"]


def test_a_cpu_that_goes_offline_costs_one_utilization(
    tree: Tree, source: CpuSource, times: FakeTimes
) -> None:
    tree.cpus([0, 0, 1, 1])
    source.open()
    source.read()
    tree.write("devices/system/cpu/online", "0,2-3")
    times.now = [times.now[0], *times.now[2:]]
    gone = values(source, "util_ratio")
    times.pass_second(0.0, 1.0, 1.0)
    assert gone == {}
    assert values(source, "util_ratio") == {"0": 0.0, "1": 1.0}


def test_clock_is_the_mean_of_the_cores_that_tell_theirs(tree: Tree, source: CpuSource) -> None:
    tree.cpus([0, 0, 1, 1])
    tree.clock(0, 3_800_000)
    tree.clock(1, 2_000_000)
    tree.clock(3, 1_000_000)
    source.open()
    assert values(source, "clock_hz") == {"0": 2.9e9, "1": 1.0e9}


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
    tree.rapl("intel-rapl:0:1", "dram", 2_000_000)
    tree.rapl("intel-rapl:1", "psys", 30_000_000)
    tree.rapl("intel-rapl-mmio:0", "package-0", 10_000_000)
    source.open()
    assert values(source, "energy_j") == {"0": 10.0}


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


def test_intel_temperature_and_limit_are_those_of_the_package_sensor(tree: Tree, source: CpuSource) -> None:
    tree.cpus([0, 0, 1, 1])
    tree.hwmon(3, "coretemp", {"Package id 0": 61_000, "Core 0": 70_000}, crit=100_000, max=90_000)
    tree.hwmon(10, "coretemp", {"Package id 1": 58_500, "Core 0": 57_000}, max=91_000)
    tree.hwmon(4, "nvme", {"Composite": 40_000})
    source.open()
    assert values(source, "temp_c") == {"0": 61.0, "1": 58.5}
    assert [device.temp_limit_c for device in source.devices] == [100.0, 91.0]


def test_amd_temperature_prefers_tdie_and_packages_follow_the_pci_bus(tree: Tree, source: CpuSource) -> None:
    tree.cpus([0, 0, 1, 1], name="AMD EPYC 9554 64-Core Processor")
    tree.hwmon(5, "k10temp", {"Tctl": 55_000, "Tccd1": 80_000})
    tree.hwmon(2, "k10temp", {"Tctl": 70_000, "Tdie": 60_000})
    tree.pci_device(5, "0000:00:18.3")
    tree.pci_device(2, "0000:00:19.3")
    source.open()
    assert values(source, "temp_c") == {"0": 55.0, "1": 60.0}
    assert [device.temp_limit_c for device in source.devices] == [None, None]
    assert source.devices[0].model == "AMD-EPYC-9554"


def test_a_package_of_several_dies_is_as_hot_as_its_hottest(tree: Tree, source: CpuSource) -> None:
    tree.cpus([0, 0, 1, 1])
    for number, milli_c in enumerate((41_000, 45_000, 50_000, 47_000)):
        tree.hwmon(number, "k10temp", {"Tctl": milli_c})
    source.open()
    assert values(source, "temp_c") == {"0": 45.0, "1": 50.0}


def test_a_sensor_that_does_not_answer_is_left_out_of_this_tick_only(tree: Tree, source: CpuSource) -> None:
    tree.cpus([0])
    tree.hwmon(0, "coretemp", {"Package id 0": 61_000})
    source.open()
    tree.write("class/hwmon/hwmon0/temp1_input", "")
    failed = values(source, "temp_c")
    tree.write("class/hwmon/hwmon0/temp1_input", 62_000)
    assert failed == {}
    assert values(source, "temp_c") == {"0": 62.0}


def test_the_report_says_what_is_measured(tree: Tree, source: CpuSource) -> None:
    tree.cpus([0, 0, 1, 1])
    tree.rapl("intel-rapl:0", "package-0", 1)
    tree.hwmon(0, "coretemp", {"Package id 0": 61_000})
    report = source.open()
    assert (report.source, report.found) == ("cpu", True)
    assert report.text == (
        "Intel Xeon Platinum 8480C; utilization of 4 CPUs in 2 packages; power from RAPL;"
        " temperature from hwmon"
    )


def test_the_report_says_what_is_not_measured_and_why(tree: Tree, source: CpuSource) -> None:
    tree.cpus([0, 0, 0, 0], name="AMD EPYC")
    assert source.open().text == (
        "AMD EPYC; utilization of 4 CPUs in 1 package; no RAPL here: CPU power not measured;"
        " no CPU temperature sensor: hwmon has no coretemp or k10temp"
    )


def test_a_counter_for_root_only_is_reported_with_its_file_and_the_cure() -> None:
    with tempfile.TemporaryDirectory() as folder, unprivileged(folder):
        tree = Tree(Path(folder) / "tree")
        tree.rapl("intel-rapl:0", "package-0", 1)
        (tree.sysfs / "class/powercap/intel-rapl:0/energy_uj").chmod(0)
        source = CpuSource(CpuSettings(sysfs_root=str(tree.sysfs)), FakeClock(), FakeTimes(1))
        text = source.open().text
        source.close()
    assert f"{tree.sysfs}/class/powercap/intel-rapl:0/energy_uj is for root only" in text
    assert "chmod g+r" in text


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz", "Intel Xeon Gold 6248R"),
        ("AMD EPYC 7763 64-Core Processor", "AMD EPYC 7763"),
        ("13th Gen Intel(R) Core(TM) i9-13900K", "13th Gen Intel Core i9-13900K"),
    ],
)
def test_the_name_of_a_cpu_is_cut_to_what_tells_it_apart(name: str, short: str) -> None:
    assert short_name(name) == short


def test_the_list_of_online_cpus_is_read_as_the_kernel_writes_it(tree: Tree) -> None:
    tree.write("devices/system/cpu/online", "0-3,8,10-11")
    assert online_cpus(tree.sysfs) == [0, 1, 2, 3, 8, 10, 11]
    assert online_cpus(tree.sysfs / "none") == []


def test_this_machine_has_a_cpu_and_its_counters_go_forward() -> None:
    before, after = cpu_times(), cpu_times()
    assert len(before) >= 1
    assert all(0 <= old.busy_s <= old.total_s for old in before)
    assert sum(t.total_s for t in after) >= sum(t.total_s for t in before)


def test_this_machines_own_source_opens_and_reads() -> None:
    source = CpuSource(CpuSettings(), SystemClock())
    assert source.open().found
    source.read()
    readings, _ = source.read()
    source.close()
    assert all(0 <= reading.fields.get("util_ratio", 0) <= 1 for reading in readings)

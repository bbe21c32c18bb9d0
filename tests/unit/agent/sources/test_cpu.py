"""CPU packages from small trees (sysfs_tree.py says where their layout comes from)."""

from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.unit.agent.sources.cpu_source import Stat, over, values
from tests.unit.agent.sources.sysfs_tree import Tree
from thermogate.agent.sources.cpu import CpuSettings, CpuSource
from thermogate.agent.sources.host import HostSettings
from thermogate.agent.sources.sysfs import ValueFile
from thermogate.agent.sources.topology import online_cpus, short_name
from thermogate.agent.sources.usage import cpu_times
from thermogate.core.clock import SystemClock


def test_utilization_of_a_package_is_the_mean_over_its_cpus(
    tree: Tree, source: CpuSource, times: Stat
) -> None:
    tree.cpus([0, 1, 0, 1])
    source.open()
    first = values(source, "util_ratio")
    times.pass_second(0.5, 1.0, 0.25, 0.0)
    assert first == {}
    assert values(source, "util_ratio") == {"0": 0.375, "1": 0.5}


def test_counters_that_step_back_never_leave_the_range_of_a_ratio(
    tree: Tree, source: CpuSource, times: Stat
) -> None:
    tree.cpus([0, 1, 2, 3])
    source.open()
    source.read()
    times.pass_second(-0.01, 1.01, 0.0, 1.0)
    assert values(source, "util_ratio") == {"0": 0.0, "1": 1.0, "2": 0.0, "3": 1.0}


def test_without_topology_all_cpus_are_one_package(source: CpuSource, times: Stat) -> None:
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


def test_a_cpu_that_goes_offline_costs_one_utilization(tree: Tree, source: CpuSource, times: Stat) -> None:
    tree.cpus([0, 0, 1, 1])
    source.open()
    source.read()
    tree.write("devices/system/cpu/online", "0,2-3")
    del times.now[1]
    times.write()
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


def test_clocks_are_asked_of_a_few_cores_spread_over_the_package(tree: Tree, clock: FakeClock) -> None:
    tree.cpus([0] * 16)
    Stat(tree, 16)
    for cpu in range(16):
        tree.clock(cpu, 1_000_000 if cpu in (0, 4) else 9_000_000)
        tree.write(f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 8},{cpu % 8 + 8}")
    source = over(tree, clock, CpuSettings(clock_cpus=2))
    source.open()
    assert values(source, "clock_hz") == {"0": 1.0e9}
    source.close()


@pytest.mark.parametrize("frugal", [False, True])
def test_clocks_can_be_left_out_by_a_setting_and_to_save_time(
    tree: Tree, clock: FakeClock, frugal: bool
) -> None:
    tree.cpus([0])
    tree.clock(0, 2_000_000)
    tree.hwmon(0, "coretemp", {"Package id 0": 61_000})
    source = over(tree, clock, CpuSettings(clock_cpus=4 if frugal else 0))
    source.frugal = frugal
    source.open()
    assert [reading.fields for reading in source.read()[0]] == [{"temp_c": 61.0}]
    source.close()


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


def test_busy_is_neither_idle_nor_waiting(tree: Tree) -> None:
    """User, nice, system, interrupts and stolen time; guests are in user and nice already."""
    tree.write_proc("stat", "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 1000 2000 3000 40000 5000 600 700 800 900 900\n")
    assert cpu_times(tree.procfs) == [(pytest.approx(81.0), pytest.approx(531.0))]


def test_without_proc_stat_there_is_no_utilization_and_the_report_says_why(
    tree: Tree, source: CpuSource
) -> None:
    tree.cpus([0, 0, 1, 1])
    (tree.procfs / "stat").unlink()
    text = source.open().text
    assert f"no utilization: {tree.procfs}/stat: No such file or directory" in text
    assert [device.device for device in source.devices] == ["0", "1"]
    assert source.read() == ([], [])


def test_this_machines_own_source_opens_and_reads() -> None:
    source = CpuSource(CpuSettings(), HostSettings(), SystemClock())
    assert source.open().found
    source.read()
    readings, _ = source.read()
    source.close()
    assert all(0 <= reading.fields.get("util_ratio", 0) <= 1 for reading in readings)


def test_cpus_that_go_while_the_kernel_still_lists_them_cost_their_utilization_only(
    tree: Tree, source: CpuSource, clock: FakeClock, times: Stat
) -> None:
    """/proc/stat and the list of CPUs online are read one after the other: they may not agree."""
    tree.cpus([0, 0, 1, 1])
    for cpu in range(4):
        tree.clock(cpu, 2_000_000)
    source.open()
    source.read()
    clock.pass_time(1)
    times.pass_second(1.0, 1.0, 0.0, 0.0)
    before = values(source, "util_ratio")
    del times.now[3]
    clock.pass_time(1)
    times.pass_second(1.0, 1.0, 0.0)
    going = values(source, "util_ratio")
    tree.write("devices/system/cpu/online", "0-2")
    after = {}
    for _ in range(2):
        clock.pass_time(1)
        times.pass_second(1.0, 1.0, 0.0)
        after = values(source, "util_ratio")
    assert before == {"0": 1.0, "1": 0.0}
    assert going == {}
    assert after == {"0": 1.0, "1": 0.0}


def test_a_mean_over_a_long_silence_is_no_sample(
    tree: Tree, source: CpuSource, clock: FakeClock, times: Stat
) -> None:
    tree.cpus([0, 0, 0, 0])
    source.open()
    source.read()
    clock.pass_time(600)
    times.pass_second(1.0, 1.0, 1.0, 1.0)
    assert values(source, "util_ratio") == {}
    clock.pass_time(1)
    times.pass_second(0.5, 0.5, 0.5, 0.5)
    assert values(source, "util_ratio") == {"0": 0.5}


def test_a_file_whose_device_went_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "scaling_cur_freq"
    path.write_text("1")
    file = ValueFile(path)
    file.open()
    file.close()  # as after ENODEV: what was open is of no use
    path.write_text("2")
    assert file.read() == 2
    path.unlink()
    file.close()
    assert file.read() is None
    path.write_text("3")
    assert file.read() == 3
    file.close()

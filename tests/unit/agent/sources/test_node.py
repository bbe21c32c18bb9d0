"""Power, memory and pressure of a node from small trees (sysfs_tree.py says where their layout is from)."""

import os
import time
from collections.abc import Iterator

import pytest

from tests.fakes import FakeClock
from tests.unit.agent.sources.sysfs_tree import Tree
from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.host import HostSettings
from thermogate.agent.sources.node import NodeSource

MEMINFO = "MemTotal:       16054612 kB\nMemFree:          264392 kB\nMemAvailable:    9483880 kB\n"


def over(tree: Tree, clock: FakeClock, power_meter: str = "", power_timeout_s: float = 30) -> NodeSource:
    """A source of what the tree says; the timeout is for a machine that is busy with other things."""
    return NodeSource(
        HostSettings(
            sysfs_root=str(tree.sysfs),
            procfs_root=str(tree.procfs),
            power_meter=power_meter,
            power_timeout_s=power_timeout_s,
        ),
        clock,
    )


@pytest.fixture
def source(tree: Tree, clock: FakeClock) -> Iterator[NodeSource]:
    source = over(tree, clock)
    yield source
    source.close()


def fields(source: NodeSource) -> Fields:
    """What one reading has; {} when there is none."""
    readings, events = source.read()
    assert events == []
    assert [(reading.kind, reading.device) for reading in readings] in ([], [("node", "")])
    return readings[0].fields if readings else {}


def test_memory_is_what_the_kernel_has_in_all_and_could_still_give(tree: Tree, source: NodeSource) -> None:
    tree.write_proc("meminfo", MEMINFO)
    report = source.open()
    assert (report.source, report.found, report.text.split(";")[0]) == ("node", True, "memory")
    assert fields(source) == {"mem_total_bytes": 16054612 * 1024, "mem_available_bytes": 9483880 * 1024}
    assert source.devices == ()


def test_memory_that_an_old_kernel_does_not_estimate_is_absent(tree: Tree, source: NodeSource) -> None:
    tree.write_proc("meminfo", "MemTotal: 1024 kB\nMemFree: 512 kB\n")
    source.open()
    assert fields(source) == {"mem_total_bytes": 1024 * 1024}


def test_pressure_is_the_stalled_share_of_the_time_between_two_readings(
    tree: Tree, source: NodeSource, clock: FakeClock
) -> None:
    tree.pressure("cpu", 5_000_000, 0)
    tree.pressure("memory", 700, 600)
    tree.pressure("io", 10_000_000, 9_000_000)
    source.open()
    first = fields(source)
    clock.pass_time(2)
    tree.pressure("cpu", 5_500_000, 0)
    tree.pressure("io", 11_000_000, 9_200_000)
    assert first == {}
    assert fields(source) == {
        "cpu_stall_some_ratio": 0.25,
        "mem_stall_some_ratio": 0.0,
        "mem_stall_full_ratio": 0.0,
        "io_stall_some_ratio": 0.5,
        "io_stall_full_ratio": 0.1,
    }


def test_pressure_that_jitter_puts_over_the_whole_is_the_whole(
    tree: Tree, source: NodeSource, clock: FakeClock
) -> None:
    tree.pressure("io", 0, 0)
    source.open()
    fields(source)
    clock.pass_time(1)
    tree.pressure("io", 1_000_200, 100)
    assert fields(source) == {"io_stall_some_ratio": 1.0, "io_stall_full_ratio": 0.0001}


def test_pressure_counters_that_go_back_are_no_measurement(
    tree: Tree, source: NodeSource, clock: FakeClock
) -> None:
    tree.pressure("io", 9_000, 8_000)
    source.open()
    fields(source)
    clock.pass_time(1)
    tree.pressure("io", 8_000, 9_000)
    assert fields(source) == {"io_stall_full_ratio": 0.001}


def test_a_kernel_without_pressure_is_reported_once(tree: Tree, source: NodeSource) -> None:
    tree.write_proc("meminfo", MEMINFO)
    assert "; no pressure: the kernel's PSI is off (boot with psi=1); " in source.open().text
    assert "cpu_stall_some_ratio" not in fields(source)


def test_a_kernel_that_refuses_to_read_its_pressure_is_one_without(tree: Tree, source: NodeSource) -> None:
    """psi=0: the files are there and reading them fails; reading a directory fails as well."""
    (tree.procfs / "pressure/cpu").mkdir(parents=True)
    assert "no pressure" in source.open().text
    assert source.read() == ([], [])


@pytest.mark.parametrize("below", ["", "device/"])
def test_power_of_the_node_is_its_acpi_meters_and_the_report_has_its_interval(
    tree: Tree, source: NodeSource, below: str
) -> None:
    tree.hwmon(0, "coretemp", {"Package id 0": 1})
    tree.power_meter(2, 5_432_100_000, below=below)
    assert source.open().text.endswith("; power from the ACPI power meter, a mean over 1 s")
    assert fields(source) == {"power_w": 5432.1}


@pytest.mark.parametrize("said", [0, 0xFFFFFFFF * 1000, ""])
def test_a_meter_that_cannot_measure_gives_no_power(tree: Tree, source: NodeSource, said: object) -> None:
    tree.power_meter(0, 1)
    source.open()
    tree.write("class/hwmon/hwmon0/power1_average", said)
    assert source.read() == ([], [])


def test_a_node_without_a_meter_says_so(source: NodeSource) -> None:
    assert source.open().text.endswith("; no power meter: power of the node not measured")


def grace(tree: Tree) -> None:
    """A node whose meters measure parts of one another."""
    for number, name in enumerate(("Module Power Socket 0", "Grace Power Socket 0", "CPU Power Socket 0")):
        tree.power_meter(number, (number + 1) * 100_000_000, oem_info=name)


def test_of_several_meters_none_is_taken_unasked(tree: Tree, source: NodeSource) -> None:
    grace(tree)
    text = source.open().text
    assert "power of the node not measured: agent.host.power_meter must say which of 'Module Power" in text
    assert source.read() == ([], [])


def test_of_several_meters_the_setting_names_one(tree: Tree, clock: FakeClock) -> None:
    grace(tree)
    source = over(tree, clock, "Module Power Socket 0")
    source.open()
    assert fields(source) == {"power_w": 100.0}
    source.close()


def test_a_name_that_no_meter_has_is_reported_with_those_there_are(tree: Tree, clock: FakeClock) -> None:
    grace(tree)
    source = over(tree, clock, "Chassis")
    assert "no power meter is called 'Chassis': there are 'Module Power Socket 0', " in source.open().text
    assert source.read() == ([], [])
    source.close()


def test_a_meter_that_hangs_costs_its_own_value_only_and_comes_back(tree: Tree, clock: FakeClock) -> None:
    """Opening a FIFO that nobody writes blocks, as reading from a BMC that has hung does."""
    tree.write_proc("meminfo", MEMINFO)
    tree.power_meter(0, 1)
    meter = tree.sysfs / "class/hwmon/hwmon0/power1_average"
    source = over(tree, clock, power_timeout_s=0.01)
    source.open()
    meter.unlink()
    os.mkfifo(meter)
    assert [sorted(fields(source)) for _ in range(2)] == [["mem_available_bytes", "mem_total_bytes"]] * 2
    hung = tree.sysfs / "hung"
    meter.rename(hung)
    tree.write("class/hwmon/hwmon0/power1_average", 350_000_000)
    hung.write_text("111000000\n", encoding="ascii")  # the answer at last, far too late
    limit_s = time.monotonic() + 30
    while "power_w" not in (seen := fields(source)) and time.monotonic() < limit_s:
        time.sleep(0.01)
    assert seen["power_w"] == 350.0
    source.close()


def test_to_save_time_only_power_is_read(tree: Tree, source: NodeSource, clock: FakeClock) -> None:
    tree.write_proc("meminfo", MEMINFO)
    tree.pressure("cpu", 0, 0)
    tree.power_meter(0, 350_000_000)
    source.open()
    fields(source)
    clock.pass_time(1)
    source.frugal = True
    assert fields(source) == {"power_w": 350.0}
    source.frugal = False
    assert "cpu_stall_some_ratio" in fields(source)

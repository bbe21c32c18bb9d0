"""Sources over recordings of real machines (tests/recordings/sysfs), and how such a recording is made."""

from pathlib import Path

import pytest

from tests import recorded_tree
from tests.fakes import FakeClock
from tests.unit.agent.sources.amd_tree import MI300X, AmdTree, metrics_1_8
from thermogate.agent.sources.amd import AmdSettings, AmdSource
from thermogate.agent.sources.base import Reading, Source
from thermogate.agent.sources.cpu import CpuSettings, CpuSource
from thermogate.agent.sources.host import HostSettings
from thermogate.agent.sources.node import NodeSource

RECORDINGS = Path(__file__).parents[3] / "recordings" / "sysfs"


def sources(folder: Path, clock: FakeClock) -> list[Source]:
    host = HostSettings(sysfs_root=str(folder / "sys"), procfs_root=str(folder / "proc"), power_timeout_s=30)
    return [
        CpuSource(CpuSettings(), host, clock),
        NodeSource(host, clock),
        AmdSource(AmdSettings(read_timeout_s=30, open_timeout_s=30), host, clock),
    ]


def replayed(recording: Path, folder: Path) -> tuple[str, list[Reading]]:
    """What the sources report and what they read at the second of two snapshots."""
    first, second = recorded_tree.load(recording)
    first.lay(folder)
    clock = FakeClock()
    opened = sources(folder, clock)
    report = "\n".join(source.open().text for source in opened)
    for source in opened:
        source.read()
    second.lay(folder)
    clock.pass_time(second.steady_s - first.steady_s)
    readings = [reading for source in opened for reading in source.read()[0]]
    for source in opened:
        source.close()
    return report, readings


def test_a_virtual_machine_has_load_memory_and_pressure_and_says_what_it_has_not(tmp_path: Path) -> None:
    """The numbers are worked out by hand from the recording."""
    report, readings = replayed(RECORDINGS / "vm_2_cpus.txt", tmp_path)
    assert report == (
        "AMD EPYC; utilization of 2 CPUs in 1 package; no RAPL here: CPU power not measured;"
        " no CPU temperature sensor: hwmon has no coretemp or k10temp\n"
        "memory; pressure (PSI); no power meter: power of the node not measured\n"
        "no AMD GPU (driver amdgpu)"
    )
    cpu, node = readings
    interval_us = 1_014_790
    assert (cpu.kind, cpu.fields) == ("cpu", {"util_ratio": pytest.approx((91 + 92) / (100 + 101))})
    assert node.fields == {
        "mem_total_bytes": 24684092 * 1024,
        "mem_available_bytes": 23655064 * 1024,
        "cpu_stall_some_ratio": pytest.approx(488_134 / interval_us),
        "mem_stall_some_ratio": 0.0,
        "mem_stall_full_ratio": 0.0,
        "io_stall_some_ratio": pytest.approx(329_848 / interval_us),
        "io_stall_full_ratio": pytest.approx(88_102 / interval_us),
    }


def test_a_recording_says_what_the_machine_says(tmp_path: Path) -> None:
    """Everything that the sources read is recorded, also what is reached through links."""
    tree = AmdTree(tmp_path / "machine")
    tree.cpus([0, 0, 1, 1])
    tree.write_proc("stat", "cpu 1\n" + "".join(f"cpu{n} 1 0 0 1 0 0 0 0 0 0\n" for n in range(4)))
    tree.write_proc("meminfo", "MemTotal: 1024 kB\nMemFree: 1 kB\nMemAvailable: 512 kB\n")
    tree.clock(0, 2_000_000)
    tree.throttled(0, 5, 100)
    tree.rapl("intel-rapl:0", "package-0", 5_000_000, limit_uw=350_000_000)
    tree.rapl("intel-rapl:0:0", "dram", 3_000_000)
    tree.hwmon(0, "k10temp", {"Tctl": 50_000})
    tree.hwmon(1, "k10temp", {"Tctl": 60_000})
    tree.pci_device(0, "pci0000:00/0000:00:19.3")
    tree.pci_device(1, "pci0000:00/0000:00:18.3")
    tree.power_meter(2, 5_000_000_000)
    tree.pressure("cpu", 7, 0)
    gpu = tree.gpu("0000:05:00.0", MI300X, 1)
    (gpu / "gpu_metrics").write_bytes(metrics_1_8(65536, 1, 0, 0, 0, 0, 0))
    (tree.sysfs / "bus/pci/drivers/amdgpu/0000:05:00.0").symlink_to(gpu)
    tree.kfd_node(1, 51000, 0x0500)
    tree.kfd_process(7, vram_51000=4096)
    recording = tmp_path / "machine.txt"
    root = tmp_path / "machine"
    recording.write_text("\n".join([*recorded_tree.record(root), *recorded_tree.record(root), ""]))
    clock = FakeClock()
    machine = sources(root, clock)
    reports = "\n".join(source.open().text for source in machine)
    expected: list[Reading] = []
    for _ in range(2):
        expected = [reading for source in machine for reading in source.read()[0]]
        clock.pass_time(0.001)
    report, readings = replayed(recording, tmp_path / "replay")
    assert report == reports
    assert [reading.fields.keys() for reading in readings] == [one.fields.keys() for one in expected]
    assert [reading.fields.get("temp_c") for reading in readings] == [60.0, 50.0, None, 78.0]


@pytest.mark.parametrize("recording", sorted(RECORDINGS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_recording_gives_readings_of_each_package_and_the_node(recording: Path, tmp_path: Path) -> None:
    _, readings = replayed(recording, tmp_path)
    assert {reading.kind for reading in readings} >= {"cpu", "node"}
    assert all(
        0 <= value <= 1 for one in readings for name, value in one.fields.items() if name.endswith("_ratio")
    )

"""Processes on AMD GPUs (amd_tree.py says where their layout comes from)."""

import shutil

from tests.fakes import FakeClock
from tests.unit.agent.sources.amd_source import ONE, PATIENT, TWO, pids
from tests.unit.agent.sources.amd_tree import MI300X, RADEON, AmdTree
from thermogate.agent.sources.amd import AmdSource


def test_processes_with_memory_on_a_gpu_are_told_at_their_interval(
    tree: AmdTree, amd: AmdSource, clock: FakeClock
) -> None:
    tree.gpu(ONE, MI300X, 1)
    tree.gpu(TWO, MI300X, 2)
    tree.kfd_node(0, 0)
    tree.kfd_node(1, 51000, 0x0500)
    tree.kfd_node(2, 62000, 0x2600)
    tree.write("class/kfd/kfd/topology/generation_id", 2)
    tree.kfd_process(4711, vram_51000=170_000_000_000, vram_62000=0)
    tree.kfd_process(99, vram_51000=4096, vram_62000=0, sdma_51000=5)
    amd.open()
    assert pids(amd.read()[0]) == {"amd0": (99, 4711), "amd1": ()}
    assert pids(amd.read()[0]) == {"amd0": None, "amd1": None}
    clock.pass_time(PATIENT.processes_interval_s)
    shutil.rmtree(tree.sysfs / "class/kfd/kfd/proc/99")
    assert pids(amd.read()[0]) == {"amd0": (4711,), "amd1": ()}


def test_a_gpu_that_comes_later_is_known_by_its_processes_too(
    tree: AmdTree, amd: AmdSource, clock: FakeClock
) -> None:
    tree.gpu(ONE, MI300X, 1)
    tree.kfd_node(1, 51000, 0x0500)
    tree.write("class/kfd/kfd/topology/generation_id", 2)
    amd.open()
    amd.read()
    tree.gpu(TWO, MI300X, 2)
    tree.kfd_node(2, 62000, 0x2600)
    tree.write("class/kfd/kfd/topology/generation_id", 3)
    tree.kfd_process(7, vram_51000=0, vram_62000=1)
    clock.pass_time(PATIENT.rescan_interval_s)
    assert pids(amd.read()[0]) == {"amd0": (), "amd1": (7,)}


def test_the_parts_of_a_partitioned_gpu_are_one_gpu_with_all_their_processes(
    tree: AmdTree, amd: AmdSource
) -> None:
    tree.gpu("0001:c1:00.0", MI300X, 1)
    for part in range(2):
        tree.kfd_node(part, 7000 + part, 0xC100 | part << 28, domain=1)
    tree.kfd_process(1, vram_7000=1, vram_7001=0)
    tree.kfd_process(2, vram_7000=0, vram_7001=1)
    amd.open()
    assert pids(amd.read()[0]) == {"amd0": (1, 2)}


def test_without_kfd_nothing_is_said_of_processes(tree: AmdTree, amd: AmdSource) -> None:
    tree.gpu(ONE, RADEON, 1)
    amd.open()
    assert pids(amd.read()[0]) == {"amd0": None}

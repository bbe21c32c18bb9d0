"""AMD GPUs that sleep, hang, vanish and come (amd_tree.py says where their layout comes from)."""

import os
import shutil
import time

import pytest

from tests.fakes import FakeClock
from tests.unit.agent.sources.amd_source import ONE, PATIENT, TWO, fields, over
from tests.unit.agent.sources.amd_tree import MI300X, RADEON, AmdTree
from thermogate.agent.sources.amd import AmdSettings, AmdSource
from thermogate.core.errors import SourceError


def test_a_suspended_gpu_is_not_touched_until_it_wakes(tree: AmdTree, amd: AmdSource) -> None:
    device = tree.gpu(ONE, {**MI300X, "power/runtime_status": "suspended"}, 1)
    busy = device / "gpu_busy_percent"
    busy.unlink()
    os.mkfifo(busy)  # whoever opens it now does not come back
    assert amd.open().text == "gpuamd0 does not answer (suspended)"
    assert fields(amd) == {}
    busy.unlink()
    busy.write_text("33\n", encoding="ascii")
    (device / "power/runtime_status").write_text("active\n", encoding="ascii")
    assert fields(amd)["amd0"]["util_ratio"] == 0.33
    (device / "power/runtime_status").write_text("suspending\n", encoding="ascii")
    assert fields(amd) == {}


def test_a_gpu_that_is_taken_out_is_lost_and_back_under_its_number(
    tree: AmdTree, amd: AmdSource, clock: FakeClock
) -> None:
    tree.gpu(ONE, MI300X, 1)
    tree.gpu(TWO, MI300X, 2)
    amd.open()
    amd.read()
    tree.unplug(ONE, 1)
    readings, (lost,) = amd.read()
    assert [reading.device for reading in readings] == ["amd1"]
    assert (lost.event, lost.device) == ("gpu_lost", "amd0")
    assert lost.text == f"gpuamd0 is lost: the driver has no GPU at {ONE} of the PCI bus"
    assert amd.read()[1] == []
    clock.pass_time(12)
    tree.gpu(ONE, {**MI300X, "hwmon/hwmon5/power1_input": 99000000}, 7)
    readings, (back,) = amd.read()
    assert (back.event, back.device, back.text) == ("gpu_back", "amd0", "gpuamd0 is back after 12 s")
    assert [reading.fields["power_w"] for reading in readings] == [99.0, 712.0]


def test_a_driver_that_is_taken_off_and_put_back_at_once_is_read_through_its_new_files(
    tree: AmdTree, amd: AmdSource
) -> None:
    device = tree.gpu(ONE, {"device": "0x74a1", "hwmon/hwmon5/power1_input": 1000000}, 1)
    amd.open()
    amd.read()
    with (device / "hwmon/hwmon5/power1_input").open("w"):
        pass  # emptied: the old file answers nothing any more
    shutil.rmtree(device / "hwmon")
    tree.write(f"devices/pci0000:00/{ONE}/hwmon/hwmon8/power1_input", 2000000)
    with pytest.raises(SourceError, match=r"no file below .* gives a value"):
        amd.read()
    assert fields(amd)["amd0"]["power_w"] == 2.0


def test_a_gpu_that_comes_later_is_found_and_gets_the_next_number(
    tree: AmdTree, amd: AmdSource, clock: FakeClock
) -> None:
    tree.gpu(TWO, MI300X, 1)
    amd.open()
    tree.gpu(ONE, RADEON, 2)
    assert list(fields(amd)) == ["amd0"]
    clock.pass_time(PATIENT.rescan_interval_s)
    readings, (found,) = amd.read()
    assert (found.event, found.device) == ("gpu_found", "amd1")
    assert found.data == {"model": "AMD-744c", "uuid": "", "bus": ONE}
    assert found.text == f"gpuamd1 found: AMD 744c, {ONE} of the PCI bus"
    assert [reading.device for reading in readings] == ["amd0", "amd1"]


def test_a_gpu_that_comes_asleep_is_announced_when_it_wakes(
    tree: AmdTree, amd: AmdSource, clock: FakeClock
) -> None:
    amd.open()
    tree.gpu(ONE, {**MI300X, "power/runtime_status": "suspended"}, 1)
    clock.pass_time(PATIENT.rescan_interval_s)
    assert amd.read() == ([], [])
    tree.write(f"devices/pci0000:00/{ONE}/power/runtime_status", "active")
    assert [event.event for event in amd.read()[1]] == ["gpu_found"]
    assert amd.read()[1] == []


def test_a_driver_that_is_loaded_after_the_agent_is_found(
    tree: AmdTree, amd: AmdSource, clock: FakeClock
) -> None:
    assert not amd.open().found
    tree.gpu(ONE, MI300X, 0)
    clock.pass_time(PATIENT.rescan_interval_s)
    readings, (found,) = amd.read()
    assert (readings[0].device, found.event) == ("amd0", "gpu_found")


def test_a_gpu_whose_driver_hangs_costs_its_own_values_and_says_so(tree: AmdTree, clock: FakeClock) -> None:
    """Opening a FIFO that nobody writes blocks, as reading from a GPU that fell off the bus can do."""
    tree.gpu(TWO, MI300X, 2)
    stuck = tree.gpu(ONE, MI300X, 1) / "hwmon/hwmon5/power1_cap"
    stuck.unlink()
    os.mkfifo(stuck)
    amd = over(tree, clock, AmdSettings(read_timeout_s=0.2, open_timeout_s=0.2))
    opening = "opening the files of the driver amdgpu"
    assert f"gpuamd0 does not answer ({opening} has not returned)" in amd.open().text
    devices, events = [], []
    for _ in range(5):
        readings, said = amd.read()
        devices += [reading.device for reading in readings]
        events += said
        clock.pass_time(1)
    assert set(devices) == {"amd1"}
    assert [(event.event, event.device, event.data["call"]) for event in events] == [
        ("driver_hung", "amd0", opening)
    ]
    stuck.rename(stuck.with_name("fifo"))
    stuck.write_text("750000000\n", encoding="ascii")
    stuck.with_name("fifo").write_text("750000000\n", encoding="ascii")
    assert _first_event(amd) == ("driver_back", "amd0")
    assert {"amd0", "amd1"} <= set(fields(amd))
    amd.close()


def _first_event(amd: AmdSource) -> tuple[str, str]:
    limit_s = time.monotonic() + 30
    while time.monotonic() < limit_s:
        if events := amd.read()[1]:
            return events[0].event, events[0].device
        time.sleep(0.01)
    raise AssertionError("no event within 30 s")

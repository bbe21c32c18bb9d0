"""The structs of the stub are those of nvml.h as the real nvidia-ml-py declares them."""

import ctypes
from pathlib import Path

import pynvml
import pytest

from tests.nvml_stub.driver import StubDriver
from thermogate.agent.sources.nvml.library import plain

STRUCTS = {
    "nvml_stub_size_pci": pynvml.nvmlPciInfo_t,
    "nvml_stub_size_temperature": pynvml.c_nvmlTemperature_v1_t,
    "nvml_stub_size_margin": pynvml.c_nvmlMarginTemperature_v1_t,
    "nvml_stub_size_utilization": pynvml.c_nvmlUtilization_t,
    "nvml_stub_size_memory": pynvml.c_nvmlMemory_t,
    "nvml_stub_size_memory_v2": pynvml.c_nvmlMemory_v2_t,
    "nvml_stub_size_process": pynvml.c_nvmlProcessInfo_v3_t,
    "nvml_stub_size_field_value": pynvml.c_nvmlFieldValue_t,
    "nvml_stub_size_event_data": pynvml.c_nvmlEventData_t,
}


@pytest.mark.parametrize("size", STRUCTS)
def test_a_struct_of_the_stub_has_the_size_of_the_real_one(nvml_library: Path, size: str) -> None:
    assert getattr(ctypes.CDLL(str(nvml_library)), size)() == ctypes.sizeof(STRUCTS[size])


@pytest.mark.parametrize("struct", STRUCTS.values(), ids=lambda struct: struct.__name__)
def test_a_plain_struct_lies_in_memory_as_that_of_pynvml(struct: type[ctypes.Structure]) -> None:
    ours = plain(struct)
    assert ctypes.sizeof(ours) == ctypes.sizeof(struct)
    names = [field[0] for field in struct._fields_]
    assert [getattr(ours, n).offset for n in names] == [getattr(struct, n).offset for n in names]


def test_every_member_that_the_real_binding_reads_stands_where_the_stub_puts_it(driver: StubDriver) -> None:
    driver.mig(0, 3, gi=9, ci=1)
    driver.process("0.3", 4242, used_bytes=123)
    pynvml.nvmlInit()
    gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    (process,) = pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)
    pci = pynvml.nvmlDeviceGetPciInfo(gpu)
    memory = pynvml.nvmlDeviceGetMemoryInfo(gpu, version=pynvml.nvmlMemory_v2)
    mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 3)
    assert (process.pid, process.usedGpuMemory, process.gpuInstanceId, process.computeInstanceId) == (
        4242,
        123,
        9,
        1,
    )
    assert (pci.busId, pci.domain, pci.bus, pci.device) == ("00000000:10:00.0", 0, 0x10, 0)
    assert (memory.used, memory.total) == (76_543_210_000, 85_520_809_984)
    assert pynvml.nvmlDeviceGetMarginTemperature(gpu) == 24
    assert pynvml.nvmlDeviceGetGpuInstanceId(mig) == 9
    pynvml.nvmlShutdown()

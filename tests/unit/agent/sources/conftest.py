"""What the tests of sources stand on: a stub of the NVIDIA driver, and small trees of the kernel's."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from tests.fakes import FakeClock
from tests.nvml_stub.driver import STATE_VARIABLE, StubDriver, build
from tests.unit.agent.sources import amd_source, cpu_source
from tests.unit.agent.sources.amd_tree import AmdTree
from thermogate.agent.sources.amd import AmdSource
from thermogate.agent.sources.cpu import CpuSource


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stub, compiled once."""
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubDriver]:
    """A driver with 8 GPUs that the real pynvml talks to; what hangs is released in the end."""
    stub = StubDriver(tmp_path)
    monkeypatch.setenv(STATE_VARIABLE, str(stub.state))
    library = ctypes.CDLL(str(nvml_library))
    library.nvml_stub_reset()
    monkeypatch.setattr(pynvml, "nvmlLib", library)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    yield stub
    stub.release()


@pytest.fixture
def tree(tmp_path: Path) -> AmdTree:
    """An empty tree, for CPUs, the node and AMD GPUs alike."""
    return AmdTree(tmp_path)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def times(tree: AmdTree) -> cpu_source.Stat:
    """Counters of four CPUs."""
    return cpu_source.Stat(tree, 4)


@pytest.fixture
def source(tree: AmdTree, clock: FakeClock, times: cpu_source.Stat) -> Iterator[CpuSource]:
    """The CPUs of the tree."""
    source = cpu_source.over(tree, clock)
    yield source
    source.close()


@pytest.fixture
def amd(tree: AmdTree, clock: FakeClock) -> Iterator[AmdSource]:
    """The AMD GPUs of the tree."""
    source = amd_source.over(tree, clock)
    yield source
    source.close()

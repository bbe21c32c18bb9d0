"""The stub of the NVIDIA driver in place of the real one."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from tests.nvml_stub.driver import STATE_VARIABLE, StubDriver, build


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

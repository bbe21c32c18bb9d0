"""The stub as the NVML of this process, for as long as a block lasts."""

import contextlib
import ctypes
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from tests.nvml_stub.driver import BESIDES, H100, STATE_VARIABLE, StubDriver, build


@functools.cache
def _library() -> tuple[tempfile.TemporaryDirectory[str], Path]:
    folder = tempfile.TemporaryDirectory(prefix="thermogate-nvml-")
    return folder, build(Path(folder.name))


def library() -> Path:
    """The stub, compiled once in this process."""
    return _library()[1]


@contextlib.contextmanager
def loaded(folder: Path, count: int = 4) -> Iterator[StubDriver]:
    """A driver whose GPUs have power limits, for the real pynvml; what hangs is released in the end."""
    with pytest.MonkeyPatch.context() as patch:
        stub = StubDriver(folder, count, H100 | BESIDES)
        patch.setenv(STATE_VARIABLE, str(stub.state))
        found = ctypes.CDLL(str(library()))
        found.nvml_stub_reset()
        patch.setattr(pynvml, "nvmlLib", found)
        patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        try:
            yield stub
        finally:
            stub.release()

"""What the tests of trainers share: skip without PyTorch, a gate in the environment, small trainings."""

import importlib.util
import os

import pytest

PACKAGES = ("torch", "transformers", "lightning")


def need(*names: str) -> None:
    """Skip the module where a package is missing, or fail in CI, which has them by `make check`."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        reason = f"{', '.join(missing)} is not installed: make trainers"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason, allow_module_level=True)

"""The thread that follows the gate for programs without an event loop."""

import pytest

from thermogate.schedulers.client import Client


def test_a_thread_that_cannot_begin_lets_nobody_wait_for_it():
    def breaks():
        raise ModuleNotFoundError("No module named 'cryptography'")

    with pytest.raises(ModuleNotFoundError, match="cryptography"):
        Client(breaks, scheduler="trainer", host="n0").open(5.0)

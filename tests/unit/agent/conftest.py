"""A spool that is opened again and again, on a disk and a clock that misbehave when told to."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.agent.faulty_disk import FaultyDisk, MachineClock
from thermogate.agent.spool import Spool, SpoolSettings

SMALL = SpoolSettings(max_bytes=256 * 1024)
OpenSpool = Callable[..., Spool]


@pytest.fixture
def machine_clock() -> MachineClock:
    return MachineClock()


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def opened(tmp_path: Path, machine_clock: MachineClock, disk: FaultyDisk) -> Iterator[OpenSpool]:
    """Opens the same directory again and again; what is still open at the end is closed."""
    last: list[Spool] = []

    def open_it(settings: SpoolSettings = SMALL) -> Spool:
        spool = Spool(tmp_path / "spool", settings, machine_clock, disk)
        spool.open()
        last[:] = [spool]
        return spool

    yield open_it
    if last:
        try:
            os.fstat(last[0]._lock)
        except OSError:
            return
        last[0].close()

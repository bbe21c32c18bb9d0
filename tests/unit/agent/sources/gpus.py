"""NVIDIA GPUs in tests: a source on the stub driver, and the kernel's list of GPUs."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.fakes import FakeClock
from thermogate.agent.sources.base import Reading, SourceEvent
from thermogate.agent.sources.host import HostSettings
from thermogate.agent.sources.nvidia import NvidiaSettings, NvidiaSource

NOT_SUPPORTED, TIMEOUT, FUNCTION_NOT_FOUND, IS_LOST, RESET_REQUIRED, UNKNOWN = 3, 10, 13, 15, 16, 999

HOST = HostSettings()
PATIENT = NvidiaSettings(read_timeout_s=5.0)
HASTY = NvidiaSettings(read_timeout_s=0.5)


@contextlib.contextmanager
def opened(
    settings: NvidiaSettings = PATIENT, clock: FakeClock | None = None, host: HostSettings = HOST
) -> Iterator[NvidiaSource]:
    source = NvidiaSource(settings, host, clock or FakeClock())
    source.open()
    try:
        yield source
    finally:
        source.close()


def fields_of(readings: list[Reading], device: str) -> dict[str, float | int]:
    return next((reading.fields for reading in readings if reading.device == device), {})


def told(events: list[SourceEvent]) -> list[tuple[str, str]]:
    return [(event.event, event.device) for event in events]


def read_until(
    source: NvidiaSource, condition: Callable[[list[Reading], list[SourceEvent]], bool], limit_s: float = 20.0
) -> tuple[list[Reading], list[SourceEvent]]:
    """Read until the last readings and all events so far are as wanted; what is in threads takes its time."""
    events: list[SourceEvent] = []
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        readings, news = source.read()
        events += news
        if condition(readings, events):
            return readings, events
        time.sleep(0.02)
    raise AssertionError(f"not within {limit_s:g} s: {events}")


class Bus:
    """The kernel's list of the GPUs that the NVIDIA driver drives, in a folder."""

    def __init__(self, folder: Path, count: int = 8) -> None:
        self.root = folder / "sys"
        self.host = HostSettings(sysfs_root=str(self.root))
        self._driver = self.root / "bus/pci/drivers/nvidia"
        self._serial = 0
        self._driver.mkdir(parents=True)
        (self._driver / "bind").touch()
        for gpu in range(count):
            self.plug(gpu)

    def plug(self, gpu: int) -> None:
        # A name of its own keeps the number of an inode from being used again at once.
        self._serial += 1
        device = self.root / f"devices/{self._serial}"
        device.mkdir(parents=True)
        (self._driver / _address(gpu)).symlink_to(device)

    def unplug(self, gpu: int) -> None:
        (self._driver / _address(gpu)).unlink()


def _address(gpu: int) -> str:
    return f"0000:{0x10 + gpu:02x}:00.0"

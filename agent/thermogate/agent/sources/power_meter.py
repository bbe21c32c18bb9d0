"""Power of the whole node as its BMC measures it, through the ACPI power meter.

hwmon driver `power_meter`, Documentation/hwmon/acpi_power_meter.rst: `power1_average` is the mean over
`power1_average_interval` (ms), which is the meter's own and may be far longer than a sample. The files
lie in the hwmon directory or, on older kernels, in the device below it.
"""

from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.sysfs import numbered, read_int, read_text
from thermogate.agent.sources.worker import Worker

_UNKNOWN_UW = 0xFFFFFFFF * 1000
"""What a meter that cannot measure says (ACPI 6.5, 10.4.1); newer kernels make an error of it."""


class PowerMeter:
    """`power_w`, read in a thread of its own: a BMC may take long to answer, or never do."""

    def __init__(self, sysfs: Path, name: str) -> None:
        self._root = sysfs / "class/hwmon"
        self._wanted = name
        self._path: Path | None = None
        self._worker = Worker[int | None]("power-meter")
        self._answer: Future[int | None] | None = None
        self._late = False

    @property
    def found(self) -> bool:
        """Whether there is a meter to read."""
        return self._path is not None

    def open(self) -> str:
        """Find the meter. What was found or why nothing was, for a person."""
        meters = list(self._meters())
        named = [(name, path) for name, path in meters if not self._wanted or name == self._wanted]
        names = ", ".join(repr(name) for name, _ in meters)
        if not meters:
            return "no power meter: power of the node not measured"
        if not named:
            return f"no power meter is called {self._wanted!r}: there are {names}"
        if len(named) > 1:
            return f"power of the node not measured: agent.host.power_meter must say which of {names}"
        return self._take(named[0][1])

    def begin(self) -> None:
        """Ask the meter, unless it still has not answered the last time."""
        path = self._path
        self._late = self._answer is not None and not self._answer.done()
        if path is not None and not self._late:
            self._answer = self._worker.submit(lambda: read_int(path))

    def collect(self, timeout_s: float) -> Fields:
        """What the meter has answered to the last `begin` by then; an answer that is late is dropped."""
        if self._answer is None or self._late:
            return {}
        wait([self._answer], timeout_s)
        power_uw = self._answer.result() if self._answer.done() else None
        # A node that runs the agent uses some power: 0 is a meter that measures nothing.
        return {"power_w": power_uw / 1e6} if power_uw and power_uw < _UNKNOWN_UW else {}

    def close(self) -> None:
        """Let the thread end; a meter that hangs keeps it."""
        self._worker.stop()

    def _meters(self) -> Iterator[tuple[str, Path]]:
        """Name and directory of each meter."""
        for hwmon in numbered(self._root, "hwmon"):
            for folder in (hwmon, hwmon / "device"):
                if read_text(hwmon / "name") != "power_meter" and read_text(folder / "name") != "power_meter":
                    continue
                if (folder / "power1_average").exists():
                    yield read_text(folder / "power1_oem_info") or "", folder
                    break

    def _take(self, folder: Path) -> str:
        self._path = folder / "power1_average"
        interval_ms = read_int(folder / "power1_average_interval")
        mean = f", a mean over {interval_ms / 1000:g} s" if interval_ms else ""
        return f"power from the ACPI power meter{mean}"

"""The node around the devices: its power, memory and pressure."""

from pathlib import Path

from thermogate.agent.sources.base import Fields, Reading, SourceEvent
from thermogate.agent.sources.host import HostSettings
from thermogate.agent.sources.memory import MemoryReader
from thermogate.agent.sources.power_meter import PowerMeter
from thermogate.agent.sources.pressure import PressureReader
from thermogate.core.clock import Clock
from thermogate.core.model import DeviceInfo, SourceReport


class NodeSource:
    """One reading for the node as a whole; it is not a device with a number."""

    name = "node"
    frugal = False

    def __init__(self, host: HostSettings, clock: Clock) -> None:
        self._timeout_s = host.power_timeout_s
        self._interval_s = host.node_interval_s
        self._clock = clock
        self._meter = PowerMeter(Path(host.sysfs_root), host.power_meter)
        self._memory = MemoryReader(Path(host.procfs_root))
        self._pressure = PressureReader(Path(host.procfs_root))

    @property
    def interval_s(self) -> float:
        """Power is worth every tick, memory and pressure are not: pressure is exact over any time."""
        return 0.0 if self._meter.found else self._interval_s

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """None: the node has no model and no limits."""
        return ()

    def open(self) -> SourceReport:
        """Find what there is; the report also says what is not measured and why."""
        found = (self._memory.open(), self._pressure.open(), self._meter.open())
        return SourceReport(self.name, True, "; ".join(found))

    def read(self) -> tuple[list[Reading], list[SourceEvent]]:
        """What the node measures now, {} never; nothing of this kind has events."""
        self._meter.begin()
        fields: Fields = {}
        if not self.frugal:
            fields |= self._memory.read()
            fields |= self._pressure.read(self._clock.steady_s())
        fields |= self._meter.collect(self._timeout_s)
        return ([Reading("node", "", fields)] if fields else []), []

    def close(self) -> None:
        """Close all files."""
        self._meter.close()
        self._memory.close()
        self._pressure.close()

"""A fleet made of recorded traces: which node plays what, so that every sample can be told again.

A trace is one recorded device with RLE computed once: every simulated device plays one of them, from a place
of its own, a recorded row a tick, round and round. Pure.
"""

from collections.abc import Iterator

import msgspec

from thermogate.agent import recording
from thermogate.agent.config import RleSettings
from thermogate.agent.pipeline import Pipeline
from thermogate.agent.recording import Recording
from thermogate.agent.throttle import ThrottleSettings
from thermogate.core.clock import NS
from thermogate.core.model import DeviceInfo, Event, Origin

ORIGIN: Origin = "simulated"
_SPREAD = (7919, 104_729)
"""Steps through a trace from node to node and from device to device: primes, so that whatever the length of
a trace, neighbours are far apart in it."""


class Trace(msgspec.Struct, frozen=True):
    """One recorded device.

    `rows` are the fields of each tick in line protocol, "" where nothing was measured; `events` are what
    begins or ends there, by row, of no node and device "0".
    """

    device: DeviceInfo
    rows: tuple[str, ...]
    events: dict[int, tuple[Event, ...]]


class Played(msgspec.Struct, frozen=True):
    """One device of a node: which trace it plays, and from which row on."""

    device: DeviceInfo
    trace: Trace
    offset: int

    def row(self, tick: int) -> int:
        """The row of the trace at a tick of the node."""
        return (self.offset + tick) % len(self.trace.rows)


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that tells, for a node and the number of its tick, what its devices say."""

    prefix: str
    nodes: int
    gpus: int
    period_s: float
    traces: tuple[Trace, ...]

    def name(self, index: int) -> str:
        """Of a node, which are counted from 0: sim-0001 is the first."""
        return f"{self.prefix}-{index + 1:04}"

    def devices(self, index: int) -> tuple[Played, ...]:
        """The GPUs of a node and, where one was recorded, its CPU."""
        gpus = [trace for trace in self.traces if trace.device.kind == "gpu"]
        cpus = [trace for trace in self.traces if trace.device.kind == "cpu"]
        found = [_played(gpus, index * self.gpus + gpu, index, gpu, str(gpu)) for gpu in range(self.gpus)]
        if cpus:
            found.append(_played(cpus, index, index, self.gpus, "0"))
        return tuple(found)


def traces_of(recorded: Recording, devices: tuple[DeviceInfo, ...], rle: RleSettings) -> Iterator[Trace]:
    """A trace of each device, with RLE as its node would have computed it."""
    for info in devices:
        rows = recorded.of((("gpu" if info.kind == "gpu" else "cpu"), info.device))
        if rows:
            yield _trace(rows, msgspec.structs.replace(info, device="0"), rle)


def _trace(rows: tuple[recording.Row, ...], info: DeviceInfo, rle: RleSettings) -> Trace:
    """The second round through the rows: the first ends whatever the last row leaves open."""
    pipeline = Pipeline("-", ORIGIN, rle, ThrottleSettings())
    pipeline.describe([info])
    told: list[str] = []
    events: dict[int, tuple[Event, ...]] = {}
    for _ in range(2):
        told.clear()
        events.clear()
        for number, row in enumerate(rows):
            reading = msgspec.structs.replace(recording.reading(row), device="0")
            line, said = pipeline.step((reading,), 0, (row.time_ns - rows[0].time_ns) / NS)
            told.append(line.split(" ")[1] if line else "")
            if said:
                events[number] = tuple(said)
    return Trace(info, tuple(told), events)


def _played(traces: list[Trace], which: int, node: int, device: int, number: str) -> Played:
    trace = traces[which % len(traces)]
    offset = (node * _SPREAD[0] + device * _SPREAD[1]) % len(trace.rows)
    return Played(msgspec.structs.replace(trace.device, device=number), trace, offset)

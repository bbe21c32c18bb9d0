"""Messages that cross from one process to another, as they are encoded."""

from typing import Literal

import msgspec

from thermogate.core.schema import VERSION, Kind

Origin = Literal["replay", "simulated"]
"""Where samples come from when they are not measured now; absent for live sensors."""

EventKind = Literal[
    "collapse_began",
    "collapse_ended",
    "throttle_began",
    "throttle_ended",
    "xid",
    "gpu_found",
    "gpu_lost",
    "gpu_back",
    "driver_hung",
    "driver_back",
    "source_failed",
    "source_back",
    "job_began",
    "job_ended",
    "samples_dropped",
    "clock_jumped",
    "frugal_began",
    "frugal_ended",
    "gate_applied",
]


JobManager = Literal["slurm", "pod", "container", "unit", "user"]
"""What a job belongs to, as its events tell (`manager`)."""

UNIQUE_JOBS: tuple[JobManager, ...] = ("slurm", "pod", "container")
"""Managers that give an id once, on all nodes and at all times. A unit or a user is a job of its own on
each node, and again after a pause."""


class DeviceInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One device as its node describes it.

    `device` is its number on the node ("0"), `model` is fit for a tag ([A-Za-z0-9._-]) and
    `name` is the vendor's own. `assumed` names the limits that were given by a setting or a
    published default, not read from the device. `power_kind` says what `power_w` is: of this
    instant, or a mean that the device keeps (over the last second). `parent` is the device of which
    this one is a part (MIG). `bus` is its address (PCI).
    """

    kind: Kind
    device: str
    model: str
    name: str = ""
    uuid: str = ""
    rated_power_w: float | None = None
    temp_limit_c: float | None = None
    temp_shutdown_c: float | None = None
    power_kind: Literal["", "instant", "average"] = ""
    parent: str = ""
    bus: str = ""
    assumed: tuple[str, ...] = ()


class SourceReport(msgspec.Struct, frozen=True):
    """What a source found on its node, or why it found nothing, in one sentence."""

    source: str
    found: bool
    text: str


class Status(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Retained on `node/<node>/status`; the offline form is the last will."""

    node: str
    online: bool
    time_ns: int
    schema: str = VERSION
    version: str = ""
    origin: Origin | None = None
    spool: str = ""
    spool_depth: int = 0
    period_s: float = 1.0
    devices: tuple[DeviceInfo, ...] = ()
    sources: tuple[SourceReport, ...] = ()
    text: str = ""


class Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Something that began or ended on a device, on `node/<node>/event`.

    `kind` of device and `device` are empty for an event of the node itself. `text` is one
    sentence for a person; `data` the same as numbers, units in the names. (node, device_kind,
    device, event, time_ns) is unique: storing an event twice is harmless. `ack` asks for a prompt
    acknowledgement, as in a telemetry header.
    """

    node: str
    event: EventKind
    time_ns: int
    text: str
    schema: str = VERSION
    device_kind: Kind | Literal[""] = ""
    device: str = ""
    data: dict[str, float | str] = {}
    origin: Origin | None = None
    spool: str = ""
    seq: int = 0
    ack: bool = False


class Ack(msgspec.Struct, frozen=True):
    """On `node/<node>/ack`: inclusive ranges of sequence numbers that the store has for good."""

    spool: str
    stored: tuple[tuple[int, int], ...]

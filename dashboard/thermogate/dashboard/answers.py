"""The questions people ask, answered from any store: what the HTTP API serves and the CLI prints."""

from collections.abc import AsyncIterator, Callable
from typing import Literal

import msgspec

from thermogate.core.decision import GateDecision
from thermogate.core.model import Event, Origin, Status
from thermogate.core.query import Device, Query, Ranked, Reduction, Series
from thermogate.core.schema import Kind

DeviceState = Literal["repair", "collapse", "hot", "stale", "offline", "ok"]
"""What a person should know of a device, most urgent first."""


class FleetRow(msgspec.Struct, frozen=True, kw_only=True):
    """A device now. A value that is absent is None; `text` says in a few words why `state` is so."""

    node: str
    kind: Kind
    device: str
    model: str
    origin: Origin | None
    time_ns: int
    age_s: float
    state: DeviceState
    text: str
    util_ratio: float | None = None
    temp_c: float | None = None
    temp_limit_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    rle: float | None = None
    t_sustain_s: float | None = None
    fingerprint: str | None = None
    gate: GateDecision | None = None


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """What runs here. `counters` are the collector's: stored, quarantined and so on."""

    version: str
    now_ns: int
    started_ns: int
    broker_url: str = ""
    store: str = ""
    counters: dict[str, int] = {}

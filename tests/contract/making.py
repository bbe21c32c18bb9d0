"""What is written in tests of stores: telemetry messages, events, decisions and statuses."""

import time
from typing import Any

from thermogate.collector.store.base import Batch, Store
from thermogate.core.clock import NS
from thermogate.core.decision import Cjp, GateDecision, Reason, State
from thermogate.core.model import Event, Origin, Status
from thermogate.core.query import Device
from thermogate.core.wire import Point, format_header, format_line

NOW_NS = time.time_ns() // (60 * NS) * (60 * NS) - 60 * NS
"""On a whole minute, just past: InfluxDB refuses what is past its retention."""
GPU0 = Device("n1", "gpu", "0")


def sample(
    age_s: float = 0,
    node: str = "n1",
    device: str = "0",
    *,
    kind: str = "gpu",
    model: str = "H100-SXM",
    origin: Origin | str = "",
    **fields: float,
) -> Point:
    """A sample `age_s` before NOW_NS."""
    given = {name: float(value) for name, value in (fields or {"temp_c": 60.0}).items()}
    return Point(kind, node, device, model, origin, given, NOW_NS - round(age_s * NS))


def message(*points: Point, seq: int = 1, ack: bool = False) -> bytes:
    """A telemetry payload of one node."""
    lines = [
        format_line(p.measurement, p.node, p.device, p.model, p.origin or None, p.fields, p.time_ns)
        for p in points
    ]
    return format_header(points[0].node, "3f2a", seq, ack=ack) + "".join(lines).encode()


def event(age_s: float = 0, node: str = "n1", device: str = "0", **more: Any) -> Event:
    given = {"event": "collapse_began", "text": f"{node} gpu{device}", "device_kind": "gpu", **more}
    return Event(node=node, device=device, time_ns=NOW_NS - round(age_s * NS), **given)


def decision(number: int, age_s: float = 0, target: str = "n1", **more: Any) -> GateDecision:
    issued_ns = NOW_NS - round(age_s * NS)
    given: dict[str, Any] = {"kind": "node", "state": State.HOLD, "why": f"decision {number}", **more}
    return GateDecision(
        id=f"D{number:025}",
        seq=number,
        target=target,
        pace=0.5,
        mode="shadow",
        issued_at_ns=issued_ns,
        expires_at_ns=issued_ns + 60 * NS,
        policy="thermal",
        policy_version=1,
        because=(Reason(metric="temp_c", value=91.0, threshold=83.0, unit="degC"),),
        cjp=Cjp("none", "hot", "cool down"),
        inputs="digest",
        **given,
    )


def status(node: str = "n1", age_s: float = 0, **more: Any) -> Status:
    return Status(node=node, time_ns=NOW_NS - round(age_s * NS), **{"online": True, **more})


async def write(store: Store, *points: Point) -> None:
    """Each sample as a message of its own, in one batch."""
    await store.write(Batch(telemetry=tuple(message(point) for point in points)))


async def stored(store: Store, **where: Any) -> list[Point]:
    """Every sample, in the order in which the store gives them."""
    given = {"start_ns": 0, "end_ns": 2**62, **where}
    return [point async for chunk in store.samples(**given) for point in chunk]

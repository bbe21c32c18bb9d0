"""What is remembered of one node to make observations: how far its samples have come. Pure.

After an outage a node sends its backlog beside what is live. The gate decides about now, so what is
older than the newest of its device is left out here, for every policy alike.
"""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from thermogate.analytics.policies.base import MAX_DEVICES, Observation, device_name
from thermogate.core.model import DeviceInfo, Event, Origin, Status
from thermogate.core.schema import DEVICE_KINDS
from thermogate.core.wire import Point


class History(Struct, frozen=True):
    """The newest sample of each device, the time reached, and the node's inventory."""

    newest_ns: dict[str, int] = {}
    now_ns: int = 0
    inventory: dict[str, DeviceInfo] = {}


def describe(history: History, status: Status) -> History:
    """Take the node's inventory from its status."""
    inventory = {device_name(info.kind, info.device): info for info in status.devices[:MAX_DEVICES]}
    return replace(history, inventory=inventory)


def observe_points(
    history: History, node: str, points: Iterable[Point]
) -> tuple[History, Observation | None]:
    """The observation of one telemetry message; None when nothing in it is new."""
    newest_ns = dict(history.newest_ns)
    fresh = [point for point in points if point.measurement in DEVICE_KINDS and _is_new(newest_ns, point)]
    if not fresh:
        return history, None
    now_ns = max(history.now_ns, *(point.time_ns for point in fresh))
    observation = Observation(
        target=node,
        now_ns=now_ns,
        points=tuple(fresh),
        inventory=history.inventory,
        origin=_origin(fresh[0].origin),
    )
    return History(newest_ns, now_ns, history.inventory), observation


def observe_event(history: History, event: Event) -> Observation:
    """The observation of one event. Only samples move time on: an event may come late, or of a
    clock that was wrong for a moment."""
    return Observation(
        target=event.node,
        now_ns=history.now_ns or event.time_ns,
        events=(event,),
        inventory=history.inventory,
        origin=event.origin,
    )


def _is_new(newest_ns: dict[str, int], point: Point) -> bool:
    """Whether the point is the newest of its device; if so it is noted in `newest_ns`."""
    name = device_name(point.measurement, point.device)
    before_ns = newest_ns.get(name)
    if before_ns is None and len(newest_ns) >= MAX_DEVICES:
        return False
    if before_ns is not None and point.time_ns <= before_ns:
        return False
    newest_ns[name] = point.time_ns
    return True


def _origin(tag: str) -> Origin | None:
    return "replay" if tag == "replay" else "simulated" if tag == "simulated" else None

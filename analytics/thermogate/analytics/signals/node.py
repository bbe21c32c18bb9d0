"""The signals of a node's devices, message by message."""

import msgspec

from thermogate.analytics.config import SignalSettings
from thermogate.analytics.policies.base import MAX_DEVICES, device_name, full_power_w
from thermogate.analytics.signals.heat import Heat, load_of, overload, temp_of, warm
from thermogate.analytics.signals.variation import Variation, vary, volatility
from thermogate.analytics.signals.wear import NEW, Wear, repair_severity, wear
from thermogate.core.gate_messages import DeviceSignals
from thermogate.core.model import DeviceInfo
from thermogate.core.schema import DEVICE_KINDS
from thermogate.core.wire import Point


class Device(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of one device up to `time_ns`; None where it has not said what it takes.

    `uuid` is "" while its node has not said it: another device of the same number begins anew.
    """

    time_ns: int
    variation: Variation | None = None
    heat: Heat | None = None
    wear: Wear = NEW
    uuid: str = ""


class NodeState(msgspec.Struct, frozen=True):
    """What is remembered of a node's devices, by name ("gpu0"). The same size however long it goes on."""

    devices: dict[str, Device] = {}


def initial() -> NodeState:
    """A node of which nothing has been seen."""
    return NodeState()


def step(
    params: SignalSettings, state: NodeState, points: tuple[Point, ...], inventory: dict[str, DeviceInfo]
) -> tuple[NodeState, dict[str, DeviceSignals]]:
    """The state after the samples, and the signals then of each device that is in them.

    A sample that is not newer than the last of its device changes nothing. A signal is None before its
    windows are full, and of what was not measured.
    """
    devices = dict(state.devices)
    signals: dict[str, DeviceSignals] = {}
    for point in points:
        if point.measurement not in DEVICE_KINDS:
            continue
        name = device_name(point.measurement, point.device)
        before = devices.get(name)
        if before is None and len(devices) >= MAX_DEVICES:
            continue
        if before is not None and point.time_ns <= before.time_ns:
            continue
        devices[name], signals[name] = _sample(params, before, name, point, inventory.get(name))
    return NodeState(devices), signals


def _sample(
    params: SignalSettings, before: Device | None, name: str, point: Point, info: DeviceInfo | None
) -> tuple[Device, DeviceSignals]:
    time_ns, fields = point.time_ns, point.fields
    uuid = info.uuid if info is not None else ""
    if before is None or (uuid and before.uuid and uuid != before.uuid):
        known = Device(time_ns)
    else:
        known, uuid = before, uuid or before.uuid
    variation, heat, worn = known.variation, known.heat, known.wear
    rle, temp_c = fields.get("rle"), temp_of(point)
    rated_w = full_power_w(point, info)
    load = load_of(fields.get("power_w"), rated_w)
    if rle is not None:
        variation = vary(params, variation, time_ns, rle)
    if load is not None and rated_w is not None and temp_c is not None:
        heat = warm(params, heat, time_ns, load, rated_w, temp_c)
        worn = wear(params, worn, heat, temp_c)
    varies = volatility(params, variation) if variation is not None and variation.time_ns == time_ns else None
    overloaded = None
    if varies is not None and heat is not None and heat.time_ns == time_ns:
        limit_c = fields.get("temp_limit_c", info.temp_limit_c if info is not None else None)
        overloaded = overload(params, varies, heat, limit_c)
    return Device(time_ns, variation, heat, worn, uuid), DeviceSignals(
        device=name, volatility=varies, overload=overloaded, repair_severity=repair_severity(params, worn)
    )

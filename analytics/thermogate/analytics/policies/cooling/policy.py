"""The cooling policy: REPAIR for GPUs that are harder to cool than their peers."""

from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

from msgspec.structs import replace

from thermogate.analytics.config import CoolingSettings
from thermogate.analytics.policies import sane
from thermogate.analytics.policies.alarms import Alarm, Finding, key_of
from thermogate.analytics.policies.base import Observation, Peers, Verdict, device_name, full_power_w
from thermogate.analytics.policies.cooling.memory import CoolingState
from thermogate.analytics.policies.cooling.window import Device, take
from thermogate.analytics.policies.cooling.words import CoolingVoice
from thermogate.analytics.policies.standing import go_on
from thermogate.core.clock import NS
from thermogate.core.decision import Reason
from thermogate.core.model import DeviceInfo

_RULE = "resistance"


class Comparison(NamedTuple):
    """How a device compares: its share above the median of its peers, in robust deviations, and the share
    above the median of its neighbours (None: there are none, or it does not matter)."""

    ratio: float
    z: float
    beside_ratio: float | None


def step(
    params: CoolingSettings, state: CoolingState, observation: Observation
) -> tuple[CoolingState, Verdict]:
    """The node after an observation of it, and what it should do."""
    devices = dict(state.devices)
    measured: list[str] = []
    for point in observation.points:
        if point.measurement != "gpu":
            continue
        name = device_name("gpu", point.device)
        info = observation.inventory.get(name)
        before = _same(params, devices.get(name), info)
        rated_w = sane.rated(full_power_w(point, info))
        devices[name], is_new = take(
            params, before, point, point.model or (info.model if info else ""), rated_w
        )
        if is_new:
            measured.append(name)
    for name in measured:
        devices[name] = _counted(params, devices, name, observation.peers)
    if measured:
        devices = _fresh(params, devices, observation.now_ns)
    found = _judge(params, state.standing.alarms, devices, measured, observation)
    standing, verdict = go_on(CoolingVoice(params, devices), state.standing, found, observation.now_ns)
    return CoolingState(devices, standing), verdict


def compare(
    params: CoolingSettings, devices: Mapping[str, Device], name: str, peers: Peers | None
) -> Comparison | None:
    """How a device compares; None where it has too few peers."""
    if peers is None or peers.count < params.min_peers:
        return None
    own = devices[name]
    excess = own.k_per_w - peers.median_k_per_w
    z = excess / max(peers.spread_k_per_w, 1e-9)
    beside = [
        device.k_per_w
        for other, device in devices.items()
        if other != name and device.model == own.model and device.resistances
    ]
    beside_ratio = own.k_per_w / median(beside) - 1 if beside and params.inlet_c is None else None
    return Comparison(excess / peers.median_k_per_w, min(z, 1e6), beside_ratio)


def _counted(
    params: CoolingSettings, devices: Mapping[str, Device], name: str, peers: Mapping[str, Peers]
) -> Device:
    """The device after a new resistance: one window more in which it stands out, or is back."""
    device = devices[name]
    compared = compare(params, devices, name, peers.get(device.model))
    if compared is None:
        return device
    ratio, z, beside_ratio = compared
    least_ratio = ratio if beside_ratio is None else min(ratio, beside_ratio)
    is_out = least_ratio >= params.excess_ratio and z >= params.excess_z
    is_back = least_ratio < params.back_ratio
    return replace(device, out=device.out + 1 if is_out else 0, back=device.back + 1 if is_back else 0)


def _judge(
    params: CoolingSettings,
    alarms: Mapping[str, Alarm],
    devices: Mapping[str, Device],
    measured: list[str],
    observation: Observation,
) -> dict[str, Finding]:
    found: dict[str, Finding] = {}
    for name in measured:
        device = devices.get(name)
        if device is None or device.out < params.out_windows:
            continue
        compared = compare(params, devices, name, observation.peers.get(device.model))
        if compared:
            found[key_of(_RULE, name)] = Finding(_alarm(params, name, device, compared, observation))
    for key, alarm in alarms.items():
        device, listed = devices.get(alarm.device), observation.inventory
        if listed and alarm.device not in listed:
            found[key] = Finding(calm=True)
        elif key not in found and device is not None:
            found[key] = Finding(calm=device.back >= params.back_windows)
    return found


def _alarm(
    params: CoolingSettings, name: str, device: Device, compared: Comparison, observation: Observation
) -> Alarm:
    peers = observation.peers[device.model]
    window_s = params.window_s * params.windows
    resistance = Reason(
        metric="thermal_resistance_k_per_w",
        value=round(device.k_per_w, 4),
        threshold=round(peers.median_k_per_w * (1 + params.excess_ratio), 4),
        unit="K/W",
        window_s=window_s,
        device=name,
    )
    z = Reason(metric="robust_z", value=round(compared.z, 1), threshold=params.excess_z, device=name)
    return Alarm(rule=_RULE, device=name, since_ns=observation.now_ns, pace=0.0, because=(resistance, z))


def _same(params: CoolingSettings, before: Device | None, info: DeviceInfo | None) -> Device:
    """The device as it was, or a new one: another GPU in its place starts with a good name."""
    uuid = info.uuid if info else ""
    if before is None:
        return Device(uuid=uuid)
    if not uuid or uuid == before.uuid:
        return before
    return replace(before, uuid=uuid) if not before.uuid else Device(uuid=uuid, back=params.back_windows)


def _fresh(params: CoolingSettings, devices: dict[str, Device], now_ns: int) -> dict[str, Device]:
    """The devices, less resistances that are too old, and devices that have not been seen for as long."""
    oldest_ns = now_ns - int(params.fresh_s * NS)
    return {
        name: device if device.measured_ns > oldest_ns else replace(device, resistances=(), out=0)
        for name, device in devices.items()
        if device.seen_ns > oldest_ns
    }

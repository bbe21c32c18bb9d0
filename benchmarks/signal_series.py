"""The regulator's signals over recordings, and what the health policy does with them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from msgspec.structs import replace

from benchmarks.signal_recordings import Node, Recording, Row, by_instant
from thermogate.analytics import signals
from thermogate.analytics.config import HealthSettings, SignalSettings
from thermogate.analytics.policies import health
from thermogate.analytics.policies.base import JobObservation, Member, Observation
from thermogate.core.clock import NS
from thermogate.core.gate_messages import DeviceSignals
from thermogate.core.wire import Point

SHIPPED = SignalSettings()
BOUNDS = HealthSettings()
_NEVER = 1e9

Series = list[tuple[int, dict[str, DeviceSignals]]]
"""(UTC nanoseconds, signals by device) of each message."""


class Alarm(NamedTuple):
    """Where the health policy first said something: which rule, about which device, when."""

    rule: str
    device: str
    time_ns: int


def node_series(
    params: SignalSettings, recordings: Sequence[Recording], change: Callable[[Row], Row] = lambda row: row
) -> Series:
    """The signals over recordings of one machine, one after the other, each row changed by `change`."""
    node, state, series = Node(), signals.initial(), []
    for recording in recordings:
        for rows in by_instant(recording.rows):
            points = tuple(node.point(recording, change(row)) for row in rows)
            state, found = signals.step(params, state, points, {})
            series.append((rows[0].time_ns, found))
    return series


def job_series(params: SignalSettings, job: Sequence[Recording]) -> Series:
    """The incoherence of a job's devices, looked at every second. Each recording is a node of the job."""
    points = _points(job)
    newest: dict[tuple[str, str], Point] = {}
    state, at = signals.initial_job(), 0
    series: Series = []
    for now_ns in range(points[0][0], points[-1][0] + 1, NS):
        while at < len(points) and points[at][0] <= now_ns:
            newest[points[at][1:3]] = points[at][3]
            at += 1
        members = tuple(
            Member(node=name, device=device, began_ns=0, point=point)
            for (name, device), point in newest.items()
        )
        seen = JobObservation(target="recording", now_ns=now_ns, members=members)
        state, found, _ = signals.step_job(params, state, seen)
        named = {f"{name}/{device}": value for (name, device), value in found.items()}
        series.append(
            (now_ns, {key: DeviceSignals(device=key, incoherence=value) for key, value in named.items()})
        )
    return series


def jobs(recordings: Iterable[Recording]) -> Iterator[list[Recording]]:
    """The recordings of each job of two or more devices whose rated power is known."""
    found: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.rated_w:
            found[recording.job or str(recording.file)].append(recording)
    for job in found.values():
        devices = {(index, row.device) for index, one in enumerate(job) for row in one.rows if is_paced(row)}
        if len(devices) > 1:
            yield job


def chains(recordings: Iterable[Recording]) -> list[list[Recording]]:
    """Recordings of one machine in the order of their dates, where those are known and it has a
    temperature."""
    found: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.system and recording.rated_w and any(row.temp_c is not None for row in recording.rows):
            found[recording.system].append(recording)
    ordered = [sorted(chain, key=lambda one: one.rows[0].time_ns) for chain in found.values()]
    return [chain for chain in ordered if len(chain) > 1 and all(one.has_date for one in chain)]


def is_paced(row: Row) -> bool:
    """Whether a row counts for its job's pace: GPUs, or whole nodes."""
    return row.kind != "cpu"


def judge(params: HealthSettings, series: Series) -> list[Alarm]:
    """The alarms of the health policy over a series."""
    state, alarms = health.initial(), []
    for now_ns, found in series:
        before = state.alarms
        state, _ = health.step(params, state, Observation(target="recording", now_ns=now_ns, signals=found))
        for key in state.alarms.keys() - before.keys():
            rule, device = key.split(" ")
            alarms.append(Alarm(rule, device, now_ns))
    return alarms


def only(signal: str, bound: float) -> HealthSettings:
    """Settings that judge one signal by this bound, released at 0.6 of it; the others cannot fire."""
    never = {f"{name}_bound": _NEVER for name in ("overload", "incoherence", "severity")}
    name = signal.removeprefix("repair_")
    return replace(BOUNDS, **{**never, f"{name}_bound": bound, f"{name}_release": 0.6 * bound})


def values(series: Series, signal: str) -> list[float]:
    """Every value of a signal in a series."""
    found = (getattr(one, signal) for _, devices in series for one in devices.values())
    return [value for value in found if value is not None]


def most(series: Series) -> list[float]:
    """The incoherence of a job: the most of its devices."""
    return [max(one.incoherence or 0.0 for one in found.values()) for _, found in series if found]


def hours(of: Iterable[Series], signal: str) -> float:
    """Hours in which a signal was there, a second at least."""
    seconds = 0.0
    for series in of:
        stamps = [
            ns for ns, found in series if any(getattr(one, signal) is not None for one in found.values())
        ]
        seconds += sum(min((after - before) / NS, 10.0) for before, after in pairwise(stamps))
    return max(seconds, 1.0) / 3600


def _points(job: Sequence[Recording]) -> list[tuple[int, str, str, Point]]:
    """(stamp, node, device, sample) of everything that counts for the pace, in order of time."""
    node = Node()
    found = [
        (row.time_ns, str(index), f"{row.kind}{row.device}", node.point(recording, row))
        for index, recording in enumerate(job)
        for row in recording.rows
        if is_paced(row)
    ]
    return sorted(found, key=lambda one: one[:3])

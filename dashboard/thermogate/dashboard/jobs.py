"""What jobs did: their spans put together with what the devices did meanwhile. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from thermogate.core.clock import NS
from thermogate.core.model import UNIQUE_JOBS
from thermogate.core.query import Device, DeviceTime, Usage
from thermogate.dashboard.fleet import natural
from thermogate.dashboard.job_spans import JobSpan, JobState

_STAMPS_NS = 1000
"""Agents add a few nanoseconds to the stamps of jobs that share a device; samples have the tick's own."""
_SAME_RUN_NS = 60 * NS
"""Spans of one unit or user on a node that are no further apart belong together: its workers do not
begin and end at one instant, and agents see them some seconds apart."""
_EDGES_S = 2.0
_MISSING_RATIO = 0.05
"""What of a span the energy counter may lack, a sample at each end or this share, to tell its energy."""
_URGENCY: tuple[JobState, ...] = ("running", "unknown", "ended")

EnergyFrom = Literal["counter", "power", "both"]
Group = list[JobSpan]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a device did during a span, [start_ns, until_ns], for `shared_s` of it with other jobs too.

    `lasted_s` is its length on the steady clock where the agent measured it.
    """

    span: JobSpan
    start_ns: int
    until_ns: int
    lasted_s: float
    shared_s: float
    period_s: float
    usage: Usage | None


class JobRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job, or its part on one device. A value of which nothing was measured is None.

    `ended_ns` is None unless the end is known; `until_ns` is the last instant that counts in the sums.
    `device_s` is the time on all `devices` ("NODE/gpu0") together, and `measured_ratio` the share of
    it with samples. `energy_from` says how `energy_j` is known: by the devices' counters, or as mean
    power times time. A device that several jobs have at once counts in full for each of them:
    `shared_ratio` is the share of `device_s` for which that is so. `user` is empty when nodes
    disagree, and `users` are those that they tell.
    """

    job: str
    manager: str
    job_id: str
    user: str
    state: JobState
    began_ns: int
    ended_ns: int | None
    until_ns: int
    nodes: tuple[str, ...]
    devices: tuple[str, ...]
    device_s: float
    shared_ratio: float
    measured_ratio: float
    energy_j: float | None = None
    energy_from: EnergyFrom | None = None
    power_w: float | None = None
    temp_c: float | None = None
    temp_max_c: float | None = None
    rle: float | None = None
    collapse_count: int | None = None
    collapse_s: float | None = None
    throttled_s: float | None = None
    users: tuple[str, ...] = ()


class JobAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The rows, without what is on the nodes `left_out`: they told more jobs than can be read.

    `next` is the cursor of the rows after these, absent at the end.
    """

    rows: tuple[JobRow, ...]
    left_out: tuple[str, ...] = ()
    next: str | None = None


def groups(spans: Iterable[JobSpan], *, by_device: bool) -> list[Group]:
    """The spans of each row, the job that began last first.

    The ids of Slurm, Kubernetes and containers name one job on all nodes and at all times. A unit or
    a user is a job of its own on each node, and again after a pause.
    """
    found: dict[tuple[str, ...], Group] = defaultdict(list)
    runs: dict[tuple[str, str], tuple[int, float]] = {}
    for number, span in enumerate(sorted(spans, key=lambda span: (span.began_ns, label(span.device)))):
        key: tuple[str, ...] = (span.job,)
        if by_device:
            key = (span.job, str(number))
        elif span.manager not in UNIQUE_JOBS:
            place = (span.job, span.device.node)
            run, end_ns = runs.get(place, (0, 0.0))
            run += span.began_ns > end_ns + _SAME_RUN_NS
            runs[place] = run, max(end_ns, float("inf") if span.end_ns is None else span.end_ns)
            key = (*place, str(run))
        found[key].append(span)
    return sorted(found.values(), key=order_of)


def order_of(group: Group) -> tuple[int, str, str]:
    """What groups are sorted by, different for any two of them."""
    first = group[0]
    return -first.began_ns, first.job, label(first.device)


def without_parts(spans: Sequence[JobSpan]) -> list[JobSpan]:
    """The spans but those on MIG instances ("0.1") of GPUs on which the same job has a span then, too.

    The GPU has the power and the temperature, and its time must not count twice.
    """
    wholes: dict[tuple[str, Device], Group] = defaultdict(list)
    for span in spans:
        wholes[span.job, span.device].append(span)
    return [
        span for span in spans if not any(_overlap(span, whole) for whole in wholes[span.job, _parent(span)])
    ]


def asked(span: JobSpan, start_ns: int, end_ns: int, now_ns: int) -> DeviceTime:
    """The samples that tell what the device did during a span, as far as it lies in [start, end)."""
    first_ns = max(start_ns, span.began_ns - _STAMPS_NS)
    last_ns = now_ns if span.end_ns is None else span.end_ns
    if span.state == "ended":
        last_ns += _STAMPS_NS
    return DeviceTime(span.device, first_ns, max(first_ns, min(end_ns, last_ns)))


def measured(
    span: JobSpan, time: DeviceTime, usage: Usage | None, beside: Iterable[JobSpan], period_s: float
) -> Measured:
    """Put together what `asked` was answered; `beside` are all spans on the device.

    A span whose end is not known lasted at least to its last sample.
    """
    start_ns = max(time.start_ns, span.began_ns)
    until_ns = time.end_ns if span.end_ns is None else min(time.end_ns, span.end_ns)
    if span.state == "unknown":
        until_ns = usage.last_ns if usage else start_ns
    until_ns = max(start_ns, until_ns)
    lasted_s = (until_ns - start_ns) / NS
    whole = (start_ns, until_ns) == (span.began_ns, span.end_ns)
    if whole and span.lasted_s is not None:
        lasted_s = span.lasted_s  # as the clock may have been set meanwhile
    others = [other for other in beside if other.job != span.job]
    shared_s = min(lasted_s, _overlap_ns(others, start_ns, until_ns) / NS)
    return Measured(
        span=span,
        start_ns=start_ns,
        until_ns=until_ns,
        lasted_s=lasted_s,
        shared_s=shared_s,
        period_s=period_s,
        usage=usage,
    )


def row(parts: Sequence[Measured]) -> JobRow:
    """The sums of one job."""
    spans = [part.span for part in parts]
    first, users = spans[0], sorted({span.user for span in spans if span.user})
    state = min((span.state for span in spans), key=_URGENCY.index)
    until_ns = max(part.until_ns for part in parts)
    device_s = sum(part.lasted_s for part in parts)
    known = [(part, part.usage) for part in parts if part.usage is not None]
    seconds = sum(min(part.lasted_s, usage.sample_count * part.period_s) for part, usage in known)
    energies = [energy for part, usage in known if (energy := _energy(part.lasted_s, usage)) is not None]
    collapses = [usage.collapse_count for _, usage in known if usage.collapse_count is not None]
    return JobRow(
        job=first.job,
        manager=first.manager,
        job_id=first.job_id,
        user=users[0] if len(users) == 1 else "",
        users=tuple(users) if len(users) > 1 else (),
        state=state,
        began_ns=min(span.began_ns for span in spans),
        ended_ns=max(span.end_ns or 0 for span in spans) if state == "ended" else None,
        until_ns=until_ns,
        nodes=tuple(sorted({span.device.node for span in spans}, key=natural)),
        devices=tuple(sorted({label(span.device) for span in spans}, key=natural)),
        device_s=device_s,
        shared_ratio=sum(part.shared_s for part in parts) / device_s if device_s else 0.0,
        measured_ratio=seconds / device_s if device_s else 0.0,
        energy_j=sum(energy for energy, _ in energies) if energies else None,
        energy_from=_energy_from([how for _, how in energies]),
        power_w=_mean((usage.power_w, part.lasted_s) for part, usage in known),
        temp_c=_mean((usage.temp_c, part.lasted_s) for part, usage in known),
        temp_max_c=max((u.temp_max_c for _, u in known if u.temp_max_c is not None), default=None),
        rle=_mean((usage.rle, float(usage.rle_count)) for _, usage in known),
        collapse_count=sum(collapses) if collapses else None,
        collapse_s=_seconds(known, lambda usage: usage.collapse_ratio),
        throttled_s=_seconds(known, lambda usage: usage.throttled_ratio),
    )


def label(device: Device) -> str:
    """ "n17/gpu0"."""
    return f"{device.node}/{device.kind}{device.device}"


def by_device(spans: Iterable[JobSpan]) -> Mapping[Device, list[JobSpan]]:
    """The spans on each device."""
    found: dict[Device, list[JobSpan]] = defaultdict(list)
    for span in spans:
        found[span.device].append(span)
    return found


def _parent(span: JobSpan) -> Device:
    """The GPU of a MIG instance; no device at all for another device."""
    parent, is_part, _ = span.device.device.partition(".")
    return msgspec.structs.replace(span.device, device=parent if is_part else "")


def _overlap(span: JobSpan, other: JobSpan) -> bool:
    ends_ns = (span.end_ns, other.end_ns)
    last_ns = min((end_ns for end_ns in ends_ns if end_ns is not None), default=None)
    return last_ns is None or max(span.began_ns, other.began_ns) <= last_ns


def _overlap_ns(others: Iterable[JobSpan], start_ns: int, until_ns: int) -> int:
    """How much of a time any of the others covers."""
    total_ns, covered_ns = 0, start_ns
    for other in sorted(others, key=lambda span: span.began_ns):
        first_ns = max(covered_ns, other.began_ns)
        last_ns = until_ns if other.end_ns is None else min(until_ns, other.end_ns)
        if last_ns > first_ns:
            total_ns += last_ns - first_ns
            covered_ns = last_ns
    return total_ns


def _energy(lasted_s: float, usage: Usage) -> tuple[float, EnergyFrom] | None:
    missing_s = lasted_s - usage.energy_s
    if usage.energy_j is not None and missing_s <= max(_EDGES_S, _MISSING_RATIO * lasted_s):
        return usage.energy_j, "counter"
    return None if usage.power_w is None else (usage.power_w * lasted_s, "power")


def _energy_from(hows: Sequence[EnergyFrom]) -> EnergyFrom | None:
    kinds = set(hows)
    return "both" if len(kinds) > 1 else next(iter(kinds), None)


def _mean(weighted: Iterable[tuple[float | None, float]]) -> float | None:
    given = [(value, weight) for value, weight in weighted if value is not None]
    total = sum(weight for _, weight in given)
    if total:
        return sum(value * weight for value, weight in given) / total
    return sum(value for value, _ in given) / len(given) if given else None


def _seconds(known: Iterable[tuple[Measured, Usage]], ratio: Callable[[Usage], float | None]) -> float | None:
    given = [share * part.lasted_s for part, usage in known if (share := ratio(usage)) is not None]
    return sum(given) if given else None

"""Which devices each job has now, from the events that agents send. Its memory is bounded."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from thermogate.analytics.policies.base import MAX_DEVICES, JobObservation, Member, device_name
from thermogate.analytics.targets import Node
from thermogate.core.model import UNIQUE_JOBS, Event
from thermogate.core.wire import is_name, to_name

_MAX_JOBS = 20_000
_MAX_DEVICES = 4096
"""Of one job; beyond it a job is not judged by the rest."""
_MAX_OF_NODE = 4 * MAX_DEVICES
"""Jobs on devices of one node: no node that invents jobs crowds out those of all others."""


class Holding(NamedTuple):
    """One device that a job has."""

    node: str
    device: str
    began_ns: int
    manager: str
    user: str


class Jobs:
    """The devices of every running job, by the job's name as a gate target."""

    def __init__(self) -> None:
        self._of: dict[str, dict[tuple[str, str], Holding]] = {}
        self._count_of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._of)

    def __contains__(self, job: str) -> bool:
        return job in self._of

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._of))

    def devices(self, job: str) -> tuple[Holding, ...]:
        """The devices of a job."""
        return tuple(self._of.get(job, {}).values())

    def on_event(self, event: Event) -> None:
        """Take note of a job that began or ended on a device; other events say nothing of jobs."""
        if event.event not in ("job_began", "job_ended"):
            return
        name = event.data.get("job")
        if name == "all" and not event.device:
            self._end_all(event.node)
        if not isinstance(name, str) or not event.device:
            return
        job, key = target_of(event, name), (event.node, device_name(event.device_kind, event.device))
        if event.event == "job_ended":
            self._end(job, key, event.time_ns)
            return
        self._begin(job, Holding(*key, event.time_ns, _text(event, "manager"), _text(event, "user")))

    def forget_node(self, node: str) -> None:
        """Its devices are seen no more."""
        self._end_all(node)

    def _begin(self, job: str, holding: Holding) -> None:
        devices, key = self._of.get(job, {}), (holding.node, holding.device)
        if key not in devices:
            full = len(devices) >= _MAX_DEVICES or self._count_of[holding.node] >= _MAX_OF_NODE
            if full or (not devices and len(self._of) >= _MAX_JOBS):
                return
            self._count_of[holding.node] += 1
        self._of.setdefault(job, devices)[key] = holding

    def _end(self, job: str, key: tuple[str, str], time_ns: int) -> None:
        devices = self._of.get(job, {})
        held = devices.get(key)
        if held is not None and held.began_ns <= time_ns:
            del devices[key]
            self._count_of[key[0]] -= 1
            if not devices:
                del self._of[job]

    def _end_all(self, node: str) -> None:
        if not self._count_of.pop(node, 0):
            return
        for job in tuple(self._of):
            devices = self._of[job]
            for key in [key for key in devices if key[0] == node]:
                del devices[key]
            if not devices:
                del self._of[job]


def observe_job(jobs: Jobs, name: str, nodes: Mapping[str, Node], *, held: bool) -> JobObservation | None:
    """What is seen of a job, which others hold or not; None while none of its devices has a sample."""
    members = tuple(_member(held, nodes.get(held.node)) for held in jobs.devices(name))
    stamps = [member.point.time_ns for member in members if member.point is not None]
    if not stamps:
        return None
    return JobObservation(target=name, now_ns=max(stamps), members=members, held=held)


def _member(held: Holding, node: Node | None) -> Member:
    point = node.newest.get(held.device) if node is not None else None
    return Member(
        node=held.node,
        device=held.device,
        began_ns=held.began_ns,
        point=point if point is not None and point.time_ns >= held.began_ns else None,
        signals=node.signals.get(held.device) if node is not None else None,
        manager=held.manager,
        user=held.user,
    )


def target_of(event: Event, name: str) -> str:
    """How a job is called as a gate target: "slurm-1234"; with its node where names are not unique."""
    if event.data.get("manager") in UNIQUE_JOBS:
        return name if is_name(name) else to_name(name)
    return to_name(f"{event.node}.{name}")


def _text(event: Event, name: str) -> str:
    value = event.data.get(name, "")
    return value if isinstance(value, str) else ""

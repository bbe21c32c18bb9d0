"""Kubernetes as a scheduler adapter."""

from collections.abc import Mapping

from thermogate.core.decision import TargetKind
from thermogate.schedulers.adapter import ActionError, Marks, Plan, Step
from thermogate.schedulers.kubernetes import nodes, signs
from thermogate.schedulers.kubernetes.api import Api, ConflictError, NotFoundError, Object
from thermogate.schedulers.kubernetes.jobs import Jobs
from thermogate.schedulers.kubernetes.requests import Apply, Suspend, Taint, send
from thermogate.schedulers.kubernetes.settings import KubernetesSettings
from thermogate.schedulers.standing import Standing, Target

_HOSTNAME = "kubernetes.io/hostname"
_NODES = "/api/v1/nodes"


class Kubernetes:
    """The `Adapter` of one cluster."""

    name = "kubernetes"
    kinds: tuple[TargetKind, ...] = ("node", "job")

    def __init__(self, api: Api, settings: KubernetesSettings) -> None:
        self._api = api
        self._settings = settings
        self._jobs = Jobs(api, settings)

    async def plan(self, target: Target, wanted: Standing, marks: Marks) -> Plan:
        """See nodes.py and jobs.py. A pace below 1 alone is not Kubernetes' business."""
        kind, name = target
        if not wanted.held and not marks:
            return Plan(f"{kind} {name} bears nothing of ours")
        if kind == "job":
            return await self._jobs.plan(name, wanted, marks)
        node = await self._node(name)
        if node is None:
            return Plan(f"there is no node {name}", forgets=tuple(marks))
        return nodes.plan(self._settings, node, name, wanted, marks)

    async def perform(self, step: Step) -> None:
        """Make one change. Raises ActionError."""
        assert isinstance(step.data, Apply | Taint | Suspend)
        try:
            await send(self._api, step.data)
        except NotFoundError:
            if step.sets:
                raise
        except ConflictError as err:
            if err.is_owned:
                raise ActionError(f"another field manager has it, and keeps it: {err}") from err
            raise

    async def found(self) -> Mapping[Target, Marks]:
        """What bears our label, in the cluster."""
        found: dict[Target, Marks] = {}
        for node in (await self._api.list(_NODES, signs.KEY))[0]:
            target = signs.annotations(node).get(signs.TARGET) or signs.meta(node)["name"]
            found["node", target] = nodes.marks_of(self._settings, node)
        for name, marks in (await self._jobs.found()).items():
            found["job", name] = marks
        return found

    async def _node(self, name: str) -> Object | None:
        """The node of that name, else the only one whose host's name it is."""
        try:
            return await self._api.get(nodes.path_of(name))
        except NotFoundError:
            some, _ = await self._api.list(_NODES, f"{_HOSTNAME}={name}")
            return some[0] if len(some) == 1 else None

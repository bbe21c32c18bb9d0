"""Which Jobs and Workloads a target is, and how they are suspended and resumed."""

import re

from thermogate.schedulers.adapter import Mark, Marks, Plan, Step
from thermogate.schedulers.kubernetes import signs
from thermogate.schedulers.kubernetes.api import Api, NotFoundError, Object
from thermogate.schedulers.kubernetes.requests import Suspend
from thermogate.schedulers.kubernetes.settings import KubernetesSettings
from thermogate.schedulers.standing import Standing

QUEUE = "kueue.x-k8s.io/queue-name"
"""The label of what Kueue manages: it alone may suspend and resume that."""
JOB_UID = "kueue.x-k8s.io/job-uid"
"""The label of a Workload that names whose it is."""
_KUEUE = "/apis/kueue.x-k8s.io"
_POD = re.compile(r"pod-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})")
"""How the gate calls the work of a pod: the agent knows it by its uid."""
_FIELDS = {"jobs": "suspend", "workloads": "active"}
_KINDS = {"jobs": "job", "workloads": "workload"}


class Jobs:
    """Looks for them. A reference is "jobs/NAMESPACE/NAME" or "workloads/NAMESPACE/NAME"."""

    def __init__(self, api: Api, settings: KubernetesSettings) -> None:
        self._api = api
        self._settings = settings

    async def plan(self, target: str, wanted: Standing, marks: Marks) -> Plan:
        """See Adapter.plan."""
        found = await self._of_target(target, known=bool(marks)) if wanted.held else {}
        for reference in marks:
            if reference not in found and (one := await self._read(reference)) is not None:
                found[reference] = one
        gone = [reference for reference, mark in marks.items() if not _same(found.get(reference), mark)]
        if not found:
            return Plan(f"no Job and no Workload is {target}", forgets=tuple(gone))
        steps, words, forgets = [], [], gone
        for reference, one in sorted(found.items()):
            mark = marks.get(reference) if reference not in gone else None
            step, word = await self._one(reference, one, mark, target, wanted)
            words.append(word)
            if step is not None:
                steps.append(step)
            elif not wanted.held and reference not in forgets:
                forgets.append(reference)
        return Plan("; ".join(words), steps=tuple(steps), forgets=tuple(forgets))

    async def found(self) -> dict[str, dict[str, Mark]]:
        """What bears our sign, by target."""
        marks: dict[str, dict[str, Mark]] = {}
        for resource in await self._resources():
            for one in await self._list(resource, signs.KEY):
                target = signs.annotations(one).get(signs.TARGET, "")
                if target and signs.SUSPENDED in signs.annotations(one):
                    marks.setdefault(target, {})[_reference(resource, one)] = Mark(signs.uid(one))
        return marks

    async def _one(
        self, reference: str, one: Object, mark: Mark | None, target: str, wanted: Standing
    ) -> tuple[Step | None, str]:
        resource, namespace, name = reference.split("/")
        what = f"{_KINDS[resource]} {namespace}/{name}"
        suspended, ours = _is_suspended(resource, one), signs.SUSPENDED in signs.annotations(one)
        if wanted.held:
            if mark is not None and not (suspended and ours) and mark.done:
                return None, f"{what} was resumed by somebody, and runs on"
            if suspended and (mark is None or not ours):
                return None, f"{what} is suspended by somebody else"
            if _is_finished(one):
                return None, f"{what} has ended"
            if mark is not None and mark.done:
                return None, f"{what} is suspended"
            return await self._suspend(reference, one, target, wanted), f"suspend {what}"
        if mark is None or not ours:
            return None, f"{what} is not suspended by us"
        return await self._resume(reference, one, resume=suspended), f"resume {what}"

    async def _suspend(self, reference: str, one: Object, target: str, wanted: Standing) -> Step:
        decision = wanted.decision.id if wanted.decision is not None else ""
        notes = {**signs.told(wanted.why, decision, target), signs.SUSPENDED: "true"}
        metadata = {"annotations": notes, "labels": {signs.KEY: "hold"}}
        field = _FIELDS[reference.partition("/")[0]]
        data = Suspend(await self._path(reference), signs.uid(one), field, field == "suspend", metadata)
        return Step(_command(reference, field == "suspend"), data=data, sets={reference: signs.uid(one)})

    async def _resume(self, reference: str, one: Object, *, resume: bool) -> Step:
        """Take our sign away, and resume it unless somebody has done so."""
        taken: dict[str, None] = dict.fromkeys((signs.WHY, signs.DECISION, signs.TARGET, signs.SUSPENDED))
        metadata = {"annotations": taken, "labels": {signs.KEY: None}}
        field = _FIELDS[reference.partition("/")[0]]
        value = (field == "active") if resume else None
        data = Suspend(await self._path(reference), signs.uid(one), field, value, metadata)
        return Step(_command(reference, field == "active"), data=data, clears=(reference,))

    async def _of_target(self, target: str, *, known: bool) -> dict[str, Object]:
        """Those with our label, the one of that name (NAMESPACE.NAME), and that of the pod.

        Pods cannot be asked by their uid, so that all are listed: only as long as nothing is set for it.
        """
        found: dict[str, Object] = {}
        for resource in await self._resources():
            for one in await self._list(resource, f"{signs.JOB}={target}" if _is_label(target) else ""):
                if signs.labels(one).get(signs.JOB) == target:
                    found[_reference(resource, one)] = one
        namespace, _, name = target.partition(".")
        named = await self._read(f"jobs/{namespace}/{name}") if name else None
        if named is not None:
            found[f"jobs/{namespace}/{name}"] = named
        match = _POD.fullmatch(target)
        if match and not known:
            found |= await self._of_pod(match[1])
        return await self._with_kueue(found)

    async def _of_pod(self, uid: str) -> dict[str, Object]:
        """The Job that a pod belongs to, or the Workload of what else it belongs to."""
        for namespace in self._namespaces("/api/v1", "pods"):
            for pod in (await self._api.list(namespace))[0]:
                owner = _controller(pod) if signs.uid(pod) == uid else None
                if owner is None:
                    continue
                place = signs.meta(pod)["namespace"]
                if owner["kind"] == "Job" and (one := await self._read(f"jobs/{place}/{owner['name']}")):
                    return {f"jobs/{place}/{owner['name']}": one}
                return await self._workloads_of(place, owner["uid"])
        return {}

    async def _with_kueue(self, found: dict[str, Object]) -> dict[str, Object]:
        """In place of a Job that another controller suspends and resumes: its Workload."""
        told: dict[str, Object] = {}
        for reference, one in found.items():
            owner = _controller(one)
            owned = owner is not None and owner["kind"] != "CronJob"
            if reference.startswith("jobs/") and (QUEUE in signs.labels(one) or owned):
                place = signs.meta(one)["namespace"]
                uids = [signs.uid(one), *([owner["uid"]] if owner is not None else [])]
                for uid in uids:
                    told |= await self._workloads_of(place, uid)
            else:
                told[reference] = one
        return told

    async def _workloads_of(self, namespace: str, uid: str) -> dict[str, Object]:
        version = await self._kueue()
        if not version:
            return {}
        path = f"{_KUEUE}/{version}/namespaces/{namespace}/workloads"
        items, _ = await self._api.list(path, f"{JOB_UID}={uid}")
        return {_reference("workloads", one): one for one in items}

    async def _resources(self) -> tuple[str, ...]:
        return ("jobs", "workloads") if await self._kueue() else ("jobs",)

    async def _list(self, resource: str, selector: str) -> list[Object]:
        if not selector:
            return []
        base = "/apis/batch/v1" if resource == "jobs" else f"{_KUEUE}/{await self._kueue()}"
        found: list[Object] = []
        for path in self._namespaces(base, resource):
            found += (await self._api.list(path, selector))[0]
        return found

    def _namespaces(self, base: str, resource: str) -> list[str]:
        some = self._settings.namespaces
        return [f"{base}/namespaces/{one}/{resource}" for one in some] if some else [f"{base}/{resource}"]

    async def _read(self, reference: str) -> Object | None:
        try:
            return await self._api.get(await self._path(reference))
        except NotFoundError:
            return None

    async def _path(self, reference: str) -> str:
        resource, namespace, name = reference.split("/")
        base = "/apis/batch/v1" if resource == "jobs" else f"{_KUEUE}/{await self._kueue() or 'v1beta1'}"
        return f"{base}/namespaces/{namespace}/{resource}/{name}"

    async def _kueue(self) -> str:
        """The version of Kueue's API that this cluster prefers; "" without Kueue."""
        if not self._settings.kueue:
            return ""
        try:
            group = await self._api.get(_KUEUE)
        except NotFoundError:
            return ""
        return str((group.get("preferredVersion") or {}).get("version", ""))


def _reference(resource: str, one: Object) -> str:
    return f"{resource}/{signs.meta(one)['namespace']}/{signs.meta(one)['name']}"


def _same(one: Object | None, mark: Mark) -> bool:
    return one is not None and signs.uid(one) == mark.detail


def _is_suspended(resource: str, one: Object) -> bool:
    if resource == "jobs":
        return bool(signs.spec(one).get("suspend"))
    return signs.spec(one).get("active", True) is False


def _is_finished(one: Object) -> bool:
    conditions = (one.get("status") or {}).get("conditions") or []
    ended = ("Complete", "Failed", "Finished")
    return any(each.get("type") in ended and each.get("status") == "True" for each in conditions)


def _controller(one: Object) -> Object | None:
    owners = signs.meta(one).get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def _is_label(target: str) -> bool:
    """Whether it may be the value of a label: 63 characters, and letters or digits at the ends."""
    return re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", target) is not None


def _command(reference: str, value: bool) -> str:
    resource, namespace, name = reference.split("/")
    body = f'{{"spec":{{"{_FIELDS[resource]}":{str(value).lower()}}}}}'
    return f"kubectl patch -n {namespace} {_KINDS[resource]} {name} --type=merge -p '{body}'"

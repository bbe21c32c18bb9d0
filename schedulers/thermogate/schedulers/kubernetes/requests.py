"""The changes that are made, each as it survives others who change the same object at the same time."""

from collections.abc import Callable

import msgspec

from thermogate.schedulers.kubernetes.api import Api, ApiError, ConflictError, NotFoundError, Object
from thermogate.schedulers.kubernetes.signs import (
    KEY,
    SUSPENDED,
    annotations,
    is_ours,
    spec,
    taints,
    uid,
)

_TRIES = 5
"""Others change a node several times a minute: a conflict is rare, and five in a row are no accident."""


class Taint(msgspec.Struct, frozen=True):
    """Our taints of a node: by effect their value, None to remove it. All others stay."""

    path: str
    uid: str
    values: dict[str, str | None]


class Apply(msgspec.Struct, frozen=True):
    """All that we say of a node by server-side apply; what is not in it is given up."""

    path: str
    body: Object


class Suspend(msgspec.Struct, frozen=True):
    """A Job's or Workload's spec.`field` to `value`, with our annotations; None takes one away.

    `value` None leaves the field as it is.
    """

    path: str
    uid: str
    field: str
    value: bool | None
    metadata: Object


Request = Taint | Apply | Suspend


async def send(api: Api, request: Request) -> None:
    """Make a change. To make it twice is to make it once. Raises ApiError.

    A list and a field that others write too are read and written with their resourceVersion: server-side
    apply would take the whole list of taints as ours, and a job's `suspend` from whom it belongs to.
    """
    match request:
        case Apply(path, body):
            await api.apply(path, body)
        case Taint():
            await _optimistically(api, request.path, request.uid, lambda node: _tainted(node, request))
        case Suspend():
            await _optimistically(api, request.path, request.uid, lambda job: _suspended(job, request))


async def _optimistically(api: Api, path: str, uid_: str, change: Callable[[Object], Object | None]) -> None:
    for _ in range(_TRIES):
        found = await api.get(path)
        if uid(found) != uid_:
            raise NotFoundError(f"{path} was deleted and made again", 404)
        body = change(found)
        if body is None:
            return
        body.setdefault("metadata", {})["resourceVersion"] = found["metadata"]["resourceVersion"]
        try:
            await api.merge(path, body)
        except ConflictError:
            continue
        return
    raise ApiError(f"{path} was changed by others {_TRIES} times while it was written", 409)


def _tainted(node: Object, request: Taint) -> Object | None:
    before = taints(node)
    others = [one for one in before if not any(is_ours(one, effect) for effect in request.values)]
    ours = [
        {"key": KEY, "value": value, "effect": effect}
        for effect, value in request.values.items()
        if value is not None
    ]
    kept = [one for one in before if any(_is(one, new) for new in ours)]
    if len(kept) == len(ours) and len(before) == len(others) + len(ours):
        return None
    return {"spec": {"taints": [*others, *ours]}}


def _is(taint: Object, other: Object) -> bool:
    return all(taint.get(name) == other[name] for name in ("key", "value", "effect"))


def _suspended(job: Object, request: Suspend) -> Object | None:
    if request.value is None:
        return {"metadata": request.metadata} if SUSPENDED in annotations(job) else None
    already = spec(job).get(request.field, request.field == "active") == request.value
    if already:  # by somebody, a moment ago
        return None
    return {"metadata": dict(request.metadata), "spec": {request.field: request.value}}

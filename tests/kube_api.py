"""A Kubernetes API server as far as our adapter meets one: its answers have the shapes of the real ones.

Not Kubernetes: objects in a dictionary, made after the API's own description (kubernetes.io/docs/reference,
using-api: api-concepts and server-side-apply; the OpenAPI of release 1.37; Status objects as apimachinery's
NewApplyConflict, NewConflict and NewNotFound make them). What it has: resourceVersion and uid with their
conflicts, merge patches, server-side apply with managedFields and field conflicts, lists with label selectors
in pages, watches with bookmarks, 410 where they begin too early, bearer tokens, and faults that a test wants.
"""

import asyncio
import contextlib
import copy
import itertools
import json
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from aiohttp import web

Object = dict[str, Any]
Path_ = tuple[str, ...]

_BASES = {
    "nodes": ("/api/v1", "v1", "Node"),
    "pods": ("/api/v1", "v1", "Pod"),
    "jobs": ("/apis/batch/v1", "batch/v1", "Job"),
    "workloads": ("/apis/kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/v1beta2", "Workload"),
}
_GROUPS = {"nodes": "", "pods": "", "jobs": "batch", "workloads": "kueue.x-k8s.io"}
_WRITERS = {"apply": "Apply", "merge": "Update"}
_UNOWNED = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"), ("metadata", "uid"))
_PATH = re.compile(r"(/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?")


class KubeApi:
    """`with KubeApi() as api`: a server on the loopback interface, in a thread of its own."""

    def __init__(self, *, token: str = "t0", tls: ssl.SSLContext | None = None, kueue: bool = False) -> None:
        self.token = token
        self.kueue = kueue
        self.verbs: set[tuple[str, str, str]] = set()
        """(API group, resource, verb) of every request, as RBAC names them."""
        self.requests: list[tuple[str, str]] = []
        """Method and path of every request."""
        self.writes: list[tuple[str, str, Object]] = []
        """Content type, path and body of every patch that changed something."""
        self.faults: list[tuple[str, int, dict[str, str]]] = []
        """Method, status and headers: each is the answer to the next request of that method."""
        self.race: list[tuple[str, str, Object]] = []
        """Merge patches (resource, name, body) by somebody else, one after each read of one object."""
        self.broken = False
        self.ended_watches = 0
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._version = itertools.count(1000)
        self._now = 1000
        self._oldest = 0
        self._history: list[tuple[int, str, str, Object]] = []
        self._uids = itertools.count(1)
        self._lock = threading.RLock()
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._changed: asyncio.Event | None = None
        self._cut = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="kube-api", daemon=True)

    # What a test does and sees.

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig file for it, whose token stands in a file."""
        (folder / "token").write_text(self.token)
        cluster = {"name": "c", "cluster": {"server": self.url}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        user = {"name": "u", "user": {"tokenFile": str(folder / "token")}}
        body = {"apiVersion": "v1", "kind": "Config", "current-context": "c"}
        body |= {"clusters": [cluster], "contexts": [context], "users": [user]}
        (folder / "kubeconfig").write_text(json.dumps(body))
        return folder / "kubeconfig"

    def add(
        self, resource: str, name: str, namespace: str = "", *, manager: str = "kubectl-create", **body
    ) -> Object:
        """Somebody creates an object."""
        with self._lock:
            _, version, kind = _BASES[resource]
            made: Object = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": {}}
            _merge(made, copy.deepcopy(body))
            made["metadata"] |= {"uid": f"00000000-0000-4000-8000-{next(self._uids):012d}"}
            if namespace:
                made["metadata"]["namespace"] = namespace
            made["metadata"]["managedFields"] = []
            _own(made, manager, "Update", {path for path, _ in _leaves(made)})
            self._objects[resource, namespace, name] = made
            self._note("ADDED", resource, made)
            return copy.deepcopy(made)

    def get(self, resource: str, name: str, namespace: str = "") -> Object:
        """The object now."""
        with self._lock:
            return copy.deepcopy(self._objects[resource, namespace, name])

    def edit(
        self, resource: str, name: str, body: Object, namespace: str = "", *, manager: str = "kubectl"
    ) -> None:
        """Somebody sends a merge patch."""
        with self._lock:
            self._update(resource, self._objects[resource, namespace, name], body, manager)

    def delete(self, resource: str, name: str, namespace: str = "") -> None:
        """Somebody deletes it."""
        with self._lock:
            self._note("DELETED", resource, self._objects.pop((resource, namespace, name)))

    def compact(self) -> None:
        """etcd forgets what was; watches from before begin no more, and those that run end with a 410."""
        with self._lock:
            self._now = next(self._version)
            self._oldest = self._now
            self._cut += 1
        self._wake()

    # The server.

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._changed = asyncio.Event()
        app = web.Application(middlewares=[self._guard])
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        self._loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        """Until every connection is closed: a transport says so later."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        if self.broken:
            return _status(500, "InternalError", "etcdserver: request timed out")
        if request.headers.get("Authorization", "").lower() != f"bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        for fault in self.faults:
            if fault[0] == request.method:
                self.faults.remove(fault)
                return _status(fault[1], "TooManyRequests" if fault[1] == 429 else "", "as asked", fault[2])
        return await handler(request)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/apis/kueue.x-k8s.io":
            version = {"groupVersion": "kueue.x-k8s.io/v1beta2", "version": "v1beta2"}
            found = {
                "kind": "APIGroup",
                "apiVersion": "v1",
                "preferredVersion": version,
                "versions": [version],
            }
            return web.json_response(found) if self.kueue else _plain_404()
        match = _PATH.fullmatch(request.path)
        if match is None or match[3] not in _BASES or match[1] != _BASES[match[3]][0]:
            return _plain_404()
        _, namespace, resource, name = match.groups()
        if resource == "workloads" and not self.kueue:
            return _plain_404()
        if name is not None:
            return await self._one(request, resource, namespace or "", name)
        if "watch" in request.query:
            self.verbs.add((_GROUPS[resource], resource, "watch"))
            return await self._watch(request, resource, namespace)
        self.verbs.add((_GROUPS[resource], resource, "list"))
        return self._list(request, resource, namespace)

    async def _one(self, request: web.Request, resource: str, namespace: str, name: str) -> web.Response:
        verb = "get" if request.method == "GET" else "patch"
        self.verbs.add((_GROUPS[resource], resource, verb))
        body = json.loads(await request.text()) if verb == "patch" else None
        with self._lock:
            found = self._objects.get((resource, namespace, name))
            if found is None:
                return self._absent(resource, name, body)
            if body is None:
                answer = web.json_response(found)
                self._race(resource, name, namespace)
                return answer
            return self._patch(request, resource, found, body)

    def _absent(self, resource: str, name: str, body: Object | None) -> web.Response:
        if body is not None and body.get("metadata", {}).get("uid"):
            text = f'Operation cannot be fulfilled on {resource} "{name}": uid mismatch: the provided object '
            text += f"specified uid {body['metadata']['uid']}, and no existing object was found"
            return _status(409, "Conflict", text)
        return _status(404, "NotFound", f'{resource} "{name}" not found', name=name, kind=resource)

    def _race(self, resource: str, name: str, namespace: str) -> None:
        if self.race and self.race[0][:2] == (resource, name):
            self._update(resource, self._objects[resource, namespace, name], self.race.pop(0)[2], "somebody")

    def _patch(self, request: web.Request, resource: str, found: Object, body: Object) -> web.Response:
        kind = request.headers.get("Content-Type", "").partition(";")[0]
        manager = request.query.get("fieldManager", "unknown")
        meta, name = body.get("metadata", {}), found["metadata"]["name"]
        for key in ("resourceVersion", "uid"):
            if key in meta and meta[key] != found["metadata"][key]:
                text = f'Operation cannot be fulfilled on {resource} "{name}": the object has been modified; '
                text += "please apply your changes to the latest version and try again"
                return _status(409, "Conflict", text, name=name, kind=resource)
        before = copy.deepcopy(found)
        if kind == "application/merge-patch+json":
            self._update(resource, found, {**body, "metadata": {**meta, "resourceVersion": None}}, manager)
        elif kind == "application/apply-patch+yaml":
            conflict = self._apply(resource, found, body, manager, force=request.query.get("force") == "true")
            if conflict is not None:
                return conflict
        else:
            return _status(
                415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {kind}"
            )
        if _without_meta(before) != _without_meta(found):
            self.writes.append((kind, request.path, body))
        return web.json_response(found)

    def _update(self, resource: str, found: Object, body: Object, manager: str) -> None:
        """Changed fields are the manager's from now on, and nobody else's."""
        body = copy.deepcopy(body)
        body.get("metadata", {}).pop("resourceVersion", None)
        before = dict(_leaves(found))
        _merge(found, body)
        after = dict(_leaves(found))
        changed = {path for path in after if before.get(path, _NOTHING) != after[path]}
        gone = {path for path in before if path not in after}
        if not changed and not gone:
            return
        _disown(found, changed | gone)
        _own(found, manager, "Update", changed)
        self._note("MODIFIED", resource, found)

    def _apply(
        self, resource: str, found: Object, body: Object, manager: str, *, force: bool
    ) -> web.Response | None:
        wanted, live = dict(_leaves(body)), dict(_leaves(found))
        conflicts = [
            (entry["manager"], path)
            for entry in found["metadata"]["managedFields"]
            if (entry["manager"], entry["operation"]) != (manager, "Apply")
            for path in _owned(entry)
            if path in wanted and live.get(path, wanted[path]) != wanted[path]
        ]
        if conflicts and not force:
            return _field_conflict(conflicts)
        before = copy.deepcopy(_without_meta(found))
        mine = {path for entry in _entries(found, manager, "Apply") for path in _owned(entry)}
        _disown(found, mine, manager)
        if force:
            _disown(found, {path for _, path in conflicts})
        for path in (
            mine
            - set(wanted)
            - {one for entry in found["metadata"]["managedFields"] for one in _owned(entry)}
        ):
            _remove(found, path)
        for path, value in wanted.items():
            _put(found, path, value)
        _own(found, manager, "Apply", set(wanted))
        if before != _without_meta(found):
            self._note("MODIFIED", resource, found)
        return None

    def _note(self, event: str, resource: str, found: Object) -> None:
        self._now = next(self._version)
        found["metadata"]["resourceVersion"] = str(self._now)
        self._history.append((self._now, event, resource, copy.deepcopy(found)))
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(lambda: self._changed and self._changed.set())

    def _list(self, request: web.Request, resource: str, namespace: str | None) -> web.Response:
        with self._lock:
            chosen = [
                one
                for (kind, place, _), one in sorted(self._objects.items())
                if kind == resource and namespace in (None, place) and _selected(request, one)
            ]
            begin, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", "0"))
            page = chosen[begin : begin + limit] if limit else chosen
            meta: Object = {"resourceVersion": str(self._now)}
            if begin + len(page) < len(chosen):
                meta |= {"continue": str(begin + limit), "remainingItemCount": len(chosen) - begin - limit}
            _, version, kind = _BASES[resource]
            return web.json_response(
                {"apiVersion": version, "kind": f"{kind}List", "metadata": meta, "items": page}
            )

    async def _watch(self, request: web.Request, resource: str, namespace: str | None) -> web.StreamResponse:
        since, cut = int(request.query.get("resourceVersion") or 0), self._cut
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        end = self._loop.time() + int(request.query.get("timeoutSeconds", "300"))
        while self._loop.time() < end:
            assert self._changed is not None
            self._changed.clear()
            if since < self._oldest or cut != self._cut:
                text = f"too old resource version: {since} ({self._oldest})"
                gone = {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "status": "Failure",
                    "reason": "Expired",
                    "code": 410,
                }
                await answer.write(_line("ERROR", {**gone, "metadata": {}, "message": text}))
                break
            with self._lock:
                fresh = [event for event in self._history if event[0] > since and event[2] == resource]
                since = max(since, self._now)
            for _, event, _, one in fresh:
                if namespace in (None, one["metadata"].get("namespace")) and _selected(request, one):
                    await answer.write(_line(event, one))
            if request.query.get("allowWatchBookmarks") == "true":
                kind = _BASES[resource]
                bookmark = {
                    "apiVersion": kind[1],
                    "kind": kind[2],
                    "metadata": {"resourceVersion": str(since)},
                }
                await answer.write(_line("BOOKMARK", bookmark))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, min(end - self._loop.time(), 5.0))):
                    await self._changed.wait()
        self.ended_watches += 1
        return answer


_NOTHING = object()


def _line(event: str, one: Object) -> bytes:
    return json.dumps({"type": event, "object": one}).encode() + b"\n"


def _plain_404() -> web.Response:
    return web.Response(status=404, text="404 page not found\n")


def _status(
    code: int, reason: str, message: str, headers: dict[str, str] | None = None, **details: Any
) -> web.Response:
    body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    body |= {"message": message, "reason": reason, "code": code}
    if details:
        body["details"] = details
    return web.json_response(body, status=code, headers=headers)


def _field_conflict(conflicts: list[tuple[str, Path_]]) -> web.Response:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{manager}"',
            "field": "." + ".".join(path),
        }
        for manager, path in conflicts
    ]
    several = "s" if len(causes) > 1 else ""
    said = "; ".join(f"{one['message']}: {one['field']}" for one in causes)
    text = f"Apply failed with {len(causes)} conflict{several}: {said}"
    return _status(409, "Conflict", text, causes=causes)


def _selected(request: web.Request, one: Object) -> bool:
    has = one["metadata"].get("labels") or {}
    terms = filter(None, request.query.get("labelSelector", "").split(","))
    return all(
        (has.get(term.partition("=")[0]) == term.partition("=")[2]) if "=" in term else term in has
        for term in terms
    )


def _without_meta(one: Object) -> Object:
    meta = {
        key: value
        for key, value in one["metadata"].items()
        if key not in ("managedFields", "resourceVersion")
    }
    return {**one, "metadata": meta}


def _leaves(one: Object, at: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Fields that are owned: what is no map, lists whole (those that we write are atomic)."""
    for key, value in one.items():
        path = (*at, key)
        if path in _UNOWNED or path[:2] in (("metadata", "managedFields"), ("metadata", "resourceVersion")):
            continue
        if isinstance(value, dict):
            yield from _leaves(value, path)
        else:
            yield path, value


def _merge(into: Object, patch: Object) -> None:
    """RFC 7396."""
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            into[key] = into[key] if isinstance(into.get(key), dict) else {}
            _merge(into[key], value)
        else:
            into[key] = value


def _put(one: Object, path: Path_, value: Any) -> None:
    for key in path[:-1]:
        one = one.setdefault(key, {})
    one[path[-1]] = value


def _remove(one: Object, path: Path_) -> None:
    if len(path) > 1:
        inside = one.get(path[0])
        if isinstance(inside, dict):
            _remove(inside, path[1:])
            if not inside and len(path) == 2 and path[0] != "spec":
                del one[path[0]]
    else:
        one.pop(path[0], None)


def _entries(one: Object, manager: str, operation: str) -> list[Object]:
    fields = one["metadata"]["managedFields"]
    return [entry for entry in fields if (entry["manager"], entry["operation"]) == (manager, operation)]


def _owned(entry: Object) -> list[Path_]:
    def walk(fields: Object, at: Path_) -> Iterator[Path_]:
        for key, inside in fields.items():
            path = (*at, key.removeprefix("f:"))
            if inside:
                yield from walk(inside, path)
            else:
                yield path

    return list(walk(entry["fieldsV1"], ()))


def _own(one: Object, manager: str, operation: str, paths: set[Path_]) -> None:
    if not paths:
        return
    entries = _entries(one, manager, operation)
    if not entries:
        entry = {"manager": manager, "operation": operation, "apiVersion": one["apiVersion"]}
        entries = [entry | {"fieldsType": "FieldsV1", "fieldsV1": {}}]
        one["metadata"]["managedFields"] += entries
    for path in paths:
        _put(entries[0]["fieldsV1"], tuple(f"f:{key}" for key in path), {})


def _disown(one: Object, paths: set[Path_], manager: str | None = None) -> None:
    kept = []
    for entry in one["metadata"]["managedFields"]:
        theirs = set(_owned(entry))
        left = (
            theirs - paths
            if manager is None or (entry["manager"], entry["operation"]) == (manager, "Apply")
            else theirs
        )
        if left:
            fields: Object = {}
            for path in left:
                _put(fields, tuple(f"f:{key}" for key in path), {})
            kept.append({**entry, "fieldsV1": fields})
    one["metadata"]["managedFields"] = kept
